//! Other public keys than ours: the recovery identity, also_trust, grants, revocations, with answers that are lost and
//! daemons that are killed.

use std::collections::BTreeSet;

use base64::Engine as _;
use keyferry_hosts::HostErrorKind;

use super::hosts::Fault;
use super::rotation::world_with;
use super::*;
use crate::desired::Recovery;
use crate::ledger::{PlacementState, Purpose, RevocationState, Selector};
use crate::snapshot::{LineState, Timestamp};

const HOST: &str = "web-1";

/// A public key that is well-formed.
fn public_key(kind: &str, number: u8) -> String {
    let length = u32::try_from(kind.len()).unwrap().to_be_bytes();
    let blob = [&length[..], kind.as_bytes(), &[0, 0, 0, 32], &[number; 32]].concat();
    format!(
        "{kind} {}",
        base64::engine::general_purpose::STANDARD.encode(blob)
    )
}

pub(super) fn ed25519(number: u8) -> String {
    public_key("ssh-ed25519", number)
}

fn recovery(public_key: String) -> Option<Recovery> {
    Some(Recovery {
        public_key,
        agent: Some("/run/other-agent".into()),
    })
}

/// Lines of a host that are no generation's, by public key.
pub(super) fn others(world: &World, host: &str) -> Vec<String> {
    let lines = world.hosts.lines(host).into_iter();
    let ours = lines.filter(|line| line.contains(" keyferry ") && !line.contains(" gen="));
    ours.map(|line| {
        let mut words: Vec<&str> = line
            .split(" keyferry ")
            .next()
            .unwrap()
            .rsplit(' ')
            .take(2)
            .collect();
        words.reverse();
        words.join(" ")
    })
    .collect()
}

/// After another life, with another recovery identity and nobody trusted any more.
async fn changed() -> World {
    let mut world = world_with(&[HOST, "web-2"], |spec| spec.deploy.also_trust = vec![ed25519(7)]);
    world.desired.daemon.recovery = recovery(ed25519(1));
    let daemon = world.start();
    assert!(daemon.rest().await);
    daemon.kill().await;
    assert_eq!(
        others(&world, HOST).into_iter().collect::<BTreeSet<_>>(),
        [ed25519(1), ed25519(7)].into()
    );
    world.desired.daemon.recovery = recovery(ed25519(2));
    let mut spec = KeySpec::clone(&world.desired.keys["web"]);
    spec.deploy.also_trust = vec![ed25519(8)];
    world.desired.keys.insert("web".to_owned(), Arc::new(spec));
    world
}

#[track_caller]
fn assert_as_wanted(world: &World, daemon: &Daemon) {
    world.assert_one_generation(daemon, &[HOST, "web-2"]);
    for host in [HOST, "web-2"] {
        let there: BTreeSet<String> = others(world, host).into_iter().collect();
        assert_eq!(there, [ed25519(2), ed25519(8)].into(), "{host}");
    }
    for row in world.history().trusted {
        let expected = match (
            row.purpose,
            row.public_key == ed25519(2),
            row.public_key == ed25519(8),
        ) {
            (Purpose::Recovery, true, _) => PlacementState::Verified,
            (Purpose::AlsoTrust, _, true) => PlacementState::Placed,
            _ => PlacementState::Removed,
        };
        assert_eq!(row.state, expected, "{row:?}");
    }
}

#[test]
fn killed_at_every_write_it_ends_as_the_files_say() {
    run(async {
        let world = changed().await;
        let mut writes = 0;
        loop {
            let world = changed().await;
            let daemon = world.start_until(Some(Stop::Before(writes + 1)));
            let rested = daemon.rest().await;
            daemon.kill().await;
            if rested {
                break;
            }
            writes += 1;
        }
        drop(world);
        assert!(writes > 20, "{writes}");
        for number in 1..=writes {
            for stop in [Stop::Before(number), Stop::After(number)] {
                let world = changed().await;
                let daemon = world.start_until(Some(stop));
                daemon.rest().await;
                daemon.kill().await;
                world.clock.pass(1_500);
                // The way back in was there all the time.
                for host in [HOST, "web-2"] {
                    let there = others(&world, host);
                    assert!(
                        there.contains(&ed25519(1)) || there.contains(&ed25519(2)),
                        "{stop:?}: {there:?}"
                    );
                }
                let daemon = world.start();
                assert!(daemon.rest().await);
                assert_as_wanted(&world, &daemon);
                daemon.kill().await;
            }
        }
    });
}

