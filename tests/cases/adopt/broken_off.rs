//! A run that was broken off has left the key in the agent for a while: the next one takes it for what it is.

use std::path::Path;
use std::process::{Command, Output};

use keyferry_tests::build::built;
use keyferry_tests::fleet::{Shell, fingerprint};
use keyferry_tests::openssh::listed;
use keyferry_tests::terminal::Terminal;

use super::{Scene, assert_says, public_half, public_line, said};

/// Starts to adopt a key at a terminal, and gives up (`^C`) when asked whether to.
fn broken_off(scene: &Scene, private: &Path) {
    let mut terminal = Terminal::start(&format!(
        // Whoever runs the tests in the background may have them ignore signals, and so would the command.
        "env --default-signal=INT SSH_ASKPASS_REQUIRE=force SSH_ASKPASS={} {} adopt {} --account ecs --hosts web-1 \
         --key web --runtime {}",
        scene.askpass().display(),
        built().keyferry().display(),
        private.display(),
        scene.home.path("run").display(),
    ));
    terminal.answer("write this file", "\u{3}");
    terminal.end();
    assert!(!scene.key_file("web").exists());
    assert!(scene.agent_has(private), "nobody had the time to take it away");
}

fn adopted(scene: &Scene, private: &Path) -> Output {
    Command::new(built().keyferry())
        .args(["adopt", "--yes", "--account", "ecs", "--hosts", "web-1"])
        .args(["--key", "web", "--runtime"])
        .arg(scene.home.path("run"))
        .arg(private)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("SSH_ASKPASS", scene.askpass())
        .output()
        .expect("keyferry can be started")
}

/// Whether the agent has a key until it is taken out, as it was added last.
fn stays(scene: &Scene, private: &Path) -> bool {
    let named = fingerprint(&public_line(private));
    let log = scene.daemon.log();
    let mut added = log.lines().rev();
    let last = added
        .find(|line| line.contains("added by a client") && line.contains(&named))
        .unwrap_or_else(|| panic!("{named} was never added: {log}"));
    scene.agent_has(private) && last.contains("lifetime=None")
}

#[test]
fn the_key_stays_for_good_although_a_run_before_was_broken_off() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.old_key("web.pem", &["web-1"]);
    broken_off(&scene, &old);
    assert!(!stays(&scene, &old), "{}", scene.daemon.log());
    let output = adopted(&scene, &old);
    assert!(output.status.success(), "{}", said(&output));
    assert!(stays(&scene, &old), "{}", scene.daemon.log());
}

#[test]
fn an_encrypted_key_stays_for_good_too() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.encrypted_key("web.pem", &["web-1"]);
    broken_off(&scene, &old);
    let output = adopted(&scene, &old);
    assert!(output.status.success(), "{}", said(&output));
    assert!(stays(&scene, &old), "{}", scene.daemon.log());
}

/// Only a public half beside it tells which key an encrypted PEM file holds.
#[test]
fn an_encrypted_key_that_was_there_before_is_not_shortened() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.encrypted_key("web.pem", &["web-1"]);
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(&old)
        .env("SSH_AUTH_SOCK", scene.home.agent_socket())
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("SSH_ASKPASS", scene.askpass())
        .status()
        .expect("ssh-add can be started (Debian: openssh-client)");
    assert!(added.success());
    let aside = scene.home.path("aside.pub");
    std::fs::rename(public_half(&old), &aside).expect("a file can be renamed");
    let output = adopted(&scene, &old);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::rename(&aside, public_half(&old)).expect("a file can be renamed");
    assert!(stays(&scene, &old), "{}", scene.daemon.log());
}

/// What was not adopted is taken out of the agent, unless somebody else had put it there.
#[test]
fn what_is_said_of_a_key_that_is_not_adopted_is_true() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.old_key("web.pem", &["web-1"]);
    broken_off(&scene, &old);
    scene.fleet.host("web-1").set_authorized_keys(b"");
    let output = adopted(&scene, &old);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(&output, &["nothing was written", "not in the agent any more"]);
    assert!(!scene.agent_has(&old));

    let added = Command::new("ssh-add")
        .args(["-q", "-t", "300"])
        .arg(&old)
        .env("SSH_AUTH_SOCK", scene.home.agent_socket())
        .status()
        .expect("ssh-add can be started (Debian: openssh-client)");
    assert!(added.success());
    let before = listed(&scene.home.agent_socket());
    let output = adopted(&scene, &old);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(&output, &["nothing was written", "was in the agent before"]);
    assert!(!said(&output).contains("any more"), "{}", said(&output));
    assert_eq!(listed(&scene.home.agent_socket()), before);
}
