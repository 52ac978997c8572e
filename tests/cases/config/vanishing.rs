//! What vanishes takes nothing away.

use std::fs;

use crate::scene::{KEY, Scene};

#[test]
fn a_key_file_that_vanishes_keeps_serving_and_may_come_back() {
    let scene = Scene::with_keys(&["first", "second"]);
    let (first, second) = (scene.public_key("first"), scene.public_key("second"));
    let changes = scene.changes_at_the_cloud();
    let path = scene.home.config().join("keys/first.toml");
    fs::remove_file(&path).expect("a file can be removed");
    let report = scene.reports("keys/first.toml", "missing");
    let message = report["message"].as_str().expect("a message");
    assert!(
        message.contains("until the daemon ends") && message.contains("put it back"),
        "{message}"
    );
    scene.serves("first", &first);
    scene.serves("second", &second);

    scene.home.key("first", KEY);
    let report = scene.reports("keys/first.toml", "loaded");
    assert!(report["message"].is_null(), "{report:#}");
    scene.serves("first", &first);
    assert_eq!(scene.daemon.key("first")["generation"], 1);
    assert_eq!(
        scene.changes_at_the_cloud(),
        changes,
        "nothing is made anew or deleted"
    );
}

#[test]
fn a_config_directory_that_vanishes_or_empties_removes_nothing() {
    let scene = Scene::with_keys(&["first", "second"]);
    let (first, second) = (scene.public_key("first"), scene.public_key("second"));
    let changes = scene.changes_at_the_cloud();
    let both_serve = || {
        scene.serves("first", &first);
        scene.serves("second", &second);
        assert_eq!(
            scene.changes_at_the_cloud(),
            changes,
            "nothing is made anew or deleted"
        );
    };

    // Unmounted.
    let away = scene.home.path("away");
    fs::rename(scene.home.config(), &away).expect("a folder can be renamed");
    let report = scene.reports("", "missing");
    assert!(
        report["message"].to_string().contains("stays in force"),
        "{report:#}"
    );
    scene.reports("keys/first.toml", "missing");
    both_serve();
    // Asked outright, too.
    let (code, _) = scene.daemon.wait(20);
    assert_eq!(code, 0, "all keys are loaded");
    both_serve();

    // An empty mount point.
    fs::create_dir(scene.home.config()).expect("a folder can be made");
    scene.reports("accounts/ecs.toml", "missing");
    both_serve();
    fs::remove_dir(scene.home.config()).expect("a folder can be removed");

    // Back again.
    fs::rename(&away, scene.home.config()).expect("a folder can be renamed");
    for file in ["accounts/ecs.toml", "keys/first.toml", "keys/second.toml"] {
        scene.reports(file, "loaded");
    }
    both_serve();

    // Emptied file by file, folders last, as `git checkout` of another branch does.
    for file in ["accounts/ecs.toml", "keys/first.toml", "keys/second.toml"] {
        fs::remove_file(scene.home.config().join(file)).expect("a file can be removed");
    }
    for folder in ["accounts", "keys"] {
        fs::remove_dir(scene.home.config().join(folder)).expect("a folder can be removed");
    }
    for file in ["accounts/ecs.toml", "keys/first.toml", "keys/second.toml"] {
        scene.reports(file, "missing");
    }
    both_serve();
}

#[test]
fn a_vanished_account_still_serves_new_keys() {
    let scene = Scene::with_keys(&["first"]);
    fs::remove_file(scene.home.config().join("accounts/ecs.toml")).expect("a file can be removed");
    let report = scene.reports("accounts/ecs.toml", "missing");
    assert!(
        report["message"].to_string().contains("stays in force"),
        "{report:#}"
    );
    scene.home.key("second", KEY);
    scene.loads("second");
}
