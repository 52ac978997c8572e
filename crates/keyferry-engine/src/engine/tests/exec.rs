//! Keys for one command: beside everything else, and gone with it.

use std::collections::BTreeSet;

use keyferry_hosts::HostErrorKind;

use super::hosts::Fault;
use super::rotation::world_with;
use super::*;
use crate::ledger::EffectKind;
use crate::snapshot::{ExecStatus, HostCondition, Timestamp};

const HOSTS: [&str; 2] = ["web-1", "web-2"];
const EXEC: &str = "web-exec-1";
const HOUR: Duration = Duration::from_secs(3_600);

/// One key on two hosts, where nothing else of keyferry's gets in after the key does.
fn world() -> World {
    world_with(&HOSTS, |_| {})
}

impl Daemon {
    async fn exec(&self) -> Lease {
        self.handle.exec("web".to_owned(), HOUR).await.unwrap()
    }

    fn exec_keys(&self) -> Vec<(String, ExecStatus)> {
        let snapshot = self.handle.snapshots().borrow().clone();
        let keys = snapshot.keys.iter();
        keys.filter_map(|key| Some((key.name.clone(), key.exec.clone()?)))
            .collect()
    }

    fn verified(&self, key: &str) -> usize {
        let hosts = self.status(key).hosts;
        let verified = hosts.iter().filter(|host| host.state == HostCondition::Verified);
        verified.count()
    }
}

impl World {
    fn lines_of(&self, host: &str, key: &str) -> Vec<String> {
        let mut lines = self.hosts.lines(host);
        lines.retain(|line| line.contains(&format!(" key={key} ")));
        lines
    }

    /// The key that a file declares is everywhere, once, and nothing of any command's key is left.
    #[track_caller]
    fn assert_only_web(&self, daemon: &Daemon) {
        self.assert_converged(daemon);
        self.hosts.assert_nobody_was_locked_out();
        assert_eq!(daemon.exec_keys(), [], "{:#?}", self.history().keys);
        let ring = daemon.key_ring.all.lock().unwrap().clone();
        let n = daemon.status("web").generation.unwrap();
        assert_eq!(
            ring.into_iter().collect::<Vec<_>>(),
            [(("web".to_owned(), n), Offer::Everywhere)]
        );
        for host in HOSTS {
            assert_eq!(self.hosts.generations(host), [n], "{host}");
            assert_eq!(self.lines_of(host, "web").len(), 1, "{host}");
        }
        let open: Vec<_> = self
            .history()
            .keys
            .into_iter()
            .filter(|row| row.ends_at.is_some() || row.retire_asked_at.is_some())
            .collect();
        assert!(open.is_empty(), "{open:#?}");
    }
}

#[test]
fn a_command_has_a_key_of_its_own_that_goes_with_it() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }
        let before = world.clock.now().wall_ms();
        let lease = daemon.exec().await;
        assert_eq!(lease.name(), EXEC);
        let row = |world: &World| {
            world
                .history()
                .keys
                .into_iter()
                .find(|row| row.name == EXEC)
                .unwrap()
        };
        let ends_at = row(&world).ends_at.unwrap();
        assert_eq!(ends_at, (before + 3_600_000 + 999) / 1_000 * 1_000);
        assert_eq!(row(&world).made_after.as_deref(), Some("web"));

        assert!(daemon.rest().await);
        assert_eq!(daemon.verified(EXEC), 2, "{:#?}", daemon.status(EXEC));
        assert_eq!(
            daemon.exec_keys(),
            [(
                EXEC.to_owned(),
                ExecStatus {
                    after: "web".to_owned(),
                    ends_at: Timestamp::from_ms(ends_at),
                    ending: false,
                }
            )]
        );
        let ring = daemon.key_ring.all.lock().unwrap().clone();
        assert_eq!(ring[&(EXEC.to_owned(), 1)], Offer::Nowhere);
        let expiry = crate::plan::expiry::option(Timestamp::from_ms(ends_at).0);
        for host in HOSTS {
            let lines = world.lines_of(host, EXEC);
            assert_eq!(lines.len(), 1, "{host}");
            assert!(lines[0].starts_with(&format!("{expiry} ")), "{lines:?}");
        }
        assert_eq!(world.cloud.pairs().len(), 2);
        assert!(!crate::public_files::path(world.state.path(), EXEC).exists());

        drop(lease);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        // What it was is still known.
        assert_eq!(row(&world).made_after.as_deref(), Some("web"));
        daemon.kill().await;
    });
}

