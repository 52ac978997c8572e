//! Rotations: from one generation to the next, with hosts that are down, answers that are lost, and users who think again.

use std::collections::BTreeSet;

use keyferry_hosts::HostErrorKind;

use super::hosts::{Fault, What};
use super::*;
use crate::desired::{HostList, Rotate};
use crate::ledger::{PlacementState, Stage};
use crate::snapshot::HostCondition;

const HOSTS: [&str; 3] = ["db-1", "web-1", "web-2"];

/// A key on some hosts, where the user's own ssh_config logs in at first.
pub(super) fn world_with(hosts: &[&str], change: impl FnOnce(&mut KeySpec)) -> World {
    let mut world = World::new();
    for host in hosts {
        world.hosts.add(host, true);
    }
    let spec = key("web", GeneratedBy::Keyferry, |spec| {
        let hosts = hosts.iter().map(|host| (*host).to_owned());
        spec.hosts = Some(HostList::Listed(hosts.collect()));
        change(spec);
    });
    world.desired.keys.insert("web".to_owned(), spec);
    world
}

fn world() -> World {
    world_with(&HOSTS, |_| {})
}

impl Daemon {
    async fn rotate(&self) {
        let asked = self.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        assert_eq!(asked[0].waiting, None);
    }

    /// Waits for something that status shows, time jumping ahead meanwhile.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&KeyStatus) -> bool) {
        let mut snapshots = self.handle.snapshots();
        let seen = snapshots.wait_for(|snapshot| snapshot.keys.iter().any(&is_so));
        let seen = tokio::time::timeout(Duration::from_secs(60), seen).await.is_ok();
        assert!(seen, "{what}: {:#?}", self.status("web"));
    }

    fn host(&self, name: &str) -> crate::snapshot::HostStatus {
        let hosts = self.status("web").hosts;
        hosts.into_iter().find(|host| host.host == name).unwrap()
    }

    fn conditions(&self) -> Vec<HostCondition> {
        let hosts = self.status("web").hosts;
        hosts.into_iter().map(|host| host.state).collect()
    }
}

impl World {
    /// One generation everywhere: on the hosts, at the cloud, in the agent, and its public half on the disk.
    #[track_caller]
    pub(super) fn assert_one_generation(&self, daemon: &Daemon, hosts: &[&str]) {
        self.assert_converged(daemon);
        self.hosts.assert_nobody_was_locked_out();
        let ring = daemon.key_ring.all.lock().unwrap().clone();
        assert_eq!(ring.len(), 1, "{ring:?}\n{:#?}", daemon.status("web"));
        let ((_, n), offer) = ring.into_iter().next().unwrap();
        assert_eq!(offer, Offer::Everywhere);
        for host in hosts {
            assert_eq!(self.hosts.generations(host), [n], "{host}");
            assert_eq!(daemon.host(host).state, HostCondition::Verified, "{host}");
        }
        let history = self.history();
        for placement in history.placements {
            let expected = match placement.n == n {
                true => PlacementState::Verified,
                false => PlacementState::Removed,
            };
            assert_eq!(placement.state, expected, "{placement:?}");
        }
        let row = history.generations.iter().find(|row| row.n == n).unwrap();
        assert_eq!(row.stage, Stage::Active);
        let unfinished: Vec<_> = history
            .generations
            .iter()
            .filter(|row| row.n != n && !row.state.is_final())
            .collect();
        assert!(unfinished.is_empty(), "{unfinished:?}");
        assert_eq!(self.published(), daemon.status("web").public_key.unwrap());
    }

    fn published(&self) -> String {
        let path = crate::public_files::path(self.state.path(), "web");
        std::fs::read_to_string(path).unwrap().trim_end().to_owned()
    }
}

#[test]
fn a_rotation_goes_from_one_generation_to_the_next() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        let first = daemon.status("web");
        assert_eq!(first.rotation.as_ref().unwrap().active, Some(1));
        // From now on nothing but the key itself gets in.
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }

        let before = world.clock.now().wall_ms();
        daemon.rotate().await;
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        let status = daemon.status("web");
        assert_eq!(status.generation, Some(2));
        assert_ne!(status.public_key, first.public_key);
        assert!(status.rotation.unwrap().earlier.is_empty());
        assert!(
            world.clock.now().wall_ms() - before >= 86_400_000,
            "the earlier one stayed a day"
        );
        let history = world.history();
        assert!(history.effects.iter().all(|effect| effect.outcome.is_some()));
        assert_eq!(history.keys[0].rotate_asked_at, None);
        daemon.kill().await;
    });
}