#[test]
fn what_is_lost_on_the_way_is_asked_for_again() {
    run(async {
        for fault in [
            Fault::LostAfter,
            Fault::LostBefore,
            Fault::Fails(HostErrorKind::Busy),
            Fault::Fails(HostErrorKind::Refused),
        ] {
            for place in 0..14 {
                let world = changed().await;
                let faults = std::iter::repeat_n(None, place).chain([Some(fault)]);
                world.hosts.expect(faults);
                let daemon = world.start();
                assert!(daemon.rest().await);
                assert_as_wanted(&world, &daemon);
                daemon.kill().await;
            }
        }
    });
}

#[test]
fn a_grant_ends_by_time_or_by_the_users_word() {
    run(async {
        let world = world_with(&[HOST], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let grant = |number: u8, seconds: u64| Grant {
            public_key: format!("{} friend", ed25519(number)),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(seconds)),
            hosts: Vec::new(),
        };
        let granted = daemon.handle.grant(grant(5, 3_600)).await.unwrap();
        assert_eq!(granted.len(), 1);
        assert_eq!(
            (granted[0].state, granted[0].error.clone()),
            (LineState::Placed, None)
        );
        assert_eq!(others(&world, HOST), [ed25519(5)]);
        let line = world.hosts.lines(HOST).pop().unwrap();
        assert!(line.starts_with("expiry-time=\""), "{line}");
        let named = granted[0].fingerprint.clone();

        let selector = Selector::Grant(named);
        let preview = daemon
            .handle
            .preview_revocation(selector.clone(), Vec::new(), Vec::new())
            .await
            .unwrap();
        assert_eq!((preview.own.len(), preview.hosts.len()), (1, 0));
        let (revoked, own) = daemon
            .handle
            .revoke(selector.clone(), Vec::new(), Vec::new())
            .await
            .unwrap();
        assert_eq!((revoked.len(), own[0].state), (0, LineState::Removed));
        assert_eq!(own[0].error, None);
        assert_eq!(others(&world, HOST), [""; 0]);

        // The same key in a line of somebody's.
        let unmarked = format!("{} friend", ed25519(5));
        world.hosts.write(HOST, |lines| lines.push(unmarked.clone()));
        daemon.handle.grant(grant(5, 3_600)).await.unwrap();
        let (_, own) = daemon
            .handle
            .revoke(selector, Vec::new(), Vec::new())
            .await
            .unwrap();
        assert_eq!(own[0].state, LineState::Removed);
        let error = own[0].error.clone().unwrap();
        assert!(
            error
                .message
                .contains("is still let in by a line that is not keyferry's"),
            "{error:?}"
        );
        assert!(world.hosts.lines(HOST).contains(&unmarked));
        world
            .hosts
            .write(HOST, |lines| lines.retain(|line| *line != unmarked));

        // The clock jumps there when nothing else is due.
        daemon.handle.grant(grant(6, 60)).await.unwrap();
        let mut snapshots = daemon.handle.snapshots();
        snapshots
            .wait_for(|snapshot| snapshot.trusted.is_empty())
            .await
            .unwrap();
        assert_eq!(others(&world, HOST), [""; 0]);

        // Nonsense is refused, and leaves nothing.
        for wrong in [
            grant(5, 0),
            grant(5, 1_001 * 86_400),
            Grant {
                key: "nobody".to_owned(),
                ..grant(5, 60)
            },
            Grant {
                hosts: vec!["elsewhere".to_owned()],
                ..grant(5, 60)
            },
            Grant {
                public_key: "ssh-ed25519 AAAA".to_owned(),
                ..grant(5, 60)
            },
        ] {
            assert!(daemon.handle.grant(wrong).await.is_err());
        }
        assert!(
            world
                .history()
                .trusted
                .iter()
                .all(|row| row.state == PlacementState::Removed)
        );
        daemon.kill().await;
    });
}

