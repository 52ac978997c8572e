//! The agent is locked while something is to be done at hosts: that is said, and taken for no host's fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use keyferry_tests::build::built;
use keyferry_tests::fleet::Shell;

use crate::scene::{NO_GRACE, Scene, host_states, said};

const LOCKED: &str = "the agent is locked: ssh-add -X";

/// `ssh-add -x` or `-X`, with a passphrase that a program answers.
fn turn_lock(scene: &Scene, flag: &str) {
    let askpass = scene.home.path("askpass");
    fs::write(&askpass, "#!/bin/sh\necho sesame\n").expect("a file can be written");
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o755)).expect("modes can be set");
    let output = Command::new("ssh-add")
        .arg(flag)
        .env("SSH_AUTH_SOCK", scene.home.agent_socket())
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("DISPLAY", ":0")
        .stdin(Stdio::null())
        .output()
        .expect("ssh-add can be started (Debian: openssh-client)");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_rotation_stands_still_while_the_agent_is_locked_and_then_goes_on() {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Dash]);
    scene.deploy("web", NO_GRACE);
    scene.leave_only_ours();
    turn_lock(&scene, "-x");

    let rotated = scene.daemon.keyferry(&["rotate", "web", "--wait=45"]);
    assert_eq!(rotated.status.code(), Some(1), "{}", said(&rotated));
    assert!(said(&rotated).contains(LOCKED), "{}", said(&rotated));
    for command in [["status"].as_slice(), &["host", "list"]] {
        let output = scene.daemon.keyferry(command);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains(LOCKED), "{}", said(&output));
    }
    let web = scene.wait_for_key("web", "as before", |key| key["rotation"]["staged"] == 2);
    for (host, (state, generation)) in host_states(&web) {
        assert_eq!((state.as_str(), generation), ("pending", Some(1)), "{host}");
    }

    turn_lock(&scene, "-X");
    scene.wait_verified("web", 2);
    scene.wait_for_only_everywhere("web", 2);
}

#[test]
fn a_command_is_told_that_the_agent_is_locked() {
    let scene = Scene::of_shells(&[Shell::Bash]);
    scene.deploy("web", NO_GRACE);
    scene.leave_only_ours();
    turn_lock(&scene, "-x");
    let output = Command::new(built().keyferry())
        .args(["exec", "--runtime"])
        .arg(scene.home.path("run"))
        .args(["--key", "web", "--wait=45", "--", "true"])
        .output()
        .expect("keyferry can be started");
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(LOCKED), "{}", said(&output));
    turn_lock(&scene, "-X");
    scene.wait_for_only_everywhere("web", 1);
}
