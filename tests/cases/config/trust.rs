//! Files that cannot be read, and files that others could change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::Path;
use std::process::Command;

use cloud_sim::Service;
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;

use crate::scene::{KEY, Scene};

/// An ordinary user: here everything runs as root, whom no mode stops.
const NOBODY: u32 = 65534;

#[test]
fn unreadable_files_and_folders_are_named_and_stay_as_they_were() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("first", KEY);
    home.key("second", KEY);
    give_away(home.root());
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned);
    let options = Options {
        wrapper: as_nobody.to_vec(),
        ..Options::default()
    };
    let daemon = Daemon::start_with(&home, &options);
    daemon.wait_loaded(60);
    let scene = Scene { daemon, home, cloud };
    let public_key = scene.public_key("first");
    let opens = |path: &Path| {
        let tried = Command::new(&as_nobody[0])
            .args(&as_nobody[1..])
            .arg("ls")
            .arg(path)
            .output()
            .expect("setpriv can be started (Debian: util-linux)");
        let read = Command::new(&as_nobody[0])
            .args(&as_nobody[1..])
            .arg("cat")
            .arg(path)
            .output()
            .expect("setpriv can be started");
        tried.status.success() && (path.is_dir() || read.status.success())
    };

    for (below, report) in [
        ("keys/first.toml", "keys/first.toml"),
        ("keys", "keys"),
        ("accounts", "accounts"),
        ("", ""),
    ] {
        let path = scene.path(below);
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert!(opens(&path), "{}", path.display());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("modes can be set");
        assert!(
            !opens(&path),
            "the plain system call succeeds for {}",
            path.display()
        );
        let found = scene.reports(report, "kept");
        let message = found["message"].as_str().expect("a message");
        assert!(message.contains("cannot be read: Permission denied"), "{message}");
        assert!(message.contains("chmod u+r"), "{message}");
        scene.serves("first", &public_key);
        if path.is_file() {
            // What is beside it is read.
            scene.home.key("beside-unreadable", KEY);
            scene.loads("beside-unreadable");
        }

        fs::set_permissions(&path, mode).expect("modes can be set");
        for file in ["keys/first.toml", "accounts/ecs.toml"] {
            scene.reports(file, "loaded");
        }
    }
    // A new file that cannot be read, beside others that can.
    let path = scene.home.config().join("keys/third.toml");
    fs::write(&path, KEY).expect("a file can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("modes can be set");
    assert!(!opens(&path), "root's private file is readable");
    let found = scene.reports("keys/third.toml", "refused");
    assert!(
        found["message"].to_string().contains("cannot be read"),
        "{found:#}"
    );
    scene.home.key("fourth", KEY);
    scene.loads("fourth");
    chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may change owners");
    scene.loads("third");
}

#[test]
fn what_others_could_change_is_refused_with_the_command_that_mends_it() {
    let scene = Scene::with_keys(&["first", "second"]);
    let public_key = scene.public_key("first");
    let set = |below: &str, mode: u32| {
        fs::set_permissions(scene.path(below), fs::Permissions::from_mode(mode)).expect("modes can be set");
    };
    for (below, mode) in [
        ("keys/first.toml", 0o666),
        ("keys", 0o777),
        ("accounts/ecs.toml", 0o646),
        ("", 0o777),
    ] {
        let before = fs::metadata(scene.path(below))
            .expect("it is there")
            .permissions()
            .mode();
        set(below, mode);
        let found = scene.reports(below, "kept");
        let message = found["message"].as_str().expect("a message");
        assert!(message.contains("others may change it (chmod go-w "), "{message}");
        assert!(
            message.contains(
                &scene
                    .path(below)
                    .display()
                    .to_string()
                    .trim_end_matches('/')
                    .to_owned()
            ),
            "{message}"
        );
        scene.serves("first", &public_key);
        let checked = scene.check(&[]);
        assert_eq!(checked.status.code(), Some(1), "{}", crate::scene::said(&checked));
        if scene.path(below).is_file() {
            // What is beside it is read; of the account, the last good version.
            let name = format!("beside-{}", below.replace(['/', '.'], "-"));
            scene.home.key(&name, KEY);
            scene.loads(&name);
        }
        set(below, before);
        for file in ["keys/first.toml", "accounts/ecs.toml"] {
            scene.reports(file, "loaded");
        }
    }

    // Another user's file, and one that was wrong from the beginning.
    let stranger = scene.path("keys/stranger.toml");
    fs::write(&stranger, KEY).expect("a file can be written");
    chown(&stranger, Some(NOBODY), None).expect("root may change owners");
    let found = scene.reports("keys/stranger.toml", "refused");
    assert!(
        found["message"].to_string().contains("belongs to uid 65534"),
        "{found:#}"
    );
    scene.home.key("native", KEY);
    scene.loads("native");
    chown(&stranger, Some(0), None).expect("root may change owners");
    scene.loads("stranger");
}

fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).expect("root may change owners");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder can be listed") {
            give_away(&entry.expect("a folder can be listed").path());
        }
    }
}
