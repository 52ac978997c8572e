//! `ssh-add -d` and `-D` hold managed keys: they neither list nor sign until `keyferry resume`.

use keyferry_tests::daemon::Daemon;
use keyferry_tests::ledger;
use keyferry_tests::openssh::listed;

use crate::scene::{QUICK, Scene, assert_done, own_key};

const CREATED: &str = "account = \"ens\"\ngenerated_by = \"provider\"\n";

#[track_caller]
fn assert_held(scene: &Scene, key: &str) {
    let shown = scene.wait_for_state(key, "held");
    assert!(shown["fingerprint"].is_string(), "{shown:#}");
    assert!(!scene.lists(key));
    scene.assert_refuses_to_sign(key);
}

#[test]
fn a_removed_key_is_held_until_it_is_resumed() {
    let scene = Scene::new(&[("web", QUICK), ("db", CREATED)]);
    for (key, other) in [("web", "db"), ("db", "web")] {
        assert_done(&scene.ssh_add(&["-d", &scene.public(key).display().to_string()]));
        assert_held(&scene, key);
        scene.assert_signs(other);
        let (code, status) = scene.daemon.wait(10);
        assert_eq!(code, 0, "a held key is nothing to wait for: {status:#}");

        let words = String::from_utf8_lossy(&scene.daemon.keyferry(&["status"]).stdout).into_owned();
        assert!(words.contains("keyferry resume brings them back"), "{words}");

        let refused = scene.daemon.keyferry(&["resume", "nobody"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("nobody"));
        assert_held(&scene, key);

        let output = scene.daemon.keyferry(&["resume", key]);
        assert_done(&output);
        assert!(String::from_utf8_lossy(&output.stdout).contains(key));
        let shown = scene.wait_for_state(key, "loaded");
        assert_eq!(shown["generation"], 1, "{shown:#}");
        assert!(scene.lists(key));
        scene.assert_signs(key);
    }
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);
}

#[test]
fn removing_all_holds_the_managed_and_wipes_the_hand_added() {
    let scene = Scene::new(&[("web", QUICK), ("db", CREATED)]);
    let own = own_key(scene.home.root(), "own");
    assert_done(&scene.ssh_add(&["-q", &own.display().to_string()]));
    assert_eq!(listed(&scene.socket()).len(), 3);

    assert_done(&scene.ssh_add(&["-D"]));
    assert_held(&scene, "web");
    assert_held(&scene, "db");
    assert!(listed(&scene.socket()).is_empty());

    assert_done(&scene.daemon.keyferry(&["resume"]));
    scene.wait_for_state("web", "loaded");
    scene.wait_for_state("db", "loaded");
    assert_eq!(
        listed(&scene.socket()).len(),
        2,
        "the hand-added one is gone for good"
    );
    scene.assert_signs("web");
    scene.assert_signs("db");
}

#[test]
fn a_hold_outlives_the_daemon() {
    let mut scene = Scene::new(&[("web", QUICK), ("db", CREATED), ("other", QUICK)]);
    for key in ["web", "db"] {
        assert_done(&scene.ssh_add(&["-d", &scene.public(key).display().to_string()]));
        scene.wait_for_state(key, "held");
    }
    assert_eq!(scene.daemon.stop(), Some(0));
    scene.cloud.clear_requests();
    scene.daemon = Daemon::start(&scene.home);
    let (code, status) = scene.daemon.wait(60);
    assert_eq!(code, 0, "{status:#}");
    for key in ["web", "db"] {
        assert_eq!(scene.daemon.key(key)["state"], "held");
        assert_eq!(ledger::states(&scene.home, key), ["live"]);
    }
    assert_eq!(scene.daemon.key("other")["generation"], 2);
    let requests = scene.cloud.requests().requests;
    let about_held = requests.iter().filter(|request| {
        let name = request.name.as_deref().unwrap_or_default();
        name.contains("-web-") || name.contains("-db-")
    });
    assert_eq!(about_held.count(), 0, "nothing is made or deleted for a held key");
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);

    assert_done(&scene.daemon.keyferry(&["resume"]));
    scene.daemon.wait_loaded(60);
    for key in ["web", "db"] {
        assert_eq!(scene.daemon.key(key)["generation"], 2);
        scene.assert_signs(key);
    }
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);
}
