//! One behaviour each, as the user meets it.

use keyferry_plugin::contract::ErrorKind;

use super::cloud::Fault;
use super::*;
use crate::private_key::PublicKey;

fn creates(world: &World) -> usize {
    world
        .cloud
        .requests()
        .iter()
        .filter(|job| matches!(job, Job::Create { .. } | Job::Import { .. }))
        .count()
}

fn error(daemon: &Daemon, key: &str) -> StatusError {
    daemon
        .status(key)
        .error
        .unwrap_or_else(|| panic!("{key} has no error: {:?}", daemon.status(key)))
}

#[test]
fn a_key_is_imported_or_created_and_its_public_half_published() {
    run(async {
        let world = World::with_keys(&[("made", GeneratedBy::Provider), ("sent", GeneratedBy::Keyferry)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        for key in ["made", "sent"] {
            let status = daemon.status(key);
            assert_eq!(
                (status.state, status.generation, status.error),
                (KeyState::Loaded, Some(1), None)
            );
            assert_eq!(status.algorithm.as_deref(), Some("ed25519"));
            let line = std::fs::read_to_string(crate::public_files::path(world.state.path(), key)).unwrap();
            assert_eq!(Some(line.trim_end()), status.public_key.as_deref());
            let fingerprint = PublicKey::from_line(&line).unwrap().fingerprint();
            assert_eq!(Some(fingerprint), status.fingerprint);
        }
        assert_eq!(world.cloud.requests().len(), 2, "{:?}", world.cloud.requests());
    });
}

#[test]
fn after_a_restart_the_next_generation_is_loaded_and_the_old_pair_deleted() {
    run(async {
        let world = World::with_keys(&[("made", GeneratedBy::Provider), ("sent", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        let second = world.start();
        assert!(second.rest().await);
        world.assert_converged(&second);
        assert_eq!(second.status("made").generation, Some(2));
        assert_eq!(world.cloud.our_pairs().len(), 2);
    });
}

#[test]
fn an_rsa_key_is_made_beside_the_engine() {
    run(async {
        let mut world = World::new();
        let rsa = key("web", GeneratedBy::Keyferry, |spec| {
            spec.algorithm = Algorithm::Rsa2048
        });
        world.desired.keys.insert("web".to_owned(), rsa);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(daemon.status("web").algorithm.as_deref(), Some("rsa-2048"));
    });
}

#[test]
fn wrong_credentials_wait_for_a_changed_file_or_the_user() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        world.cloud.always(Some(Fault::Refuse(ErrorKind::Unauthorized)));
        let daemon = world.start();
        assert!(daemon.rest().await);
        let status = daemon.status("web");
        assert_eq!(status.state, KeyState::Failed);
        let shown = error(&daemon, "web");
        assert_eq!((shown.kind.as_str(), shown.retry_at), ("unauthorized", None));
        assert_eq!(
            (shown.code.as_deref(), shown.request_id.as_deref()),
            (Some("Code"), Some("request-1"))
        );
        assert!(shown.remedy.unwrap().contains("accounts/cloud.toml"));
        let of_account = daemon.handle.snapshots().borrow().accounts[0].error.clone();
        assert_eq!(of_account.unwrap().kind, "unauthorized");
        assert_eq!(creates(&world), 1);

        daemon.handle.resume(Vec::new()).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(creates(&world), 2, "asking tries again");

        world.cloud.always(None);
        world.desired.accounts.insert(
            "cloud".to_owned(),
            account(|account| account.max_concurrent = Some(3)),
        );
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(daemon.handle.snapshots().borrow().accounts[0].error, None);
    });
}

#[test]
fn what_cannot_help_is_not_repeated() {
    run(async {
        for fault in [
            Fault::Refuse(ErrorKind::Invalid),
            Fault::Refuse(ErrorKind::Unsupported),
            Fault::Setup(SetupKind::Credentials),
        ] {
            let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
            world.cloud.always(Some(fault));
            let daemon = world.start();
            assert!(daemon.rest().await);
            assert_eq!(daemon.status("web").state, KeyState::Failed);
            assert_eq!(error(&daemon, "web").retry_at, None);
            assert_eq!(creates(&world), 1, "{fault:?}");
            daemon.kill().await;
        }
    });
}

#[test]
fn what_helps_is_repeated_with_growing_delays() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        world
            .cloud
            .expect([Some(Fault::Refuse(ErrorKind::Throttled)); 12]);
        let start = world.clock.now().uptime;
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(creates(&world), 13);
        let took = world.clock.now().uptime - start;
        assert!(took < 1_000 * 511 + 300_000 * 4, "{took}");
        assert_eq!(
            daemon.status("web").generation,
            Some(13),
            "a name is never used twice"
        );
    });
}

