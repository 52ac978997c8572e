//! The recovery identity, when a person asks for it or names another one.

use std::fs;
use std::path::Path;

use keyferry_tests::daemon::Options;
use keyferry_tests::fleet::{self, Fleet, Shell};
use keyferry_tests::wait;

use crate::scene::{DEADLINE, LONG_GRACE, Scene, said, ssh_command};
use keyferry_tests::other_agent::OtherAgent;

/// Makes a key, with an agent that has it; the public half.
fn identity(fleet: &Fleet, name: &str) -> (OtherAgent, String) {
    let key = fleet.path(name);
    fleet::generate(&key, name);
    let agent = OtherAgent::start(fleet.path(&format!("{name}.sock")), &key);
    let public = fs::read_to_string(key.with_extension("pub")).expect("there is a public half");
    (agent, fleet::public_key(&public).to_owned())
}

fn settings(fleet: &Fleet, name: &str, agent: &Path) -> String {
    format!(
        "{}[recovery]\nidentity = \"{}\"\nagent = \"{}\"\n",
        ssh_command(fleet),
        fleet.path(name).with_extension("pub").display(),
        agent.display()
    )
}

fn has(scene: &Scene, public_key: &str) -> bool {
    let host = scene.fleet.host("web-1");
    host.keys().iter().any(|line| line.public_key == public_key)
}

#[test]
fn a_person_has_it_tried_and_names_another_one() {
    let fleet = Fleet::of_shells(&[Shell::Bash]);
    let (first, first_key) = identity(&fleet, "first");
    let (second, second_key) = identity(&fleet, "second");
    let scene = Scene::of(fleet, &Options::default());
    scene
        .home
        .write("keyferry.toml", &settings(&scene.fleet, "first", first.socket()));
    scene.deploy("web", LONG_GRACE);
    let output = scene.daemon.keyferry(&["recover", "--all"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert!(said(&output).contains("logged in at"), "{}", said(&output));
    assert!(has(&scene, &first_key));

    // Its agent is gone: asking says so, and takes nothing away.
    drop(first);
    let output = scene.daemon.keyferry(&["recover", "web-1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(has(&scene, &first_key));
    scene.assert_logs_in("web-1");

    // The old one goes when the new one was seen to log in, and not before.
    scene.home.write(
        "keyferry.toml",
        &settings(&scene.fleet, "second", second.socket()),
    );
    scene.daemon.status();
    let output = scene.daemon.keyferry(&["recover", "--all"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert!(has(&scene, &second_key));
    wait::until("the old identity is taken off", DEADLINE, || {
        (!has(&scene, &first_key)).then_some(())
    });
    scene.assert_logs_in("web-1");

    // Named no more: it stays until the user says so.
    scene.home.write("keyferry.toml", &ssh_command(&scene.fleet));
    wait::until("status says why it stays", DEADLINE, || {
        let status = scene.daemon.status();
        let lines = status["trusted"].as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .any(|line| line["error"]["kind"] == "last_way_in")
            .then_some(())
    });
    let named = fleet::fingerprint(&second_key);
    let output = scene.daemon.keyferry(&["revoke", "--grant", &named, "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(has(&scene, &second_key));
    let output = scene
        .daemon
        .keyferry(&["revoke", "--grant", &named, "--yes", "--accept-loss", "web-1"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert!(!has(&scene, &second_key));
    scene.assert_logs_in("web-1");
}

#[test]
fn a_key_that_is_retired_takes_those_with_it_that_it_let_in() {
    let fleet = Fleet::of_shells(&[Shell::Dash]);
    let (agent, recovery) = identity(&fleet, "recovery");
    let (_, friend) = identity(&fleet, "friend");
    let scene = Scene::of(fleet, &Options::default());
    scene.home.write(
        "keyferry.toml",
        &settings(&scene.fleet, "recovery", agent.socket()),
    );
    scene.deploy("web", LONG_GRACE);
    let output = scene.daemon.keyferry(&["recover", "--all"]);
    assert!(output.status.success(), "{}", said(&output));
    let file = scene.fleet.path("friend.pub").display().to_string();
    let output = scene
        .daemon
        .keyferry(&["grant", &file, "--key", "web", "--for", "1d"]);
    assert!(output.status.success(), "{}", said(&output));
    // Some of its hosts are not what that means.
    let output = scene
        .daemon
        .keyferry(&["revoke", "web", "--hosts", "web-1", "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("leave --hosts out"), "{}", said(&output));
    assert_ne!(scene.daemon.status()["keys"][0]["rotation"]["retiring"], true);
    let output = scene.daemon.keyferry(&["revoke", "web", "--yes"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    // It speaks when that is done.
    let lines = scene.fleet.host("web-1").keys();
    assert!(
        !lines.iter().any(|line| line.comment.contains(" gen=")),
        "{}",
        said(&output)
    );
    wait::until(
        "nothing of the key is left but the way back",
        2 * DEADLINE,
        || {
            let lines = scene.fleet.host("web-1").keys();
            let ours: Vec<_> = lines
                .iter()
                .filter(|line| line.comment.starts_with("keyferry "))
                .collect();
            (ours.len() == 1 && ours[0].public_key == recovery).then_some(())
        },
    );
    assert!(!has(&scene, &friend));
    wait::until("its pair is deleted", DEADLINE, || {
        scene.pairs().is_empty().then_some(())
    });
}