#[test]
fn nothing_is_offered_before_it_was_seen_to_log_in() {
    run(async {
        let world = world_with(&HOSTS, |spec| spec.deploy.canary = 2);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let first = world.published();
        for host in HOSTS {
            world.hosts.always(host, Some(Fault::Fails(HostErrorKind::Busy)));
        }
        daemon.rotate().await;
        daemon
            .until("the second is staged", |key| {
                key.rotation
                    .as_ref()
                    .is_some_and(|rotation| rotation.staged == Some(2))
                    && key.hosts.iter().any(|host| host.state == HostCondition::Failed)
            })
            .await;
        let offered = |n: u64| daemon.key_ring.all.lock().unwrap()[&("web".to_owned(), n)].clone();
        assert_eq!((offered(1), offered(2)), (Offer::Everywhere, Offer::Nowhere));
        assert_eq!(daemon.status("web").generation, Some(1));
        assert_eq!(world.published(), first, "what is not offered is not published");

        world.hosts.always("db-1", None);
        daemon
            .until("one host of two", |key| {
                key.hosts[0].state == HostCondition::Verified
            })
            .await;
        assert_eq!((offered(1), offered(2)), (Offer::Everywhere, Offer::Nowhere));

        world.hosts.always("web-1", None);
        daemon
            .until("it is promoted", |key| key.generation == Some(2))
            .await;
        assert_eq!(offered(2), Offer::Everywhere);
        daemon
            .until("the second is published", |key| key.state == KeyState::Loaded)
            .await;
        assert_ne!(world.published(), first);
        let behind = vec![b"host key of web-2".to_vec()];
        assert_eq!(
            offered(1),
            Offer::To(behind),
            "for the host that does not have it yet"
        );

        world.hosts.always("web-2", None);
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_host_that_is_down_through_three_rotations_goes_on_when_it_is_back() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }
        world.hosts.turn("web-2", false);
        for n in 2..=4 {
            daemon.rotate().await;
            let is_through = |key: &KeyStatus| {
                let others = key.hosts.iter().filter(|host| host.host != "web-2");
                key.generation == Some(n)
                    && others.clone().count() == 2
                    && others
                        .into_iter()
                        .all(|host| host.state == HostCondition::Verified && host.lines == [n])
                    && key.hosts.iter().any(|host| host.state == HostCondition::Parked)
            };
            daemon.until(&format!("rotation to {n}"), is_through).await;
        }
        daemon
            .until("those between are gone", |key| {
                key.rotation
                    .as_ref()
                    .is_some_and(|rotation| rotation.earlier == [1])
            })
            .await;
        let parked = daemon.host("web-2");
        assert_eq!((parked.generation, parked.lines), (Some(1), vec![1]));
        assert_eq!(parked.error.unwrap().kind, "unreachable");
        let ring = daemon.key_ring.all.lock().unwrap().clone();
        let offers: Vec<(u64, Offer)> = ring.into_iter().map(|((_, n), offer)| (n, offer)).collect();
        let to_it = Offer::To(vec![b"host key of web-2".to_vec()]);
        assert_eq!(offers, [(1, to_it), (4, Offer::Everywhere)]);

        world.hosts.turn("web-2", true);
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        assert_eq!(daemon.status("web").generation, Some(4));
        daemon.kill().await;
    });
}

#[test]
fn what_is_lost_on_the_way_to_a_host_is_asked_for_again() {
    run(async {
        for fault in [
            Fault::LostAfter,
            Fault::LostBefore,
            Fault::Fails(HostErrorKind::Unreachable),
            Fault::Fails(HostErrorKind::Busy),
            Fault::Fails(HostErrorKind::File),
            Fault::Fails(HostErrorKind::Refused),
            Fault::Fails(HostErrorKind::AnotherKey),
            Fault::Fails(HostErrorKind::Internal),
        ] {
            // The tasks of a rotation of one host: verify, put, verify, and a day later remove.
            for before in 0..5 {
                let world = world_with(&["web-1"], |_| {});
                let daemon = world.start();
                assert!(daemon.rest().await);
                let script = std::iter::repeat_n(None, before).chain([Some(fault)]);
                world.hosts.expect(script);
                daemon.rotate().await;
                assert!(daemon.rest().await, "{fault:?} after {before}");
                world.assert_one_generation(&daemon, &["web-1"]);
                assert_eq!(
                    daemon.status("web").generation,
                    Some(2),
                    "{fault:?} after {before}"
                );
                daemon.kill().await;
            }
        }
    });
}