#[test]
fn a_full_account_frees_its_own_lost_pair() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        world.cloud.quota(Some(1));
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        let start = world.clock.now().uptime;
        let second = world.start();
        assert!(second.rest().await);
        world.assert_converged(&second);
        assert_eq!(world.clock.now().uptime, start, "nothing was waited for");
    });
}

#[test]
fn somebody_elses_pair_is_left_alone() {
    run(async {
        for generated_by in [GeneratedBy::Provider, GeneratedBy::Keyferry] {
            let world = World::with_keys(&[("web", generated_by)]);
            world.cloud.expect([Some(Fault::Foreign), Some(Fault::Foreign)]);
            let daemon = world.start();
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            let states: Vec<_> = world.history().generations.iter().map(|row| row.state).collect();
            assert_eq!(
                states,
                [
                    GenerationState::Foreign,
                    GenerationState::Foreign,
                    GenerationState::Live
                ]
            );
            daemon.kill().await;
        }
    });
}

#[test]
fn a_pair_with_another_fingerprint_is_never_loaded_and_deleted() {
    run(async {
        for fault in [Fault::WrongFingerprint, Fault::WrongFingerprintForGood] {
            for generated_by in [GeneratedBy::Provider, GeneratedBy::Keyferry] {
                let world = World::with_keys(&[("web", generated_by)]);
                world.cloud.expect([Some(fault)]);
                let daemon = world.start();
                assert!(daemon.rest().await);
                world.assert_converged(&daemon);
                assert_eq!(daemon.status("web").generation, Some(2));
                assert_eq!(world.history().generations[0].state, GenerationState::Deleted);
                daemon.kill().await;
            }
        }
    });
}

#[test]
fn a_pair_that_was_replaced_is_reported_and_left() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        let name = world.history().generations[0].pair_name.clone();
        world.cloud.replace(&name);
        let second = world.start();
        assert!(second.rest().await);
        world.cloud.assert_foreign_pairs_are_untouched();
        assert_eq!(second.status("web").state, KeyState::Loaded);
        let shown = error(&second, "web");
        assert_eq!(shown.kind, "blocked");
        assert!(shown.message.contains(&name), "{}", shown.message);
        assert_eq!(world.history().generations[0].state, GenerationState::Blocked);
        assert!(
            world
                .cloud
                .requests()
                .iter()
                .all(|job| !matches!(job, Job::Delete { .. }))
        );

        let before = world.cloud.requests().len();
        let resumed = second.handle.resume(vec!["web".to_owned()]).await;
        assert_eq!(
            resumed,
            Ok(vec!["web".to_owned()]),
            "the key works, and its old pair waited"
        );
        assert!(second.rest().await);
        assert_eq!(world.cloud.requests().len(), before + 1, "it was looked at again");
        assert_eq!(error(&second, "web").kind, "blocked");
    });
}