#[test]
fn two_commands_have_two_keys_and_a_name_comes_again() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let (one, other) = (daemon.exec().await, daemon.exec().await);
        assert_eq!((one.name(), other.name()), (EXEC, "web-exec-2"));
        assert!(daemon.rest().await);
        assert_eq!((daemon.verified(EXEC), daemon.verified("web-exec-2")), (2, 2));
        drop(one);
        assert!(daemon.rest().await);
        assert_eq!(daemon.verified("web-exec-2"), 2);
        assert_eq!(world.hosts.lines("web-1").len(), 3);

        let third = daemon.exec().await;
        assert_eq!(third.name(), EXEC);
        assert!(daemon.rest().await);
        assert_eq!(
            daemon.status(EXEC).generation,
            Some(2),
            "numbers are never used twice"
        );
        drop((other, third));
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        assert_eq!(world.history().keys.len(), 3);
        daemon.kill().await;
    });
}

#[test]
fn its_time_ends_it_whatever_the_command_does() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        world.clock.pass(3_601_000);
        daemon.handle.refresh().await;
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        drop(lease);
        daemon.kill().await;
    });
}

#[test]
fn ssh_add_d_ends_it_for_good() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        daemon.handle.held(EXEC);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        // And the next of that name is not held.
        let next = daemon.exec().await;
        assert_eq!(next.name(), EXEC);
        assert!(daemon.key_ring.resumed.lock().unwrap().contains(&EXEC.to_owned()));
        drop(lease);
        assert!(daemon.rest().await);
        assert_eq!(daemon.verified(EXEC), 2, "an earlier owner has no say");
        daemon.kill().await;
    });
}

#[test]
fn without_hosts_there_is_a_pair_and_no_line() {
    run(async {
        for generated_by in [GeneratedBy::Keyferry, GeneratedBy::Provider] {
            let world = World::with_keys(&[("web", generated_by)]);
            let daemon = world.start();
            assert!(daemon.rest().await);
            let lease = daemon.exec().await;
            assert!(daemon.rest().await);
            assert_eq!(daemon.status(EXEC).state, KeyState::Loaded);
            assert_eq!(daemon.status(EXEC).rotation, None);
            assert_eq!(world.cloud.pairs().len(), 2);
            drop(lease);
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            assert_eq!(daemon.exec_keys(), []);
            assert_eq!(world.cloud.pairs().len(), 1);
            daemon.kill().await;
        }
    });
}

