//! What failed before anything was sent is tried again when its cause is gone.

use super::cloud::Fault;
use super::*;

#[track_caller]
fn check_failed(daemon: &Daemon, kind: &str, remedy: &str) {
    let status = daemon.status("web");
    assert_eq!(status.state, KeyState::Failed);
    let error = status.error.unwrap();
    assert_eq!((error.kind.as_str(), error.retry_at), (kind, None));
    let shown = error.remedy.unwrap();
    assert!(
        shown.contains(remedy) && shown.contains("keyferry resume"),
        "{shown}"
    );
}

fn generations(world: &World) -> usize {
    world.history().generations.len()
}

#[test]
fn other_network_settings_are_tried_at_once_and_other_files_are_not() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        world.desired.daemon.network.ca_file = Some("/nowhere.pem".into());
        world.cloud.always(Some(Fault::Setup(SetupKind::Settings)));
        let daemon = world.start();
        assert!(daemon.rest().await);
        check_failed(&daemon, "settings", "correct what the message names");
        let tries = generations(&world);

        world.desired.daemon.max_concurrent = Some(3);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        check_failed(&daemon, "settings", "correct what the message names");
        assert_eq!(generations(&world), tries);

        world.cloud.always(None);
        world.desired.daemon.network.ca_file = None;
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(daemon.handle.snapshots().borrow().accounts[0].error, None);
    });
}

#[test]
fn a_plugin_that_is_there_again_is_tried_when_the_files_are_read_or_somebody_asks() {
    run(async {
        // Missed before the request is begun, and by the request.
        for answers in [0, 1] {
            for asks in [false, true] {
                let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
                world.plugins.answers.store(answers, Ordering::Relaxed);
                world.cloud.always(Some(Fault::Setup(SetupKind::Plugin)));
                let daemon = world.start();
                assert!(daemon.rest().await);
                check_failed(&daemon, "plugin", "install or pin");
                let tries = generations(&world);
                assert_eq!(tries, usize::try_from(answers).unwrap());

                world.desired.daemon.max_concurrent = Some(3);
                daemon.read_again(&world.desired);
                assert!(daemon.rest().await);
                assert_eq!(generations(&world), tries, "it is still missing");

                world.cloud.always(None);
                world.plugins.answers.store(u64::MAX, Ordering::Relaxed);
                if asks {
                    daemon.handle.resume(Vec::new()).await.unwrap();
                    let mut snapshots = daemon.handle.snapshots();
                    let loaded = snapshots.wait_for(|snapshot| snapshot.keys[0].state == KeyState::Loaded);
                    let loaded = tokio::time::timeout(Duration::from_secs(60), loaded).await;
                    loaded.expect("asking is enough").unwrap();
                } else {
                    world.desired.daemon.max_concurrent = None;
                    daemon.read_again(&world.desired);
                }
                assert!(daemon.rest().await);
                world.assert_converged(&daemon);
                daemon.kill().await;
            }
        }
    });
}

/// A key on a host, with an account whose plugin can say which instances name a pair.
fn named() -> World {
    let mut world = super::rotation::world_with(&["web-1"], |_| {});
    let naming = account(|account| account.plugin = "naming".to_owned());
    world.desired.accounts.insert("cloud".to_owned(), naming);
    world
}

/// After a rotation the earlier pair waits for an instance that names it.
async fn rotated(world: &World, daemon: &Daemon) -> String {
    let first = world.cloud.our_pairs().remove(0);
    world.cloud.launch(&first, &["i-1"]);
    daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
    let waits = |status: &KeyStatus| {
        let rotation = status.rotation.as_ref();
        let is_second = rotation.is_some_and(|rotation| rotation.active == Some(2));
        is_second
            && rotation
                .and_then(|rotation| rotation.waiting.as_deref())
                .is_some()
    };
    daemon.until("an instance is waited for", waits).await;
    first
}

#[test]
fn instances_are_asked_for_once_a_plugin_is_there_after_all() {
    run(async {
        let world = named();
        world.plugins.answers.store(0, Ordering::Relaxed);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.plugins.answers.store(u64::MAX, Ordering::Relaxed);
        assert!(daemon.rest().await);
        let first = rotated(&world, &daemon).await;
        assert!(world.cloud.our_pairs().contains(&first));
        daemon.kill().await;
    });
}

#[test]
fn a_manifest_that_cannot_be_read_for_a_while_takes_no_pair_from_its_instances() {
    run(async {
        let mut world = named();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let first = rotated(&world, &daemon).await;
        world.plugins.answers.store(0, Ordering::Relaxed);
        world.desired.daemon.max_concurrent = Some(3);
        daemon.read_again(&world.desired);
        for _ in 0..10 {
            daemon.handle.refresh().await;
            world.clock.pass(3_600_000);
        }
        assert!(world.cloud.our_pairs().contains(&first));
        daemon.kill().await;
    });
}