#[test]
fn a_held_key_gets_nothing_new_until_resumed() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.handle.held("web");
        assert!(first.rest().await);
        assert_eq!(first.status("web").state, KeyState::Held);
        first.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert_eq!(*first.key_ring.resumed.lock().unwrap(), ["web"]);
        assert!(first.rest().await);
        assert_eq!(first.status("web").state, KeyState::Loaded);
        first.handle.held("web");
        assert!(first.rest().await);
        first.kill().await;

        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(second.status("web").state, KeyState::Held);
        assert_eq!(creates(&world), 1);
        let resumed = second.handle.resume(Vec::new()).await;
        assert_eq!(resumed, Ok(vec!["web".to_owned()]));
        assert!(second.rest().await);
        world.assert_converged(&second);
        assert_eq!(second.handle.resume(Vec::new()).await, Ok(Vec::new()));

        let unknown = second
            .handle
            .resume(vec!["web".to_owned(), "wbe".to_owned()])
            .await;
        assert!(
            matches!(&unknown, Err(Refusal::UnknownKey { name, .. }) if name == "wbe"),
            "{unknown:?}"
        );
    });
}

#[test]
fn a_key_whose_file_is_missing_keeps_serving_and_is_lost_with_the_process() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        let missing = key("web", GeneratedBy::Keyferry, |spec| spec.present = false);
        world.desired.keys.insert("web".to_owned(), missing);
        first.read_again(&world.desired);
        assert!(first.rest().await);
        assert_eq!(first.status("web").state, KeyState::Loaded);
        assert_eq!(error(&first, "web").kind, "missing");
        first.kill().await;

        // Nobody knows the file any more.
        world.desired.keys.clear();
        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(second.status("web").state, KeyState::Lost);
        assert!(error(&second, "web").message.contains("keys/web.toml is missing"));
        assert_eq!(creates(&world), 1);
        assert_eq!(world.cloud.our_pairs().len(), 1);
    });
}

#[test]
fn a_changed_file_applies_to_the_next_generation() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let changed = key("web", GeneratedBy::Keyferry, |spec| {
            spec.algorithm = Algorithm::EcdsaP256
        });
        world.desired.keys.insert("web".to_owned(), changed);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        let status = daemon.status("web");
        assert_eq!(
            (status.state, status.algorithm.as_deref()),
            (KeyState::Loaded, Some("ed25519"))
        );
        assert_eq!(error(&daemon, "web").kind, "changed");
        assert_eq!(creates(&world), 1);
        daemon.kill().await;

        let next = world.start();
        assert!(next.rest().await);
        assert_eq!(next.status("web").algorithm.as_deref(), Some("ecdsa-p256"));
    });
}

#[test]
fn a_missing_account_or_plugin_is_named() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry), ("db", GeneratedBy::Provider)]);
        let astray = key("web", GeneratedBy::Keyferry, |spec| {
            spec.account = "cluod".to_owned()
        });
        world.desired.keys.insert("web".to_owned(), astray);
        world.desired.accounts.insert(
            "cloud".to_owned(),
            account(|account| account.plugin = "gone".to_owned()),
        );
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(daemon.status("web").state, KeyState::Failed);
        assert!(error(&daemon, "web").message.contains("cluod"));
        assert_eq!(daemon.status("db").state, KeyState::Failed);
        assert!(
            error(&daemon, "db").message.contains("plugin gone"),
            "{:?}",
            daemon.status("db")
        );
        assert_eq!(world.cloud.requests(), []);
    });
}

#[test]
fn the_old_pair_waits_for_the_account_it_was_made_with() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        world.desired.accounts.insert(
            "cloud".to_owned(),
            account(|account| account.plugin = "other".to_owned()),
        );
        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(
            world.cloud.requests().len(),
            1,
            "nothing is asked of another plugin"
        );
        assert_eq!(second.status("web").state, KeyState::Failed);
    });
}

