//! A ledger that is older than what was done with it: a snapshot that was rolled back, a backup that was put back.

use std::path::{Path, PathBuf};

use super::cloud::{Fault, HOME};
use super::*;

/// A world whose cloud can be listed, with two keys.
fn world() -> World {
    let mut world = World::with_keys(&[("db", GeneratedBy::Keyferry), ("web", GeneratedBy::Keyferry)]);
    let listed = account(|account| {
        account.plugin = "listing".to_owned();
        account.max_pairs = Some(16);
    });
    world.desired.accounts.insert("cloud".to_owned(), listed);
    world
}

fn ledger_files(directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let is_of_ledger = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("ledger.sqlite")
    };
    files.filter(is_of_ledger).collect()
}

fn back_up(world: &World) -> TempDir {
    let backup = tempfile::tempdir().unwrap();
    for file in ledger_files(world.state.path()) {
        std::fs::copy(&file, backup.path().join(file.file_name().unwrap())).unwrap();
    }
    backup
}

fn put_back(world: &World, backup: &TempDir) {
    for file in ledger_files(world.state.path()) {
        std::fs::remove_file(file).unwrap();
    }
    for file in ledger_files(backup.path()) {
        std::fs::copy(&file, world.state.path().join(file.file_name().unwrap())).unwrap();
    }
}

/// A life of the daemon in which every key gets its next generation.
async fn live(world: &World) {
    let daemon = world.start();
    assert!(daemon.rest().await);
    daemon.kill().await;
}

async fn refresh(daemon: &Daemon) {
    let reports = daemon.handle.survey(Vec::new()).await.unwrap();
    assert_eq!(reports[0].error, None);
    assert!(daemon.rest().await);
}

fn pairs_of(world: &World, key: &str) -> Vec<u64> {
    let pairs = world.cloud.our_pairs().into_iter();
    let numbers = pairs.filter(|name| name.starts_with(&format!("keyferry-{key}-")));
    let mut numbers: Vec<u64> = numbers
        .map(|name| name.rsplit('-').next().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Whether status says that the ledger is older, of which number, and the way out.
#[track_caller]
fn assert_is_told(daemon: &Daemon, key: &str, n: u64) {
    let error = daemon.status(key).error.expect("it is told");
    assert_eq!(error.kind, "blocked", "{error:?}");
    assert!(
        error.message.contains(&format!("-{n}")) && error.message.contains("older"),
        "{error:?}"
    );
    assert!(error.remedy.unwrap().contains(&format!("keyferry resume {key}")));
}

#[test]
fn a_later_number_at_the_provider_stops_that_key_and_no_other() {
    run(async {
        let mut world = world();
        live(&world).await;
        let backup = back_up(&world);
        // Only this key goes on.
        let db = world.desired.keys.remove("db").unwrap();
        let daemon = world.start();
        for _ in 0..2 {
            daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
            assert!(daemon.rest().await);
            daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
            assert!(daemon.rest().await);
        }
        daemon.kill().await;
        let latest = pairs_of(&world, "web").pop().unwrap();
        assert!(latest >= 3, "{latest}");
        put_back(&world, &backup);
        world.desired.keys.insert("db".to_owned(), db);

        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(daemon.status("web").error, None, "nobody looked yet");
        let used = daemon.status("web").generation.unwrap();
        assert!(used < latest);
        refresh(&daemon).await;
        assert_is_told(&daemon, "web", latest);
        assert_eq!(daemon.status("web").state, KeyState::Loaded);
        let before = world.cloud.pairs();

        // Nothing is begun for it, nothing goes: and it signs on.
        let refusal = daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap_err();
        assert!(refusal.to_string().contains("keyferry resume web"), "{refusal}");
        daemon
            .handle
            .retire("web".to_owned(), vec!["all".to_owned()])
            .await
            .unwrap();
        assert!(daemon.rest().await);
        refresh(&daemon).await;
        assert_eq!(world.cloud.pairs(), before);
        assert!(daemon.key_ring.loaded.lock().unwrap().contains_key("web"));
        // The others go on.
        assert_eq!(daemon.status("db").error, None);
        daemon.handle.resume(vec![]).await.unwrap();
        assert!(daemon.rest().await);
        assert_is_told(&daemon, "web", latest);
        daemon.kill().await;

        // It is remembered: nothing new is made either.
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(pairs_of(&world, "web"), [used, latest]);
        assert_eq!(pairs_of(&world, "db").len(), 1);
        assert_is_told(&daemon, "web", latest);
        assert_eq!(daemon.status("web").state, KeyState::Failed);

        // Until a person has seen to it. The numbers go on after the greatest.
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(pairs_of(&world, "web"), [latest, latest + 1]);
        assert_eq!(daemon.status("web").generation, Some(latest + 1));
        refresh(&daemon).await;
        assert_eq!(daemon.status("web").error, None);
        let reports = daemon.handle.survey(Vec::new()).await.unwrap();
        assert_eq!(reports[0].strays.len(), 1, "an orphan is left");
        daemon.kill().await;
    });
}

#[test]
fn what_this_ledger_asked_for_itself_is_no_sign() {
    run(async {
        for fault in [
            Fault::Late(90_000),
            Fault::LostAfter,
            Fault::Foreign,
            Fault::Garbage,
        ] {
            let world = world();
            world.cloud.expect([Some(fault), Some(fault)]);
            let daemon = world.start();
            assert!(daemon.rest().await);
            refresh(&daemon).await;
            world.clock.pass(100_000_000);
            refresh(&daemon).await;
            for key in ["db", "web"] {
                let error = daemon.status(key).error;
                assert!(
                    error
                        .as_ref()
                        .is_none_or(|error| !error.message.contains("older")),
                    "{fault:?}: {error:?}"
                );
            }
            daemon.kill().await;
        }
    });
}

#[test]
fn a_list_that_was_read_while_a_pair_was_being_made_is_no_sign() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.hold_answers(true);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        let survey = daemon.handle.survey(Vec::new());
        daemon.handle.refresh().await;
        let again = daemon.handle.resume(vec!["web".to_owned()]);
        let (_, _, ()) = tokio::join!(survey, again, async {
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            world.cloud.hold_answers(false);
        });
        assert!(daemon.rest().await);
        assert_eq!(daemon.status("web").error, None);
        daemon.kill().await;
    });
}

