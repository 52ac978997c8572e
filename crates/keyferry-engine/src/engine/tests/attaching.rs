//! Attaching pairs to instances: at a person's word alone, with answers that are lost and daemons that are killed.

use std::collections::BTreeMap;

use keyferry_plugin::contract::ErrorKind;

use super::cloud::{Fault, HOME};
use super::rotation::world_with;
use super::*;
use crate::desired::LoginWith;
use crate::ledger::{Effect, EffectKind, EffectOutcome, PlacementState};
use crate::snapshot::{Attachable, Attached, HostCondition, RegionState};

const HOSTS: [&str; 2] = ["web-1", "web-2"];

/// A key on hosts where nothing logs in, at a provider that attaches.
fn world() -> World {
    let mut world = world_with(&HOSTS, |_| {});
    let naming = account(|account| account.plugin = "naming".to_owned());
    world.desired.accounts.insert("cloud".to_owned(), naming);
    for host in HOSTS {
        world.hosts.let_ssh_config_in(host, false);
    }
    world
}

fn asked(instances: &[(&str, &str)]) -> AttachAsked {
    let instances = instances
        .iter()
        .map(|(host, instance)| ((*host).to_owned(), (*instance).to_owned()));
    AttachAsked {
        instances: instances.collect(),
        ..AttachAsked::default()
    }
}

async fn attach(daemon: &Daemon, instances: &[(&str, &str)]) -> Vec<Attached> {
    let agreed = daemon.handle.preview_attaching(asked(instances)).await.unwrap();
    daemon.handle.attach(agreed).await.unwrap()
}

async fn loaded(daemon: &Daemon) {
    daemon
        .until("the key is loaded", |key| key.state == KeyState::Loaded)
        .await;
}

impl World {
    fn attach_requests(&self) -> Vec<Vec<String>> {
        let requests = self.cloud.requests().into_iter();
        let attached = requests.filter_map(|job| match job {
            Job::Attach { instances, .. } => Some(instances),
            _ => None,
        });
        attached.collect()
    }

    fn attach_effects(&self) -> Vec<Effect> {
        let effects = self.history().effects.into_iter();
        effects
            .filter(|effect| effect.kind == EffectKind::Attach)
            .collect()
    }

    /// By generation and host.
    fn placement(&self, n: u64, host: &str) -> Option<PlacementState> {
        let history = self.history();
        let mut rows = history.placements.iter();
        rows.find(|row| row.n == n && row.host == host)
            .map(|row| row.state)
    }

    /// An instance starts with what is attached to it.
    fn restart(&self, host: &str, pair: &str) {
        let blob = self.cloud.public_blob(HOME, pair).unwrap();
        let line = crate::private_key::PublicKey::from_blob(&blob)
            .unwrap()
            .line(pair);
        self.hosts.write(host, |lines| lines.push(line));
    }
}