#[test]
fn a_grant_ends_on_the_hosts_that_are_named_and_on_no_other() {
    run(async {
        let world = world_with(&["web-1", "web-2"], |_| {});
        world.hosts.add("db-1", true);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let grant = Grant {
            public_key: ed25519(5),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(3_600)),
            hosts: Vec::new(),
        };
        let granted = daemon.handle.grant(grant).await.unwrap();
        let selector = Selector::Grant(granted[0].fingerprint.clone());
        let of_another = format!("{} keyferry owner=li machine=pc-aaaaaa key=db", ed25519(5));
        world.hosts.write("db-1", |lines| lines.push(of_another.clone()));
        let names = vec!["db-1".to_owned(), "web-1".to_owned()];
        let preview = daemon
            .handle
            .preview_revocation(selector.clone(), names.clone(), Vec::new())
            .await
            .unwrap();
        let own: Vec<&str> = preview.own.iter().map(|line| line.host.as_str()).collect();
        let looked_at: Vec<&str> = preview.hosts.iter().map(|seen| seen.host.as_str()).collect();
        assert_eq!((own, looked_at), (vec!["web-1"], vec!["db-1"]));
        daemon.handle.revoke(selector, names, Vec::new()).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(others(&world, "web-1"), [""; 0]);
        assert_eq!(others(&world, "web-2"), [ed25519(5)]);
        assert!(!world.hosts.lines("db-1").contains(&of_another));
        daemon.kill().await;
    });
}

#[test]
fn others_lines_go_whatever_the_ledger_knows_of_generations() {
    run(async {
        let mut world = world_with(&[HOST], |spec| spec.deploy.also_trust = vec![ed25519(7)]);
        world.desired.daemon.recovery = recovery(ed25519(1));
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert!(others(&world, HOST).contains(&ed25519(7)));
        daemon.kill().await;
        // As after a later pair was seen, and nothing was made since.
        let ledger = rusqlite::Connection::open(world.state.path().join("ledger.sqlite")).unwrap();
        let changed = ledger.execute("UPDATE key SET last_n = 9, retire_asked_at = 1", ());
        assert_eq!(changed.unwrap(), 1);
        drop(ledger);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let left = others(&world, HOST);
        assert!(!left.contains(&ed25519(7)), "{left:?}");
        daemon.kill().await;
    });
}

#[test]
fn what_is_over_goes_although_the_recovery_identity_does_not_log_in() {
    run(async {
        let mut world = world_with(&[HOST], |_| {});
        world.desired.daemon.recovery = recovery(ed25519(1));
        world.hosts.take_no_agent(HOST);
        let daemon = world.start();
        let grant = Grant {
            public_key: ed25519(5),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(7_200)),
            hosts: Vec::new(),
        };
        let mut snapshots = daemon.handle.snapshots();
        let shows = |snapshot: &Snapshot, number: u8, is_failed: bool| {
            let named = crate::ledger::fingerprint(&ed25519(number));
            let mut rows = snapshot.trusted.iter();
            rows.any(|row| row.fingerprint == named && row.error.is_some() == is_failed)
        };
        let failed = snapshots.wait_for(|snapshot| shows(snapshot, 1, true));
        let failed = tokio::time::timeout(Duration::from_secs(10), failed).await;
        failed.expect("it does not log in").unwrap();
        let _ = daemon.handle.grant(grant).await.unwrap();
        let placed = snapshots.wait_for(|snapshot| shows(snapshot, 5, false));
        let placed = tokio::time::timeout(Duration::from_secs(10), placed).await;
        placed.expect("the grant is there").unwrap();
        assert!(others(&world, HOST).contains(&ed25519(5)));
        let gone = snapshots.wait_for(|snapshot| snapshot.trusted.len() == 1);
        let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
        gone.expect("it ends by time").unwrap();
        assert_eq!(others(&world, HOST), [ed25519(1)]);
        daemon.kill().await;
    });
}

#[test]
fn a_recovery_identity_that_is_refused_is_no_way_in_any_more() {
    run(async {
        let mut world = world_with(&[HOST], |_| {});
        world.desired.daemon.recovery = recovery(ed25519(1));
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.hosts.take_no_agent(HOST);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        daemon
            .until("its own line is the only way in", |status| {
                let rotation = status.rotation.as_ref();
                let waiting = rotation.and_then(|rotation| rotation.waiting.as_deref());
                waiting.is_some_and(|waiting| waiting.contains("only way in"))
            })
            .await;
        assert_eq!(world.hosts.generations(HOST), [1]);
        let row = world.history().trusted.remove(0);
        assert_eq!((row.state, row.verified_at), (PlacementState::Placed, None));
        daemon.kill().await;
    });
}

