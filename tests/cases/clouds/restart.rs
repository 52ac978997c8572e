//! After a restart the private halves are gone, by design: the next generation is made and the old pair deleted.

use std::fs;
use std::time::Duration;

use cloud_sim::{Fault, FaultKind, Refusal};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::ledger;
use keyferry_tests::openssh::{listed, wait_for_keys};

use crate::scene::{ALL, Scene, wait_for_state};

fn public_half(scene: &Scene, key: &str) -> String {
    let path = scene.home.path(&format!("state/public/{key}.pub"));
    fs::read_to_string(path).expect("the public half is on the disk")
}

/// Ends the daemon in one way or another; the next generation follows.
#[track_caller]
fn check_restart(end: impl FnOnce(&mut Daemon)) {
    let mut scene = Scene::new();
    scene.declare(&ALL);
    scene.assert_sound();
    let before: Vec<String> = ALL
        .iter()
        .map(|declared| public_half(&scene, declared.key))
        .collect();
    end(&mut scene.daemon);
    assert!(
        listed(&scene.home.agent_socket()).is_empty(),
        "nothing signs any more"
    );

    scene.daemon = Daemon::start(&scene.home);
    scene.assert_sound();
    for (declared, before) in ALL.iter().zip(before) {
        let key = scene.daemon.key(declared.key);
        assert_eq!(key["generation"], 2, "{key:#}");
        assert_eq!(ledger::states(&scene.home, declared.key), ["deleted", "live"]);
        let after = public_half(&scene, declared.key);
        assert_ne!(after, before, "the public half is replaced");
        assert_eq!(key["public_key"].as_str(), Some(after.trim()));
        assert!(
            after
                .trim()
                .ends_with(&ledger::pair_name(&scene.home, declared.key, 2))
        );
        assert!(listed(&scene.home.agent_socket()).contains(&after.trim().to_owned()));
    }
}

#[test]
fn after_a_stop_the_next_generation_is_made_and_the_old_pair_deleted() {
    check_restart(|daemon| assert_eq!(daemon.stop(), Some(0)));
}

#[test]
fn after_a_kill_the_next_generation_is_made_and_the_old_pair_deleted() {
    check_restart(Daemon::kill);
}

#[test]
fn a_key_whose_file_is_gone_serves_on_and_is_lost_at_a_restart() {
    let mut scene = Scene::new();
    scene.declare(&ALL);
    scene.assert_sound();
    for declared in &ALL {
        fs::remove_file(scene.home.config().join(format!("keys/{}.toml", declared.key)))
            .expect("a file can be removed");
    }
    // Others still declare something: the directory is not one that was emptied.
    scene
        .home
        .key("other", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
    wait_for_state(&scene.daemon, "other", "loaded");
    for declared in &ALL {
        let key = scene.daemon.key(declared.key);
        assert_eq!(key["state"], "loaded", "{key:#}");
        assert_eq!(key["error"]["kind"], "missing", "{key:#}");
    }
    wait_for_keys(&scene.home.agent_socket(), 5, Duration::from_secs(10));

    assert_eq!(scene.daemon.stop(), Some(0));
    scene.cloud.clear_requests();
    scene.daemon = Daemon::start(&scene.home);
    let (code, status) = scene.daemon.wait(60);
    assert_eq!(code, 1, "a lost key needs somebody: {status:#}");
    for declared in &ALL {
        let key = scene.daemon.key(declared.key);
        assert_eq!(key["state"], "lost", "{key:#}");
        assert_eq!(key["generation"], 1, "{key:#}");
        let message = key["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains(&format!("keys/{}.toml is missing", declared.key)),
            "{key:#}"
        );
        assert!(
            key["error"]["remedy"]
                .as_str()
                .is_some_and(|words| words.contains("put the file back"))
        );
        assert_eq!(ledger::states(&scene.home, declared.key), ["live"]);
    }
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);
    let touched: Vec<_> = scene
        .cloud
        .requests()
        .requests
        .into_iter()
        .filter(|request| !request.name.as_ref().is_some_and(|name| name.contains("-other-")))
        .collect();
    assert!(touched.is_empty(), "nothing is made or deleted: {touched:?}");

    // The file comes back.
    scene.declare(&ALL);
    scene.assert_sound();
    for declared in &ALL {
        assert_eq!(ledger::states(&scene.home, declared.key), ["deleted", "live"]);
    }
}

/// A key that was never made leaves nothing behind when its file goes: it is no longer a key, now and after a restart.
#[test]
fn a_key_that_was_never_made_ends_with_its_file() {
    let mut scene = Scene::new();
    scene.cloud.fault(Fault::new(FaultKind::Error {
        error: Refusal::new(403, "Forbidden.RAM", "User not authorized to operate."),
        after_commit: false,
    }));
    scene.declare(&ALL);
    for declared in &ALL {
        wait_for_state(&scene.daemon, declared.key, "failed");
    }
    scene.cloud.clear_faults();
    for declared in &ALL {
        fs::remove_file(scene.home.config().join(format!("keys/{}.toml", declared.key)))
            .expect("a file can be removed");
    }
    scene
        .home
        .key("other", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
    for _ in 0..2 {
        wait_for_state(&scene.daemon, "other", "loaded");
        let status = scene.daemon.status();
        let names: Vec<_> = status["keys"]
            .as_array()
            .expect("keys is a list")
            .iter()
            .map(|key| &key["name"])
            .collect();
        assert_eq!(names, ["other"], "{status:#}");
        scene.assert_sound();
        assert_eq!(scene.daemon.stop(), Some(0));
        scene.daemon = Daemon::start(&scene.home);
    }
}