#[test]
fn pairs_of_others_and_of_other_keys_are_no_sign() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let name = world.cloud.our_pairs().pop().unwrap();
        let installation = name.rsplit('-').nth(1).unwrap();
        for planted in [
            "keyferry-web-aaaaaa-99".to_owned(),
            format!("keyferry-webby-{installation}-99"),
            format!("keyferry-we-{installation}-99"),
            format!("web-{installation}-99"),
            format!("keyferry-web-{installation}-99999999999999999999"),
        ] {
            world.cloud.plant(HOME, &planted);
        }
        refresh(&daemon).await;
        for key in ["db", "web"] {
            assert_eq!(daemon.status(key).error, None);
        }
        world
            .cloud
            .plant(HOME, &format!("keyferry-web-{installation}-99"));
        refresh(&daemon).await;
        assert_is_told(&daemon, "web", 99);
        assert_eq!(daemon.status("db").error, None);
        daemon.kill().await;
    });
}

#[test]
fn a_pair_of_a_key_that_was_called_alike_before_is_no_sign() {
    run(async {
        let mut world = world();
        let named = |name: &str| {
            key(name, GeneratedBy::Keyferry, |spec| {
                spec.pair_name = Some("team".to_owned());
            })
        };
        world.desired.keys.clear();
        world.desired.keys.insert("before".to_owned(), named("before"));
        for _ in 0..3 {
            live(&world).await;
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        let name = world.cloud.our_pairs().pop().unwrap();
        daemon
            .handle
            .retire("before".to_owned(), Vec::new())
            .await
            .unwrap();
        assert!(daemon.rest().await);
        assert_eq!(world.cloud.our_pairs(), [""; 0]);
        world.desired.keys.clear();
        world.desired.keys.insert("after".to_owned(), named("after"));
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        // As an import that arrives long after it was given up.
        world.cloud.plant(HOME, &name);
        refresh(&daemon).await;
        assert_eq!(daemon.status("after").error, None);
        daemon.kill().await;
    });
}