#[test]
fn a_key_that_has_nothing_yet_is_granted_for() {
    run(async {
        let world = world_with(&[HOST], |_| {});
        world
            .cloud
            .always(Some(super::cloud::Fault::Setup(SetupKind::Settings)));
        world
            .plugins
            .answers
            .store(0, std::sync::atomic::Ordering::Relaxed);
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(world.history().keys, []);
        let grant = Grant {
            public_key: ed25519(5),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(7_200)),
            hosts: Vec::new(),
        };
        let asked = daemon.handle.clone();
        let asked = tokio::spawn(async move { asked.grant(grant).await });
        daemon
            .until("it is noted", |_| !world.history().trusted.is_empty())
            .await;
        asked.abort();
        daemon.kill().await;
    });
}

#[test]
fn an_identity_that_has_to_be_touched_waits_for_a_person() {
    run(async {
        let sk = public_key("sk-ssh-ed25519@openssh.com", 1);
        let mut world = world_with(&[HOST], |_| {});
        world.desired.daemon.recovery = recovery(sk.clone());
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(
            others(&world, HOST),
            std::slice::from_ref(&sk),
            "its line needs nobody"
        );
        let row = world.history().trusted.remove(0);
        assert_eq!((row.state, row.verified_at), (PlacementState::Placed, None));
        let recovered = daemon.handle.recover(Vec::new()).await.unwrap();
        assert_eq!(recovered.len(), 1);
        assert!(recovered[0].recovery_verified_at.is_some(), "{recovered:?}");
        daemon.kill().await;

        // After a restart nothing else logs in: the key is put there when somebody asks.
        world.hosts.let_ssh_config_in(HOST, false);
        world
            .hosts
            .write(HOST, |lines| lines.retain(|line| !line.contains(" gen=")));
        let daemon = world.start();
        daemon
            .until("it has failed", |status| {
                status.hosts.iter().any(|host| host.error.is_some())
            })
            .await;
        assert_eq!(world.hosts.generations(HOST), [0; 0]);
        let recovered = daemon.handle.recover(vec![HOST.to_owned()]).await.unwrap();
        assert_eq!(recovered[0].error, None, "{recovered:?}");
        assert_eq!(recovered[0].generation, Some(2));
        assert_eq!(world.hosts.generations(HOST), [2]);
        daemon.kill().await;
    });
}