/// It would be planned for ever, and nothing else.
#[test]
fn a_public_half_that_cannot_be_read_is_not_published_again_and_again() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        let (_, desired) = watch::channel(Arc::new(world.desired.clone()));
        let (mut engine, _) = Engine::new(
            world.parts(None, Arc::default(), desired),
            GenerationPool::start().unwrap(),
        );
        let id = ("web".to_owned(), 1);
        engine.view.generations.get_mut(&id).unwrap().blob = None;
        engine.observed.loaded.insert("web".to_owned(), 1);
        let publish = crate::plan::Action::Publish { id };
        let planned = |engine: &Engine| {
            let now = engine.clock.now();
            plan(&engine.desired, &engine.view, &engine.observed, now).actions
        };
        assert_eq!(planned(&engine), std::slice::from_ref(&publish));
        engine.begin(publish).await.unwrap();
        assert_eq!(planned(&engine), []);
        assert_eq!(
            engine.snapshot().keys[0].error.as_ref().unwrap().kind,
            "public_file"
        );
    });
}

#[test]
fn an_agent_without_room_is_tried_again_without_a_new_pair() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let daemon = world.start();
        *daemon.key_ring.full.lock().unwrap() = true;
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(creates(&world), 1);
    });
}

#[test]
fn many_keys_keep_to_the_accounts_limit() {
    run(async {
        let mut world = World::new();
        for number in 0..60 {
            let name = format!("key-{number}");
            let maker = if number % 2 == 0 {
                GeneratedBy::Keyferry
            } else {
                GeneratedBy::Provider
            };
            world.desired.keys.insert(name.clone(), key(&name, maker, |_| {}));
        }
        for limit in [8, 2] {
            let limited = account(|account| account.max_concurrent = (limit != 8).then_some(limit));
            world.desired.accounts.insert("cloud".to_owned(), limited);
            world.cloud.hold_answers(true);
            let daemon = world.start();
            while world.cloud.in_flight().0 < limit {
                tokio::task::yield_now().await;
            }
            // Everything that may begin has begun.
            daemon.handle.refresh().await;
            assert_eq!(world.cloud.in_flight().0, limit);
            world.cloud.hold_answers(false);
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            daemon.kill().await;
        }
        assert_eq!(world.cloud.in_flight().1, 8, "at any time");
    });
}

#[test]
fn pairs_that_cannot_be_deleted_do_not_pile_up() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        // Every create gives garbage, every comparison before a deletion is refused.
        let cycle = [Some(Fault::Garbage), Some(Fault::Refuse(ErrorKind::Unauthorized))];
        world.cloud.expect(cycle.into_iter().cycle().take(40));
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(world.cloud.our_pairs().len(), crate::plan::MAX_UNWANTED);
        let status = daemon.status("web");
        assert_eq!(status.state, KeyState::Failed);
        assert!(
            error(&daemon, "web").message.contains("could not be deleted"),
            "{status:?}"
        );
    });
}

#[test]
fn pairs_that_are_about_to_be_deleted_are_no_failure() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        let cycle = [Some(Fault::Garbage), Some(Fault::Refuse(ErrorKind::Unauthorized))];
        world.cloud.expect(cycle.into_iter().cycle().take(6));
        let first = world.start();
        assert!(first.rest().await);
        assert_eq!(first.status("web").state, KeyState::Failed);
        first.kill().await;

        world.cloud.hold_answers(true);
        let second = world.start();
        second.handle.refresh().await;
        let status = second.status("web");
        assert_eq!((status.state, status.error), (KeyState::Pending, None));
        world.cloud.hold_answers(false);
        assert!(second.rest().await);
        world.assert_converged(&second);
    });
}

/// Has the ledger refuse a kind of write until it is dropped.
pub(super) struct FullDisk<'a>(&'a World);

impl<'a> FullDisk<'a> {
    fn of(world: &'a World, write: &str) -> Self {
        Self::of_table(world, write, "effect")
    }

    pub(super) fn of_table(world: &'a World, write: &str, table: &str) -> Self {
        let body = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
        let this = Self(world);
        this.execute(&format!(
            "CREATE TRIGGER refusal BEFORE {write} ON {table} {body}"
        ));
        this
    }

    fn execute(&self, statement: &str) {
        let path = self.0.state.path().join(crate::ledger::FILE_NAME);
        rusqlite::Connection::open(path)
            .unwrap()
            .execute_batch(statement)
            .unwrap();
    }
}