#[test]
fn a_line_that_sshd_does_not_take_is_told_with_its_file() {
    run(async {
        for (path, file) in [(None, ".ssh/authorized_keys"), (Some("keys of %u"), "keys of %u")] {
            let world = world_with(&["web-1"], |spec| spec.deploy.path = path.map(str::to_owned));
            world.hosts.read_another_file("web-1", true);
            let daemon = world.start();
            let told = format!("web-1: the line of generation 1 stands in {file}, and sshd does not take it");
            daemon
                .until("it is told", |key| {
                    let error = key.hosts.first().and_then(|host| host.error.as_ref());
                    error.is_some_and(|error| {
                        let remedy = error.remedy.as_deref().unwrap_or_default();
                        error.message == told && remedy.contains("AuthorizedKeysFile")
                    })
                })
                .await;
            world.hosts.read_another_file("web-1", false);
            assert!(daemon.rest().await);
            world.assert_one_generation(&daemon, &["web-1"]);
            daemon.kill().await;
        }
    });
}

#[test]
fn what_wants_a_person_waits_for_one() {
    run(async {
        let world = world();
        world
            .hosts
            .always("web-1", Some(Fault::Fails(HostErrorKind::NeedsPerson)));
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(
            daemon.conditions(),
            [
                HostCondition::Verified,
                HostCondition::Failed,
                HostCondition::Verified
            ]
        );
        let error = daemon.host("web-1").error.unwrap();
        assert_eq!((error.kind.as_str(), error.retry_at), ("needs_person", None));
        assert!(!daemon.handle.snapshots().borrow().needs_person());
        world.hosts.always("web-1", None);
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_jump_host_that_lets_nobody_in_is_tried_again_by_itself_and_seldom() {
    run(async {
        let world = world();
        let fault = Some(Fault::Fails(HostErrorKind::JumpRefused));
        world.hosts.expect([fault; 3]);
        let daemon = world.start();
        daemon
            .until("it has failed", |key| {
                key.hosts.iter().any(|host| host.error.is_some())
            })
            .await;
        let error = daemon.host("db-1").error.unwrap();
        let wait = error.retry_at.unwrap().to_ms() - world.clock.now().wall_ms();
        assert!((590_000..=1_200_000).contains(&wait), "{wait} ms");
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn another_host_key_blocks_a_host_and_no_other() {
    run(async {
        let world = world();
        world
            .hosts
            .always("web-1", Some(Fault::Fails(HostErrorKind::HostKeyChanged)));
        let daemon = world.start();
        daemon
            .until("the others are verified", |key| {
                let states = key.hosts.iter().map(|host| host.state);
                states.eq([
                    HostCondition::Verified,
                    HostCondition::Blocked,
                    HostCondition::Verified,
                ])
            })
            .await;
        let snapshot = daemon.handle.snapshots().borrow().clone();
        assert!(snapshot.needs_person());
        assert!(snapshot.settled(world.clock.now().wall));
        // It is not rotated further while one host does not have the present generation.
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("it waits", |key| {
                let rotation = key.rotation.as_ref().unwrap();
                rotation.waiting.as_ref().is_some_and(|why| why.contains("web-1"))
            })
            .await;
        assert_eq!(daemon.status("web").generation, Some(1));
        daemon.kill().await;
    });
}

#[test]
fn a_restart_takes_nothing_off_that_still_lets_in() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.kill().await;
        // The private half is gone, and ssh_config gets in on two hosts only.
        world.hosts.let_ssh_config_in("web-2", false);
        let daemon = world.start();
        daemon
            .until("the others go on", |key| {
                key.hosts.iter().filter(|host| host.lines == [2]).count() == 2
                    && key.hosts[2].state == HostCondition::Lost
            })
            .await;
        assert_eq!(world.hosts.generations("web-2"), [1]);
        let lost = daemon.host("web-2");
        assert_eq!(lost.after_reboot, crate::snapshot::AfterReboot::Maybe);
        assert!(daemon.handle.snapshots().borrow().needs_person());
        world.hosts.let_ssh_config_in("web-2", true);
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_pause_stops_a_rotation_where_it_is() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        world
            .hosts
            .always("web-2", Some(Fault::Fails(HostErrorKind::Busy)));
        daemon.rotate().await;
        daemon
            .until("web-1 has it", |key| key.hosts[1].generation == Some(2))
            .await;
        let key = || vec!["web".to_owned()];
        let reason = Some("a freeze".to_owned());
        daemon.handle.pause(key(), None, reason).await.unwrap();
        world.hosts.always("web-2", None);
        assert!(daemon.rest().await);
        world.hosts.forget_tasks();
        world.clock.pass(10 * 86_400_000);
        assert!(daemon.rest().await);
        assert_eq!(world.hosts.tasks(), []);
        let rotation = daemon.status("web").rotation.unwrap();
        assert_eq!(rotation.paused.unwrap().reason.as_deref(), Some("a freeze"));
        assert_eq!(world.hosts.generations("web-1"), [1, 2]);
        assert_eq!(world.hosts.generations("web-2"), [1]);
        daemon.handle.resume(key()).await.unwrap();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_held_key_is_left_alone_on_its_hosts() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.rotate().await;
        daemon
            .until("it is promoted", |key| key.generation == Some(2))
            .await;
        daemon.handle.held("web");
        assert!(daemon.rest().await);
        world.hosts.forget_tasks();
        world.clock.pass(10 * 86_400_000);
        assert!(daemon.rest().await);
        assert_eq!(world.hosts.tasks(), []);
        assert_eq!(world.hosts.generations("db-1"), [1, 2]);
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_file_that_vanishes_during_a_rotation_retires_nothing() {
    run(async {
        // The file alone, or the whole directory. Of a key that ends with its file: absence.
        for is_whole_directory in [false, true] {
            let mut world = world();
            let daemon = world.start();
            assert!(daemon.rest().await);
            for host in HOSTS {
                world.hosts.let_ssh_config_in(host, false);
            }
            daemon.rotate().await;
            daemon
                .until("it is promoted", |key| key.generation == Some(2))
                .await;
            let spec = Arc::clone(&world.desired.keys["web"]);
            let gone = KeySpec {
                present: false,
                ..(*spec).clone()
            };
            world.desired.keys.insert("web".to_owned(), Arc::new(gone));
            if is_whole_directory {
                world.desired.accounts.clear();
            }
            daemon.read_again(&world.desired);
            assert!(daemon.rest().await);
            for host in HOSTS {
                let there = world.hosts.generations(host);
                assert!(there.contains(&2), "{host} has {there:?}");
            }
            assert_eq!(world.cloud.pairs().len(), if is_whole_directory { 2 } else { 1 });
            world.hosts.assert_nobody_was_locked_out();

            world.desired.keys.insert("web".to_owned(), spec);
            world.desired.accounts.insert("cloud".to_owned(), account(|_| {}));
            daemon.read_again(&world.desired);
            assert!(daemon.rest().await);
            world.assert_one_generation(&daemon, &HOSTS);
            daemon.kill().await;
        }
    });
}

#[test]
fn the_hosts_of_a_file_are_asked_for() {
    run(async {
        let list = |hosts: &[&str]| Ok(hosts.iter().map(|host| (*host).to_owned()).collect());
        let world = world_with(&HOSTS, |spec| spec.hosts = Some(HostList::File("fleet".into())));
        world
            .hosts
            .list_is("fleet", Err("fleet: no such file".to_owned()));
        let daemon = world.start();
        daemon
            .until("the key serves without its hosts", |key| {
                key.state == KeyState::Loaded && key.error.is_some()
            })
            .await;
        assert!(daemon.status("web").hosts.is_empty());
        let error = daemon.status("web").error.unwrap();
        assert_eq!(
            (error.kind.as_str(), error.message.as_str()),
            ("host_list", "fleet: no such file")
        );
        world.hosts.list_is("fleet", list(&["web-1", "-oProxyCommand=x"]));
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        daemon.handle.refresh().await;
        assert!(
            daemon.status("web").hosts.is_empty(),
            "a wrong line refuses the list"
        );
        world.hosts.list_is("fleet", list(&["web-1", "web-2"]));
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("both are verified", |key| {
                key.hosts.len() == 2 && key.hosts.iter().all(|host| host.state == HostCondition::Verified)
            })
            .await;
        assert_eq!(daemon.status("web").error, None);
        daemon.kill().await;
    });
}

#[test]
fn a_line_that_somebody_took_away_is_put_back_before_another_goes() {
    run(async {
        let world = world_with(&["web-1"], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.hosts.let_ssh_config_in("web-1", false);
        daemon.rotate().await;
        daemon
            .until("it has both", |key| key.hosts[0].generation == Some(2))
            .await;
        world
            .hosts
            .write("web-1", |lines| lines.retain(|line| !line.ends_with("gen=2")));
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &["web-1"]);
        daemon.kill().await;
    });
}

#[test]
fn lines_end_by_themselves_where_the_file_says_so() {
    run(async {
        let world = world_with(&["web-1"], |spec| {
            spec.deploy.options = "no-pty".to_owned();
            spec.deploy.expires = Some(Duration::from_secs(90 * 86_400));
        });
        let daemon = world.start();
        daemon
            .until("it is there", |key| key.hosts[0].state == HostCondition::Verified)
            .await;
        let line = world.hosts.lines("web-1").pop().unwrap();
        assert!(line.starts_with("no-pty,expiry-time=\"2027"), "{line}");
        let marker = line.split(" keyferry owner=").nth(1).unwrap();
        assert!(marker.ends_with(" key=web gen=1"), "{line}");
        // It is written anew before that.
        let before = line;
        daemon
            .until("it is renewed", |_| {
                world.hosts.lines("web-1").pop().unwrap() != before
            })
            .await;
        assert_eq!(world.hosts.generations("web-1"), [1]);
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn no_more_hosts_are_worked_on_at_once_than_the_file_says() {
    run(async {
        let names: Vec<String> = (1..=12).map(|number| format!("web-{number:02}")).collect();
        let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
        let world = world_with(&hosts, |spec| {
            spec.deploy.at_once = 5;
            spec.deploy.canary = 2;
        });
        world.hosts.latency(100);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &hosts);
        assert_eq!(world.hosts.most_busy(), 5);
        let first: BTreeSet<String> = world.hosts.tasks()[..6]
            .iter()
            .map(|(host, _)| host.clone())
            .collect();
        assert_eq!(first.len(), 2, "two are verified before a third is begun");
        daemon.kill().await;
    });
}

#[test]
fn a_fleet_tool_may_put_the_lines_there() {
    run(async {
        let world = world_with(&HOSTS, |spec| spec.deploy.command = vec!["fleet".to_owned()]);
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.rotate().await;
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        // The canary, then the others.
        let documents: Vec<serde_json::Value> = world
            .hosts
            .documents()
            .iter()
            .map(|document| serde_json::from_str(document).unwrap())
            .collect();
        let hosts = |document: &serde_json::Value| document["lines"].as_array().unwrap().len();
        let told: Vec<_> = documents
            .iter()
            .map(|document| (document["generation"].as_u64().unwrap(), hosts(document)))
            .collect();
        assert_eq!(told.iter().map(|(_, hosts)| hosts).sum::<usize>(), 6, "{told:?}");
        assert_eq!(told[0], (1, 1));
        let line = documents[0]["lines"][0]["line"].as_str().unwrap();
        assert!(line.ends_with(" key=web gen=1"), "{line}");
        assert!(world.hosts.tasks().iter().all(|(_, what)| *what != What::Put));
        daemon.kill().await;
    });
}

#[test]
fn a_fleet_tool_that_fails_may_have_done_it_all_the_same() {
    run(async {
        let world = world_with(&["web-1"], |spec| spec.deploy.command = vec!["broken".to_owned()]);
        world.hosts.let_ssh_config_in("web-1", false);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &["web-1"]);
        daemon.kill().await;
    });
}

#[test]
fn a_key_is_taken_off_its_last_host_where_that_was_accepted() {
    run(async {
        let world = world_with(&["web-1"], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(world.hosts.generations("web-1"), [1], "it is the only way in");
        daemon
            .handle
            .retire("web".to_owned(), vec!["web-1".to_owned()])
            .await
            .unwrap();
        assert!(daemon.rest().await);
        assert!(world.hosts.generations("web-1").is_empty());
        assert_eq!(world.cloud.pairs(), []);
        assert!(daemon.key_ring.all.lock().unwrap().is_empty());
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn instances_keep_the_generation_they_were_launched_with() {
    run(async {
        let mut world = world();
        let naming = account(|account| account.plugin = "naming".to_owned());
        world.desired.accounts.insert("cloud".to_owned(), naming);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let pair = world.cloud.our_pairs().pop().unwrap();
        world.cloud.launch(&pair, &["i-7"]);
        daemon.rotate().await;
        daemon
            .until("i-7 keeps the first", |key| {
                let rotation = key.rotation.as_ref().unwrap();
                key.hosts.iter().all(|host| host.lines == [2])
                    && rotation.earlier == [1]
                    && rotation.waiting.as_ref().is_some_and(|why| why.contains("i-7"))
            })
            .await;
        let ring = daemon.key_ring.all.lock().unwrap().clone();
        assert_eq!(
            ring[&("web".to_owned(), 1)],
            Offer::Everywhere,
            "nobody knows the host key of i-7"
        );
        assert_eq!(world.cloud.our_pairs().len(), 2);
        world.cloud.launch(&pair, &[]);
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_rotation_waits_for_its_network_and_says_so() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.always(Some(super::cloud::Fault::Refuse(
            keyferry_plugin::contract::ErrorKind::Unavailable,
        )));
        daemon.rotate().await;
        let waits_for = |what: &'static str| {
            move |key: &KeyStatus| {
                let rotation = key.rotation.as_ref().unwrap();
                rotation.waiting.as_ref().is_some_and(|why| why.contains(what))
            }
        };
        daemon
            .until(
                "the provider cannot be reached",
                waits_for("it waits for its provider"),
            )
            .await;
        assert_eq!(daemon.status("web").state, KeyState::Loaded);
        for host in HOSTS {
            world.hosts.turn(host, false);
        }
        world.cloud.always(None);
        daemon
            .until("no host can be reached", waits_for("it waits for the network"))
            .await;
        assert_eq!(daemon.conditions(), [HostCondition::Parked; 3]);
        for host in HOSTS {
            world.hosts.turn(host, true);
        }
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn after_a_month_off_one_rotation_begins() {
    run(async {
        let every = Duration::from_secs(10 * 86_400);
        let rotating = || {
            world_with(&HOSTS, |spec| {
                spec.rotate = Some(Rotate {
                    every,
                    grace: Duration::from_secs(86_400),
                    between: None,
                });
            })
        };
        for is_under_way in [false, true] {
            let world = rotating();
            let daemon = world.start();
            let has = |n: u64| {
                move |key: &KeyStatus| {
                    let is_there = |host: &crate::snapshot::HostStatus| {
                        host.state == HostCondition::Verified && host.generation == Some(n)
                    };
                    key.hosts.len() == HOSTS.len() && key.hosts.iter().all(is_there)
                }
            };
            daemon.until("the first is everywhere", has(1)).await;
            for host in HOSTS {
                world.hosts.let_ssh_config_in(host, false);
            }
            let mut last = 1;
            if is_under_way {
                world
                    .hosts
                    .always("web-2", Some(Fault::Fails(HostErrorKind::Busy)));
                daemon.rotate().await;
                daemon
                    .until("the second is promoted", |key| key.generation == Some(2))
                    .await;
                last = 2;
            }
            // The machine is off, or sleeps.
            world.clock.pass(40 * 24 * HOUR);
            let back_at = world.clock.now().wall_ms();
            world.hosts.always("web-2", None);
            daemon.until("the next one is everywhere", has(last + 1)).await;
            world.hosts.assert_nobody_was_locked_out();
            // What was missed meanwhile is not made up for: the one after it begins in its own time.
            daemon
                .until("the one after it is everywhere", has(last + 2))
                .await;
            let rows = world.history().generations;
            let requested = |n: u64| rows.iter().find(|row| row.n == n).unwrap().requested_at;
            assert!(
                (back_at..back_at + 24 * HOUR.cast_signed()).contains(&requested(last + 1)),
                "it begins when the machine is back"
            );
            let promoted = rows
                .iter()
                .find(|row| row.n == last + 1)
                .unwrap()
                .promoted_at
                .unwrap();
            let served = Duration::from_millis((requested(last + 2) - promoted).unsigned_abs());
            assert!((every * 9 / 10..every).contains(&served), "{served:?}");
            world.hosts.assert_nobody_was_locked_out();
            for host in HOSTS {
                assert!(world.hosts.generations(host).contains(&(last + 2)), "{host}");
            }
            daemon.kill().await;
        }
    });
}