#[test]
fn what_cannot_be_the_pattern_is_refused() {
    run(async {
        let mut world = world();
        for name in ["held", "paused", "retiring", "gone"] {
            let spec = key(name, GeneratedBy::Keyferry, |_| {});
            world.desired.keys.insert(name.to_owned(), spec);
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.held("held");
        let paused = vec!["paused".to_owned()];
        daemon.handle.pause(paused, None, None).await.unwrap();
        daemon
            .handle
            .retire("retiring".to_owned(), Vec::new())
            .await
            .unwrap();
        let gone = key("gone", GeneratedBy::Keyferry, |spec| spec.present = false);
        world.desired.keys.insert("gone".to_owned(), gone);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;

        for (name, word) in [
            ("held", "is held"),
            ("paused", "is on hold"),
            ("retiring", "is being retired"),
            ("gone", "keys/gone.toml is missing"),
            ("nobody", "there is no key named nobody"),
            (EXEC, "is there for one command"),
        ] {
            let refusal = daemon.handle.exec(name.to_owned(), HOUR).await.unwrap_err();
            assert!(refusal.to_string().contains(word), "{name}: {refusal}");
        }
        for life in [Duration::ZERO, Duration::from_secs(86_401)] {
            let refusal = daemon.handle.exec("web".to_owned(), life).await.unwrap_err();
            assert_eq!(refusal, Refusal::LifeOfKey);
        }
        // And what is for keys that stay is not for this one.
        let named = || vec![EXEC.to_owned()];
        let for_command = Refusal::ForCommand { key: EXEC.to_owned() };
        assert_eq!(daemon.handle.rotate(named()).await, Err(for_command.clone()));
        assert_eq!(daemon.handle.pause(named(), None, None).await, Err(for_command));

        let mut leases = vec![lease];
        loop {
            match daemon.handle.exec("web".to_owned(), HOUR).await {
                Ok(lease) => leases.push(lease),
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::TooManyCommands { running: 32 });
                    break;
                }
            }
        }
        daemon.kill().await;
    });
}

#[test]
fn a_full_account_has_no_place_for_it() {
    run(async {
        let mut world = world();
        let limited = account(|account| account.max_pairs = Some(1));
        world.desired.accounts.insert("cloud".to_owned(), limited);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        let status = daemon.status(EXEC);
        assert_eq!(status.state, KeyState::Failed);
        assert!(status.error.is_some(), "{status:#?}");
        assert_eq!(daemon.status("web").error, None);
        drop(lease);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
    });
}

#[test]
fn its_pattern_may_rotate_or_lose_its_file_meanwhile() {
    run(async {
        let mut world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }
        let lease = daemon.exec().await;
        let asked = daemon.handle.rotate(vec!["web".to_owned()]).await;
        assert!(asked.is_ok(), "{asked:?}");
        daemon
            .until("both are there", |key| {
                let is_verified = |host: &crate::snapshot::HostStatus| host.state == HostCondition::Verified;
                key.name == EXEC && key.hosts.len() == 2 && key.hosts.iter().all(is_verified)
            })
            .await;
        let declared = world.desired.keys.remove("web").unwrap();
        let missing = key("web", GeneratedBy::Keyferry, |spec| {
            *spec = KeySpec::clone(&declared);
            spec.present = false;
        });
        world.desired.keys.insert("web".to_owned(), missing);
        daemon.read_again(&world.desired);
        drop(lease);
        assert!(daemon.rest().await);
        assert_eq!(daemon.exec_keys(), []);
        for host in HOSTS {
            assert_eq!(world.lines_of(host, EXEC), Vec::<String>::new());
            assert_eq!(world.lines_of(host, "web").len(), 1);
        }
        world.desired.keys.insert("web".to_owned(), declared);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
    });
}

#[test]
fn where_its_pattern_is_not_it_goes_over_its_own_login() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        // Somebody takes the pattern's line away; the user's own login is left.
        for host in HOSTS {
            world
                .hosts
                .write(host, |lines| lines.retain(|line| !line.contains(" key=web ")));
        }
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        assert_eq!(daemon.verified(EXEC), 2);
        drop(lease);
        assert!(daemon.rest().await);
        for host in HOSTS {
            assert_eq!(world.lines_of(host, EXEC), Vec::<String>::new(), "{host}");
        }
        assert_eq!(daemon.exec_keys(), []);
        daemon.kill().await;
    });
}