impl Drop for FullDisk<'_> {
    fn drop(&mut self) {
        self.execute("DROP TRIGGER refusal");
    }
}

pub(super) async fn until_error(daemon: &Daemon, kind: &str) {
    let mut snapshots = daemon.handle.snapshots();
    let shown = snapshots.wait_for(|snapshot| {
        let errors = snapshot.keys.iter().filter_map(|key| key.error.as_ref());
        errors.map(|error| error.kind.as_str()).any(|shown| shown == kind)
    });
    let shown = tokio::time::timeout(Duration::from_secs(60), shown).await;
    shown.expect("the error is shown").unwrap();
}

#[test]
fn without_an_intent_on_the_disk_nothing_is_asked() {
    run(async {
        for generated_by in [GeneratedBy::Provider, GeneratedBy::Keyferry] {
            let world = World::with_keys(&[("web", generated_by)]);
            drop(Ledger::open(world.state.path()).unwrap());
            let refusal = FullDisk::of(&world, "INSERT");
            let daemon = world.start();
            until_error(&daemon, "ledger").await;
            assert_eq!(world.cloud.requests(), []);
            drop(refusal);
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            daemon.kill().await;
        }
    });
}

#[test]
fn a_pair_whose_outcome_the_disk_refused_is_found_again() {
    run(async {
        for generated_by in [GeneratedBy::Provider, GeneratedBy::Keyferry] {
            let world = World::with_keys(&[("web", generated_by)]);
            drop(Ledger::open(world.state.path()).unwrap());
            let refusal = FullDisk::of(&world, "UPDATE");
            let daemon = world.start();
            until_error(&daemon, "ledger").await;
            drop(refusal);
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            assert_eq!(creates(&world), 1);
            daemon.kill().await;
        }
    });
}

#[test]
fn nothing_is_begun_while_the_settings_are_not_understood() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        world.desired.settings_refused = true;
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(world.cloud.pairs(), []);
        let words = "keyferry.toml has an error";
        let status = daemon.status("web");
        assert_eq!(status.state, KeyState::Failed);
        assert!(status.error.unwrap().message.contains(words));
        let snapshot = daemon.handle.snapshots().borrow().clone();
        let account = snapshot.accounts[0].error.clone().unwrap();
        assert!(account.message.contains(words), "{account:?}");
        world.desired.settings_refused = false;
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        // What is loaded goes on.
        world.desired.settings_refused = true;
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        assert_eq!(daemon.status("web").state, KeyState::Loaded);
        daemon.kill().await;
    });
}

#[test]
fn a_request_that_is_under_way_is_told() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        let daemon = world.start();
        let mut snapshots = daemon.handle.snapshots();
        let is_asked = |snapshot: &Arc<Snapshot>| snapshot.keys.iter().any(|key| key.asked.is_some());
        let asked = tokio::time::timeout(Duration::from_secs(20), snapshots.wait_for(is_asked)).await;
        let asked = asked.unwrap().unwrap().keys[0].asked.clone().unwrap();
        assert_eq!(asked.account, "cloud");
        assert!(daemon.rest().await);
        assert_eq!(daemon.status("web").asked, None);
        daemon.kill().await;
    });
}

#[test]
fn a_key_that_stands_still_is_not_called_recovered() {
    run(async {
        let mut world = super::rotation::world_with(&["web-1"], |_| {});
        world.desired.daemon.recovery = Some(crate::desired::Recovery {
            public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
                .to_owned(),
            agent: Some("/run/other-agent".into()),
        });
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.held("web");
        assert!(daemon.rest().await);
        daemon.kill().await;
        let daemon = world.start();
        let recovered = daemon.handle.recover(Vec::new()).await.unwrap();
        let told: Vec<_> = recovered
            .iter()
            .map(|row| (row.host.as_str(), row.error.clone().map(|error| error.message)))
            .collect();
        assert_eq!(told, [("web-1", Some("key web is held".to_owned()))]);
        daemon.kill().await;
    });
}