#[test]
fn foreign_lines_go_when_the_host_is_back_and_never_the_last_ones() {
    run(async {
        let world = world_with(&[HOST, "web-2"], |_| {});
        world.hosts.add("db-1", true);
        let line = |number: u8, machine: &str| {
            format!(
                "{} keyferry owner=bob machine={machine} key=db gen=3",
                ed25519(number)
            )
        };
        for host in [HOST, "web-2"] {
            world.hosts.write(host, |lines| {
                lines.extend([line(20, "old-pc-aaaaaa"), line(21, "new-pc-bbbbbb")])
            });
        }
        // Nobody but this machine has a line there.
        world
            .hosts
            .write("db-1", |lines| *lines = vec![line(20, "old-pc-aaaaaa")]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.hosts.turn("web-2", false);
        let selector = Selector::Machine("old-pc-aaaaaa".to_owned());
        let hosts: Vec<String> = [HOST, "web-2", "db-1"].map(str::to_owned).into();
        let preview = daemon
            .handle
            .preview_revocation(selector.clone(), hosts.clone(), vec!["db-1".to_owned()])
            .await
            .unwrap();
        let seen: Vec<_> = preview
            .hosts
            .iter()
            .map(|host| {
                (
                    host.host.as_str(),
                    host.lines.len(),
                    host.has_others,
                    host.error.is_some(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("db-1", 1, false, false),
                (HOST, 1, true, false),
                ("web-2", 0, false, true)
            ]
        );
        let accepted = preview.hosts.iter().filter(|host| host.accepted);
        assert_eq!(
            accepted.map(|host| host.host.as_str()).collect::<Vec<_>>(),
            ["db-1"]
        );
        let unknown = daemon
            .handle
            .preview_revocation(selector.clone(), hosts.clone(), vec!["db-7".to_owned()])
            .await;
        assert!(
            matches!(&unknown, Err(Refusal::Trust(TrustRefusal::UnknownLoss { name, .. })) if name == "db-7"),
            "{unknown:?}"
        );
        assert!(
            world.hosts.lines(HOST).contains(&line(20, "old-pc-aaaaaa")),
            "a look changes nothing"
        );

        let (revoked, _) = daemon
            .handle
            .revoke(selector.clone(), hosts.clone(), Vec::new())
            .await
            .unwrap();
        let states: Vec<_> = revoked.iter().map(|row| (row.host.as_str(), row.state)).collect();
        assert!(states.contains(&(HOST, LineState::Removed)), "{states:?}");
        assert!(states.contains(&("db-1", LineState::Left)), "{states:?}");
        assert!(states.contains(&("web-2", LineState::Removing)), "{states:?}");
        assert!(!world.hosts.lines(HOST).contains(&line(20, "old-pc-aaaaaa")));
        assert!(world.hosts.lines(HOST).contains(&line(21, "new-pc-bbbbbb")));
        daemon.kill().await;

        // It is noted: another daemon does it.
        world.hosts.turn("web-2", true);
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert!(!world.hosts.lines("web-2").contains(&line(20, "old-pc-aaaaaa")));
        assert_eq!(world.hosts.lines("db-1"), [line(20, "old-pc-aaaaaa")]);
        let (revoked, _) = daemon
            .handle
            .revoke(selector, vec!["db-1".to_owned()], vec!["db-1".to_owned()])
            .await
            .unwrap();
        assert_eq!(revoked[0].state, LineState::Removed);
        assert_eq!(world.hosts.lines("db-1"), [""; 0]);
        assert!(
            world
                .history()
                .revocations
                .iter()
                .all(|row| row.state == RevocationState::Removed)
        );

        // This machine's own lines have ways of their own.
        let own = world
            .hosts
            .lines(HOST)
            .into_iter()
            .find(|line| line.contains(" key=web gen="))
            .unwrap();
        let own = own
            .split_once("machine=")
            .unwrap()
            .1
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        let refused = daemon
            .handle
            .revoke(Selector::Machine(own), Vec::new(), Vec::new())
            .await;
        assert!(
            matches!(refused, Err(Refusal::Trust(TrustRefusal::OwnMachine { .. }))),
            "{refused:?}"
        );
        daemon.kill().await;
    });
}

/// A world where lines of another machine are to go from a host that was down when that was asked.
async fn waiting_revocation() -> (World, String) {
    let world = world_with(&[HOST], |_| {});
    let daemon = world.start();
    assert!(daemon.rest().await);
    let line = format!(
        "{} keyferry owner=li machine=old-pc-aaaaaa key=web gen=1",
        ed25519(20)
    );
    world.hosts.write(HOST, |lines| lines.push(line.clone()));
    world.hosts.turn(HOST, false);
    let asked = daemon
        .handle
        .revoke(
            Selector::Owner("li".to_owned()),
            vec![HOST.to_owned()],
            Vec::new(),
        )
        .await;
    assert_eq!(asked.unwrap().0[0].state, LineState::Removing);
    daemon.kill().await;
    world.hosts.turn(HOST, true);
    (world, line)
}

#[test]
fn nothing_is_revoked_before_the_files_were_read() {
    run(async {
        let (mut world, line) = waiting_revocation().await;
        let read = std::mem::take(&mut world.desired);
        let daemon = world.start();
        world.hosts.forget_tasks();
        assert!(daemon.rest().await);
        assert_eq!(world.hosts.tasks(), []);
        assert_eq!(world.history().revocations[0].state, RevocationState::Asked);
        assert!(world.hosts.lines(HOST).contains(&line));
        world.desired = read;
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        assert_eq!(world.history().revocations[0].state, RevocationState::Removed);
        assert!(!world.hosts.lines(HOST).contains(&line));
        daemon.kill().await;
    });
}

#[test]
fn what_is_not_found_without_the_keys_file_is_not_called_gone() {
    run(async {
        let (mut world, line) = waiting_revocation().await;
        // Its file said where the lines stand; they are not in the usual one.
        world
            .hosts
            .write(HOST, |lines| lines.retain(|other| *other != line));
        let spec = world.desired.keys.remove("web").unwrap();
        let daemon = world.start();
        daemon.handle.refresh().await;
        let mut snapshots = daemon.handle.snapshots();
        let is_told = |snapshot: &Arc<Snapshot>| {
            let error = snapshot.revoked.first().and_then(|row| row.error.as_ref());
            error.is_some_and(|error| {
                error
                    .message
                    .contains("keys/web.toml says in which file: put it back")
            })
        };
        let told = snapshots.wait_for(is_told);
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        assert_eq!(told.unwrap().unwrap().revoked[0].state, LineState::Removing);
        assert_eq!(world.history().revocations[0].state, RevocationState::Asked);
        world.hosts.write(HOST, |lines| lines.push(line.clone()));
        world.desired.keys.insert("web".to_owned(), spec);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        assert_eq!(world.history().revocations[0].state, RevocationState::Removed);
        assert!(!world.hosts.lines(HOST).contains(&line));
        daemon.kill().await;
    });
}

#[test]
fn a_disk_that_is_full_for_a_while_keeps_no_guest_in() {
    run(async {
        let world = world_with(&[HOST], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let grant = Grant {
            public_key: ed25519(5),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(7_200)),
            hosts: Vec::new(),
        };
        daemon.handle.grant(grant).await.unwrap();
        world.hosts.expect([Some(Fault::Fails(HostErrorKind::File))]);
        let named = crate::ledger::fingerprint(&ed25519(5));
        let revoked = daemon
            .handle
            .revoke(Selector::Grant(named), Vec::new(), Vec::new())
            .await;
        assert_eq!(revoked.unwrap().1[0].state, LineState::Removing);
        let begun = world.clock.now().uptime;
        assert!(daemon.rest().await);
        assert_eq!(others(&world, HOST), [""; 0]);
        assert!(
            world.clock.now().uptime - begun < 3_600_000,
            "before it ends by itself"
        );
        daemon.kill().await;
    });
}

#[test]
fn what_others_allow_their_keys_is_not_kept() {
    run(async {
        let world = world_with(&[HOST], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let line = format!(
            "environment=\"TOKEN=hunter2\" {} keyferry owner=bob machine=old-pc-aaaaaa key=db gen=3",
            ed25519(20)
        );
        world.hosts.write(HOST, |lines| lines.push(line));
        let selector = Selector::Owner("bob".to_owned());
        let revoked = daemon
            .handle
            .revoke(selector, Vec::new(), Vec::new())
            .await
            .unwrap();
        assert_eq!(revoked.0[0].state, LineState::Removed);
        let kept = world.history().revocations.remove(0).lines;
        let named = crate::ledger::fingerprint(&ed25519(20));
        assert_eq!(
            kept,
            format!("{named} keyferry owner=bob machine=old-pc-aaaaaa key=db gen=3\n")
        );
        daemon.kill().await;
    });
}

#[test]
fn foreign_lines_go_from_every_file_that_keys_have_on_a_host() {
    run(async {
        const FILE: &str = "/etc/ssh/keys/%u";
        let mut world = world_with(&[HOST], |_| {});
        let second = key("zebra", GeneratedBy::Keyferry, |spec| {
            spec.hosts = Some(crate::desired::HostList::Listed(vec![HOST.to_owned()]));
            spec.deploy.path = Some(FILE.to_owned());
        });
        world.desired.keys.insert("zebra".to_owned(), second);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let line = |number: u8| {
            format!(
                "{} keyferry owner=bob machine=old-pc-aaaaaa key=db gen=3",
                ed25519(number)
            )
        };
        for is_in_both in [false, true] {
            world.hosts.write_file(HOST, FILE, |lines| lines.push(line(20)));
            if is_in_both {
                world.hosts.write(HOST, |lines| lines.push(line(21)));
            }
            let selector = Selector::Owner("bob".to_owned());
            let preview = daemon
                .handle
                .preview_revocation(selector.clone(), Vec::new(), Vec::new())
                .await
                .unwrap();
            assert_eq!(preview.hosts[0].lines.len(), 1 + usize::from(is_in_both));
            let revoked = daemon
                .handle
                .revoke(selector, Vec::new(), Vec::new())
                .await
                .unwrap();
            assert_eq!(revoked.0[0].state, LineState::Removed);
            assert!(!world.hosts.file(HOST, FILE).contains(&line(20)), "{is_in_both}");
            assert!(!world.hosts.lines(HOST).contains(&line(21)));
            let kept = world.history().revocations.remove(0).lines;
            assert_eq!(kept.lines().count(), 1 + usize::from(is_in_both), "{kept}");
        }
        assert_eq!(world.hosts.file(HOST, FILE).len(), 1, "its own line stays");
        daemon.kill().await;
    });
}