#[test]
fn a_host_that_is_down_at_the_end_is_cleared_when_it_is_back() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        world.hosts.turn("web-2", false);
        drop(lease);
        daemon
            .until("the other one is cleared", |key| {
                key.name == EXEC
                    && key
                        .hosts
                        .iter()
                        .all(|host| host.lines.is_empty() != (host.host == "web-2"))
            })
            .await;
        assert!(daemon.exec_keys()[0].1.ending);
        // Whoever brings keys back does not bring this one.
        daemon.handle.resume(vec![EXEC.to_owned()]).await.unwrap();
        assert!(daemon.exec_keys()[0].1.ending);
        // It holds nobody up who waits for keys.
        let snapshot = daemon.handle.snapshots().borrow().clone();
        assert!(snapshot.settled(world.clock.now().wall), "{snapshot:#?}");
        world.hosts.turn("web-2", true);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
    });
}

#[test]
fn a_host_that_never_comes_back_keeps_nothing_of_it() {
    run(async {
        for (is_killed, is_forgotten) in [(false, false), (true, false), (false, true)] {
            let world = world();
            let mut daemon = world.start();
            assert!(daemon.rest().await);
            let lease = daemon.exec().await;
            assert!(daemon.rest().await);
            let ends_at = daemon.exec_keys()[0].1.ends_at.to_ms();
            world.hosts.turn("web-2", false);
            drop(lease);
            daemon
                .until("the other one is cleared", |key| {
                    key.name == EXEC
                        && key
                            .hosts
                            .iter()
                            .all(|host| host.lines.is_empty() != (host.host == "web-2"))
                })
                .await;
            if is_forgotten {
                daemon
                    .handle
                    .host_forget("web-2".to_owned(), false)
                    .await
                    .unwrap();
            }
            if is_killed {
                daemon.kill().await;
                daemon = world.start();
            }
            let mut snapshots = daemon.handle.snapshots();
            let gone = snapshots.wait_for(|snapshot| snapshot.keys.iter().all(|key| key.exec.is_none()));
            let gone = tokio::time::timeout(Duration::from_secs(60), gone).await.is_ok();
            assert!(gone, "{:#?}", daemon.exec_keys());
            // Its line has ended by itself, and stands there still.
            assert_eq!(world.lines_of("web-2", EXEC).len(), 1);
            let passed = world.clock.now().wall_ms() - ends_at;
            const DAY: i64 = 86_400_000;
            assert!((2 * DAY..3 * DAY).contains(&passed), "{passed} ms");
            let ring = daemon.key_ring.all.lock().unwrap().clone();
            assert!(ring.keys().all(|(key, _)| key == "web"), "{ring:?}");
            let pairs = world.cloud.our_pairs();
            assert!(!pairs.iter().any(|name| name.contains(EXEC)), "{pairs:?}");
            let rows = world.history().keys;
            assert!(rows.iter().all(|row| row.ends_at.is_none()), "{rows:#?}");
            world.hosts.turn("web-2", true);
            daemon.handle.host_retry(vec!["web-2".to_owned()]).await.unwrap();
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            daemon.kill().await;
        }
    });
}

#[test]
fn a_host_that_answers_and_lets_nobody_in_keeps_nothing_of_it_either() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        // Its pattern is held, and signs nothing; then its own private half is lost too.
        daemon.handle.held("web");
        assert!(daemon.rest().await);
        daemon.kill().await;
        drop(lease);
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }
        let daemon = world.start();
        let mut snapshots = daemon.handle.snapshots();
        let gone = snapshots.wait_for(|snapshot| snapshot.keys.iter().all(|key| key.exec.is_none()));
        let gone = tokio::time::timeout(Duration::from_secs(60), gone).await.is_ok();
        assert!(gone, "{:#?}", daemon.exec_keys());
        let pairs = world.cloud.our_pairs();
        assert!(!pairs.iter().any(|name| name.contains(EXEC)), "{pairs:?}");
        daemon.kill().await;
    });
}

#[test]
fn it_is_no_way_in_for_a_key_that_ends() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        for host in HOSTS {
            world.hosts.let_ssh_config_in(host, false);
        }
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        assert!(daemon.rest().await);
        for host in HOSTS {
            assert_eq!(world.lines_of(host, "web").len(), 1, "{host}");
        }
        drop(lease);
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
    });
}