#[test]
fn an_attached_pair_stays_until_nothing_needs_it() {
    run(async {
        let world = world();
        let daemon = world.start();
        loaded(&daemon).await;
        let agreed = daemon
            .handle
            .preview_attaching(asked(&[("web-1", "i-1"), ("web-2", "i-2")]))
            .await
            .unwrap();
        assert!(world.attach_requests().is_empty(), "looking at it sends nothing");
        let pair = world.cloud.our_pairs().pop().unwrap();
        let first = Attachable {
            host: "web-1".to_owned(),
            instance: "i-1".to_owned(),
            key: "web".to_owned(),
            generation: 1,
            pair: pair.clone(),
            account: "cloud".to_owned(),
            region: Some(HOME.to_owned()),
            means: InstanceRules {
                needs: Some(InstanceNeeds::Restart),
                replaces: true,
                disables_passwords: true,
            },
            logs_in: false,
        };
        assert_eq!(agreed[0], first);
        let attached = daemon.handle.attach(agreed).await.unwrap();
        assert!(attached.iter().all(|one| one.error.is_none()), "{attached:?}");
        assert_eq!(
            world.attach_requests(),
            [["i-1", "i-2"]],
            "one request for one pair"
        );
        let effects: BTreeMap<_, _> = world
            .attach_effects()
            .into_iter()
            .map(|effect| ((effect.host, effect.instance), effect.outcome))
            .collect();
        let of = |host: &str, instance: &str| (Some(host.to_owned()), Some(instance.to_owned()));
        let done = Some(EffectOutcome::Done);
        assert_eq!(
            effects,
            [(of("web-1", "i-1"), done), (of("web-2", "i-2"), done)].into()
        );
        assert_eq!(world.placement(1, "web-1"), Some(PlacementState::Placing));

        daemon
            .until("what is to be done shows", |key| {
                let errors = key.hosts.iter().map(|host| host.error.as_ref());
                let mut remedies = errors.map(|error| error.and_then(|error| error.remedy.as_deref()));
                remedies.all(|remedy| remedy.is_some_and(|words| words.contains("restart its instance")))
            })
            .await;

        for host in HOSTS {
            world.restart(host, &pair);
        }
        daemon.handle.host_retry(Vec::new()).await.unwrap();
        daemon
            .until("the key logs in", |key| {
                key.hosts.iter().all(|host| host.state == HostCondition::Verified)
            })
            .await;

        // The instances name the first pair until the second is attached to them.
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("the instances keep the first", |key| {
                let rotation = key.rotation.as_ref().unwrap();
                key.hosts.iter().all(|host| host.lines == [2])
                    && rotation.waiting.as_ref().is_some_and(|why| why.contains("i-1"))
            })
            .await;
        assert_eq!(world.cloud.our_pairs().len(), 2);
        let attached = attach(&daemon, &[("web-1", "i-1"), ("web-2", "i-2")]).await;
        assert!(attached.iter().all(|one| one.generation == 2), "{attached:?}");
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn what_the_provider_refuses_did_not_happen_and_what_is_lost_may_have() {
    run(async {
        for (fault, outcome, state) in [
            (
                Fault::Refuse(ErrorKind::Unauthorized),
                EffectOutcome::Refused,
                PlacementState::Removed,
            ),
            (
                Fault::Refuse(ErrorKind::Internal),
                EffectOutcome::Unknown,
                PlacementState::Placing,
            ),
            (Fault::LostAfter, EffectOutcome::Unknown, PlacementState::Placing),
            (Fault::LostBefore, EffectOutcome::Unknown, PlacementState::Placing),
            (Fault::Garbage, EffectOutcome::Unknown, PlacementState::Placing),
            (
                Fault::ServerErrorAfter,
                EffectOutcome::Unknown,
                PlacementState::Placing,
            ),
        ] {
            let world = world();
            let daemon = world.start();
            loaded(&daemon).await;
            world.cloud.expect([Some(fault)]);
            let attached = attach(&daemon, &[("web-1", "i-1")]).await;
            let error = attached[0].error.as_ref().expect("it is told");
            assert_eq!(
                attached[0].is_known,
                outcome == EffectOutcome::Refused,
                "{fault:?}"
            );
            let remedy = match outcome {
                EffectOutcome::Refused => "(fake:AttachKeyPair, which `keyferry account policy` leaves out)",
                _ => "run the command again",
            };
            let said = error.remedy.as_deref().unwrap_or_default();
            assert!(said.contains(remedy), "{fault:?}: {error:?}");
            assert_eq!(world.attach_effects()[0].outcome, Some(outcome), "{fault:?}");
            // Meanwhile a login may be trying to put the line there, in vain.
            let what = format!("{fault:?}: it is {state:?}");
            daemon
                .until(&what, |_| world.placement(1, "web-1") == Some(state))
                .await;
            assert_eq!(world.attach_requests().len(), 1, "nothing is repeated by itself");

            // Asked for again it is done, and done once.
            let attached = attach(&daemon, &[("web-1", "i-1")]).await;
            assert_eq!(attached[0].error, None, "{fault:?}");
            assert_eq!(world.attach_effects()[1].attempt, 2);
            assert_eq!(
                world.placement(1, "web-1"),
                Some(PlacementState::Placing),
                "{fault:?}"
            );
            daemon.kill().await;
        }
    });
}

#[test]
fn each_instance_has_its_own_end() {
    run(async {
        let world = world();
        let daemon = world.start();
        loaded(&daemon).await;
        let attached = attach(&daemon, &[("web-1", "missing-1"), ("web-2", "i-2")]).await;
        let error = attached[0].error.as_ref().expect("the vendor refused it");
        assert_eq!(error.code.as_deref(), Some("InvalidInstanceId.NotFound"));
        assert_eq!(attached[1].error, None);
        let outcomes: Vec<_> = world
            .attach_effects()
            .iter()
            .map(|effect| effect.outcome)
            .collect();
        assert_eq!(
            outcomes,
            [Some(EffectOutcome::Refused), Some(EffectOutcome::Done)]
        );
        assert_eq!(world.placement(1, "web-1"), Some(PlacementState::Removed));
        assert_eq!(world.placement(1, "web-2"), Some(PlacementState::Placing));
        daemon.kill().await;
    });
}

#[test]
fn a_pair_whose_private_half_is_lost_stays_where_it_may_be_attached() {
    run(async {
        let mut world = world();
        // Nothing else is begun that might bring its line there.
        let mut spec = KeySpec::clone(&world.desired.keys["web"]);
        spec.deploy.login_with = vec![LoginWith::Current];
        world.desired.keys.insert("web".to_owned(), Arc::new(spec));
        let first = world.start();
        loaded(&first).await;
        let pair = world.cloud.our_pairs().pop().unwrap();
        let agreed = first
            .handle
            .preview_attaching(asked(&[("web-1", "i-1")]))
            .await
            .unwrap();
        world.cloud.hold_answers(true);
        let handle = first.handle.clone();
        let asking = tokio::spawn(async move { handle.attach(agreed).await });
        while world.attach_requests().is_empty() {
            tokio::task::yield_now().await;
        }
        first.kill().await;
        assert!(asking.await.unwrap().is_err());
        world.cloud.hold_answers(false);
        assert_eq!(world.attach_effects()[0].outcome, None, "nobody knows");

        let second = world.start();
        second
            .until("the next generation is there", |key| {
                key.generation == Some(2) && key.state == KeyState::Loaded
            })
            .await;
        // Its deletion would be begun by now.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(world.cloud.our_pairs().contains(&pair), "web-1 may let it in");
        assert_eq!(world.attach_requests().len(), 1, "nothing is repeated");
        // The next one logs in there: nothing needs the first any more.
        let next = world
            .cloud
            .our_pairs()
            .into_iter()
            .find(|name| *name != pair)
            .unwrap();
        for host in HOSTS {
            world.restart(host, &next);
        }
        second.handle.host_retry(Vec::new()).await.unwrap();
        assert!(second.rest().await);
        world.assert_converged(&second);
        world.hosts.assert_nobody_was_locked_out();
        second.kill().await;
    });
}

/// Whatever is attached has a row that was written before.
#[test]
fn killed_at_every_write_the_ledger_knows_of_every_request() {
    run(async {
        let mut writes = 0;
        loop {
            let world = world();
            let daemon = world.start_until(Some(Stop::Before(writes + 1)));
            let is_through = async {
                let mut snapshots = daemon.handle.snapshots();
                let is_loaded =
                    |snapshot: &Arc<Snapshot>| snapshot.keys.iter().any(|key| key.state == KeyState::Loaded);
                snapshots.wait_for(|snapshot| is_loaded(snapshot)).await.ok()?;
                let agreed = daemon
                    .handle
                    .preview_attaching(asked(&[("web-1", "i-1")]))
                    .await
                    .ok()?;
                daemon.handle.attach(agreed).await.ok()
            };
            let is_through = tokio::time::timeout(Duration::from_secs(60), is_through)
                .await
                .expect("it ends");
            daemon.kill().await;
            let requests = world.attach_requests().len();
            let effects = world.attach_effects();
            assert!(requests <= effects.len(), "{writes}: {effects:?}");
            if is_through.is_some() {
                assert_eq!(effects[0].outcome, Some(EffectOutcome::Done));
                break;
            }
            writes += 1;
        }
        assert!(writes > 3, "{writes}");
    });
}

#[test]
fn what_cannot_be_attached_is_refused_by_name() {
    run(async {
        let world = world();
        let daemon = world.start();
        loaded(&daemon).await;
        let refused = async |asked: AttachAsked| {
            let refusal = daemon.handle.preview_attaching(asked).await.unwrap_err();
            refusal.to_string()
        };
        for (instances, words) in [
            (&[("db-1", "i-1")][..], "there is no host db-1"),
            (&[("web-1", "i-1 i-2")], "is no provider's identifier"),
            (&[("web-1", "i-1"), ("web-1", "i-2")], "web-1 is named twice"),
            (&[("web-1", "i-1"), ("web-2", "i-1")], "i-1 is named twice"),
        ] {
            let message = refused(asked(instances)).await;
            assert!(message.contains(words), "{message}");
        }
        let with = |key: Option<&str>, region: Option<&str>| AttachAsked {
            key: key.map(str::to_owned),
            region: region.map(str::to_owned),
            ..asked(&[("web-1", "i-1")])
        };
        let message = refused(with(Some("wbe"), None)).await;
        assert!(
            message.contains("did you mean web?") || message.contains("no key named wbe"),
            "{message}"
        );
        let message = refused(with(None, Some("eu-1"))).await;
        assert!(
            message.contains("no pair in eu-1, but in cn-hangzhou"),
            "{message}"
        );

        // What was shown is what is done, or nothing.
        let agreed = daemon.handle.preview_attaching(with(None, None)).await.unwrap();
        let other = Attachable {
            pair: "somebody-elses".to_owned(),
            ..agreed[0].clone()
        };
        let refusal = daemon.handle.attach(vec![other]).await.unwrap_err();
        assert!(
            matches!(refusal, Refusal::Attach(AttachRefusal::Changed { .. })),
            "{refusal}"
        );

        daemon
            .handle
            .pause(vec!["web".to_owned()], None, None)
            .await
            .unwrap();
        assert!(refused(with(None, None)).await.contains("is on hold"));
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        daemon.handle.held("web");
        assert!(refused(with(None, None)).await.contains("is held"));
        assert!(world.attach_requests().is_empty());
        daemon.kill().await;
    });
}

#[test]
fn a_provider_without_attach_is_refused_with_the_way_out() {
    run(async {
        let world = world_with(&["web-1"], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let refusal = daemon.handle.preview_attaching(asked(&[("web-1", "i-1")])).await;
        let message = refusal.unwrap_err().to_string();
        assert!(message.contains("plugin fake has no attach"), "{message}");
        assert!(message.contains("public/web.pub"), "{message}");
        daemon.kill().await;
    });
}

#[test]
fn a_key_in_several_regions_says_which_is_meant() {
    run(async {
        let mut world = world();
        let mut spec = KeySpec::clone(&world.desired.keys["web"]);
        spec.further_regions = vec!["cn-beijing".to_owned()];
        world.desired.keys.insert("web".to_owned(), Arc::new(spec));
        let daemon = world.start();
        daemon
            .until("both regions have it", |key| {
                key.regions.len() == 2 && key.regions.iter().all(|region| region.state == RegionState::Live)
            })
            .await;
        let refusal = daemon.handle.preview_attaching(asked(&[("web-1", "i-1")])).await;
        let message = refusal.unwrap_err().to_string();
        assert!(message.contains("say with --region"), "{message}");
        let asked = AttachAsked {
            region: Some("cn-beijing".to_owned()),
            ..asked(&[("web-1", "i-1")])
        };
        let agreed = daemon.handle.preview_attaching(asked).await.unwrap();
        assert_eq!(
            (agreed[0].region.as_deref(), agreed[0].generation),
            (Some("cn-beijing"), 1)
        );
        let attached = daemon.handle.attach(agreed).await.unwrap();
        assert_eq!(attached[0].error, None);
        assert_eq!(world.placement(1, "web-1"), Some(PlacementState::Placing));
        daemon.kill().await;
    });
}
