//! Key files that vanish in the middle of a rotation, where the user wants keys retired whose files are removed.

use std::fs;
use std::path::Path;
use std::process::Command;

use keyferry_tests::fleet::Shell;
use serde_json::Value;

use crate::scene::{LONG_GRACE, Scene, key_file, lines};

/// Two hosts of which one is down: the rotation cannot end.
fn in_the_middle() -> Scene {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Dash]);
    // An ordinary folder of a user who keeps it in git.
    scene.home.write("keys/.gitkeep", "");
    scene.deploy("web", &tables());
    scene.leave_only_ours();
    scene.fleet.host("web-2").stop();
    scene.daemon.keyferry(&["rotate", "web"]);
    scene.wait_verified_on("web", 2, Some(&["web-1"]));
    scene
}

fn tables() -> String {
    format!("on_remove = \"retire\"\n{LONG_GRACE}")
}

/// What status says about a key's file that is gone.
#[track_caller]
fn assert_says(scene: &Scene, words: &str) {
    let key = scene.daemon.key("web");
    let message = key["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{key:#}");
}

/// Everything that stood there still does, and lets in.
#[track_caller]
fn assert_nothing_retired(scene: &Scene) {
    let (first, second) = (scene.public_key("web", 1), scene.public_key("web", 2));
    // What is planned now is what would be done.
    scene.daemon.status();
    scene.daemon.keyferry(&["status", "--wait=5"]);
    let keys = |name: &str| {
        let host = scene.fleet.host(name);
        let lines = lines(host, host.user(), "web").into_iter();
        lines.map(|line| line.public_key).collect::<Vec<_>>()
    };
    assert_eq!(keys("web-1"), [first.clone(), second.clone()]);
    assert_eq!(keys("web-2"), [first.as_str()]);
    let pairs = scene.pairs();
    for public_key in [&first, &second] {
        assert!(pairs.values().any(|pair| pair == public_key), "{pairs:#?}");
    }
    scene.assert_logs_in("web-1");
}

/// The host that was down comes back, and the rotation goes on with it.
#[track_caller]
fn assert_goes_on(scene: &Scene) {
    scene.fleet.host("web-2").start();
    scene.assert_logs_in("web-2");
    scene.daemon.keyferry(&["host", "retry", "web-2"]);
    scene.wait_verified("web", 2);
    scene.assert_logs_in("web-2");
}

#[test]
fn a_config_directory_that_vanishes_retires_nothing() {
    let scene = in_the_middle();
    let away = scene.home.path("away");
    fs::rename(scene.home.config(), &away).expect("a folder can be renamed");
    wait_for_file(&scene, "keys/web.toml", "missing");
    assert_nothing_retired(&scene);
    assert_says(
        &scene,
        "went with its folder, so the key is not retired by itself",
    );
    fs::rename(&away, scene.home.config()).expect("a folder can be renamed");
    wait_for_file(&scene, "keys/web.toml", "loaded");
    assert_nothing_retired(&scene);
    assert_goes_on(&scene);
}

#[test]
fn an_older_branch_of_the_config_directory_retires_nothing() {
    let scene = in_the_middle();
    let config = scene.home.config();
    let key = config.join("keys/web.toml");
    let now = fs::read_to_string(&key).expect("the key has a file");
    git(&config, &["init", "--quiet", "--initial-branch=now"]);
    git(&config, &["add", "--all"]);
    git(&config, &["commit", "--quiet", "--message=now"]);
    git(&config, &["checkout", "--quiet", "-b", "older"]);
    // Before the second host was there.
    fs::write(&key, key_file(&["web-1"], &tables())).expect("a file can be written");
    git(&config, &["commit", "--quiet", "--all", "--message=older"]);
    git(&config, &["checkout", "--quiet", "-b", "oldest"]);
    git(&config, &["rm", "--quiet", "keys/web.toml"]);
    git(&config, &["commit", "--quiet", "--message=oldest"]);
    wait_for_file(&scene, "keys/web.toml", "missing");
    assert_nothing_retired(&scene);
    assert_says(
        &scene,
        "git shows another branch since, which may not have it: the key is not retired by itself",
    );
    git(&config, &["checkout", "--quiet", "older"]);
    wait_for_file(&scene, "keys/web.toml", "loaded");
    assert_nothing_retired(&scene);
    assert!(
        scene.daemon.key("web")["error"].is_null(),
        "{:#}",
        scene.daemon.key("web")
    );
    let shown = scene.host_status("web", "web-2");
    assert_eq!(shown["listed"], false, "{shown:#}");
    git(&config, &["checkout", "--quiet", "now"]);
    assert_eq!(fs::read_to_string(&key).expect("the key has a file"), now);
    scene.wait_for_key("web", "listing both hosts", |key| {
        let hosts = key["hosts"].as_array();
        hosts.is_some_and(|hosts| hosts.len() == 2 && hosts.iter().all(|host| host["listed"] == true))
    });
    assert_nothing_retired(&scene);
    assert_goes_on(&scene);
}

#[test]
fn a_key_file_that_is_renamed_retires_nothing() {
    let scene = in_the_middle();
    let keys = scene.home.config().join("keys");
    let rename = |from: &str, to: &str| {
        fs::rename(keys.join(from), keys.join(to)).expect("a file can be renamed");
    };
    rename("web.toml", "renamed.toml");
    wait_for_file(&scene, "keys/web.toml", "missing");
    // It is a key of its own now, which comes to the host over what lets it in there: the admin key is gone.
    scene.wait_for_key("renamed", "there", |_| true);
    assert_nothing_retired(&scene);
    assert_says(&scene, "seems to be keys/renamed.toml now");
    rename("renamed.toml", "web.toml");
    wait_for_file(&scene, "keys/web.toml", "loaded");
    assert_nothing_retired(&scene);
    assert_goes_on(&scene);
}

/// Waits until a file of the config directory fares so.
#[track_caller]
fn wait_for_file(scene: &Scene, below: &str, state: &str) {
    let path = scene.home.config().join(below).display().to_string();
    keyferry_tests::wait::until(
        &format!("{below} is {state}"),
        std::time::Duration::from_secs(20),
        || {
            let status = scene.daemon.status();
            let files = status["files"].as_array().into_iter().flatten();
            let mut found = files.filter(|file: &&Value| {
                file["path"]
                    .as_str()
                    .is_some_and(|shown| shown.ends_with(below) || shown == path)
            });
            found.any(|file| file["state"] == state).then_some(())
        },
    );
}

#[track_caller]
fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .current_dir(folder)
        .args([
            "-c",
            "user.name=Li",
            "-c",
            "user.email=li@example.com",
            "-c",
            "safe.directory=*",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git can be started (Debian: git)");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
}