/// From nothing to the end of a command, unless the ledger stops before.
async fn live(world: &World, stop: Option<Stop>, faults: &[Option<Fault>]) -> (Daemon, bool) {
    let daemon = world.start_until(stop);
    if !daemon.rest().await {
        return (daemon, false);
    }
    world.hosts.expect(faults.iter().copied());
    let Ok(lease) = daemon.handle.exec("web".to_owned(), HOUR).await else {
        return (daemon, false);
    };
    if !daemon.rest().await {
        return (daemon, false);
    }
    drop(lease);
    let is_through = daemon.rest().await;
    (daemon, is_through)
}

#[test]
fn killed_at_every_write_nothing_of_it_is_left() {
    run(async {
        let scripts = [
            vec![],
            vec![Some(Fault::LostAfter); 6],
            vec![Some(Fault::LostBefore); 6],
            [
                vec![None; 4],
                vec![Some(Fault::LostBefore), Some(Fault::LostAfter)],
            ]
            .concat(),
            vec![Some(Fault::Fails(HostErrorKind::Unreachable)); 3],
        ];
        let mut kinds = BTreeSet::new();
        for script in scripts {
            let mut number = 1;
            let mut is_through = false;
            while !is_through {
                for stop in [Stop::Before(number), Stop::After(number)] {
                    let world = world();
                    let (daemon, ended) = live(&world, Some(stop), &script).await;
                    is_through = ended;
                    daemon.kill().await;
                    world.clock.pass(1_500);
                    let daemon = world.start();
                    assert!(daemon.rest().await, "nothing stops the last one");
                    world.assert_only_web(&daemon);
                    let effects = world.history().effects.into_iter();
                    kinds.extend(
                        effects
                            .filter(|effect| effect.key == EXEC)
                            .map(|effect| effect.kind),
                    );
                    daemon.kill().await;
                }
                number += 1;
            }
            assert!(number > 20, "{script:?}: {number} writes are less than expected");
        }
        assert_eq!(
            kinds,
            [
                EffectKind::Delete,
                EffectKind::Import,
                EffectKind::Put,
                EffectKind::TakeOff
            ]
            .into()
        );
    });
}

#[test]
fn killed_again_and_again_nothing_of_it_is_left() {
    run(async {
        let world = world();
        for number in 8..30 {
            let (daemon, _) = live(&world, Some(Stop::After(number)), &[]).await;
            daemon.kill().await;
            world.clock.pass(1_500);
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
    });
}

#[test]
fn a_name_that_is_gone_is_not_held() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        drop(daemon.exec().await);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        let held = daemon.handle.pause(vec![EXEC.to_owned()], None, None).await;
        assert!(matches!(held, Err(Refusal::UnknownKey { .. })), "{held:?}");
        daemon.kill().await;
    });
}

/// Written by an earlier version, or before the name was another key's.
#[test]
fn a_pause_keeps_no_command_s_key_from_ending_nor_the_next_from_beginning() {
    run(async {
        let world = world();
        let pause = async || {
            let (ledger, view) = Ledger::open_until(world.state.path(), None).unwrap();
            let row = crate::ledger::KeyRow {
                paused_at: Some(world.clock.now().wall_ms()),
                ..view.key(EXEC)
            };
            let write = crate::ledger::Write {
                keys: vec![row],
                ..crate::ledger::Write::default()
            };
            ledger.write(write).await.unwrap();
        };
        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert!(daemon.rest().await);
        daemon.kill().await;
        drop(lease);
        pause().await;

        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
        pause().await;

        let daemon = world.start();
        assert!(daemon.rest().await);
        let lease = daemon.exec().await;
        assert_eq!(lease.name(), EXEC);
        assert!(daemon.rest().await);
        assert_eq!(daemon.verified(EXEC), 2, "{:#?}", daemon.status(EXEC));
        drop(lease);
        assert!(daemon.rest().await);
        world.assert_only_web(&daemon);
        daemon.kill().await;
    });
}
