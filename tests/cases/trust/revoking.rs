//! Lines that other machines put on hosts.

use std::fs;

use keyferry_tests::fleet::{self, HostOptions, Shell};
use keyferry_tests::wait;

use crate::scene::{DEADLINE, LONG_GRACE, Scene, said};

/// A line that keyferry on another machine put there.
fn foreign(scene: &Scene, name: &str, owner: &str, machine: &str, key: &str) -> String {
    let path = scene.fleet.path(name);
    fleet::generate(&path, name);
    let public = fs::read_to_string(path.with_extension("pub")).expect("there is a public half");
    format!(
        "{} keyferry owner={owner} machine={machine} key={key} gen=3\n",
        fleet::public_key(&public)
    )
}

fn append(scene: &Scene, host: &str, line: &str) {
    let host = scene.fleet.host(host);
    let mut file = host.authorized_keys();
    file.extend_from_slice(line.as_bytes());
    host.set_authorized_keys(&file);
}

fn has(scene: &Scene, host: &str, line: &str) -> bool {
    let file = scene.fleet.host(host).authorized_keys();
    String::from_utf8_lossy(&file).contains(line.trim_end())
}

#[test]
fn a_machines_lines_go_from_every_host_also_from_one_that_is_down() {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Dash, Shell::Fish]);
    scene.deploy("web", LONG_GRACE);
    let old = foreign(&scene, "old", "li", "old-laptop-aaaaaa", "web");
    let other = foreign(&scene, "other", "li", "new-laptop-bbbbbb", "web");
    for host in ["web-1", "web-2", "web-3"] {
        append(&scene, host, &old);
        append(&scene, host, &other);
    }
    scene.fleet.host("web-3").stop();
    let revoke = ["revoke", "--machine", "old-laptop-aaaaaa", "--yes"];
    let output = scene.daemon.keyferry(&revoke);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for host in ["web-1", "web-2"] {
        assert!(
            !has(&scene, host, &old) && has(&scene, host, &other),
            "{}\n{}",
            said(&output),
            scene.daemon.log()
        );
        scene.assert_logs_in(host);
    }
    assert!(has(&scene, "web-3", &old));
    let status = scene.daemon.status();
    let revoked = status["revoked"].as_array().expect("a list").clone();
    assert!(
        revoked
            .iter()
            .any(|row| row["host"] == "web-3" && row["lines_of"] == "machine=old-laptop-aaaaaa"),
        "{revoked:#?}"
    );

    scene.fleet.host("web-3").start();
    wait::until("it is done when the host returns", 2 * DEADLINE, || {
        (!has(&scene, "web-3", &old)).then_some(())
    });
    assert!(has(&scene, "web-3", &other));
    wait::until("nothing is left to do", DEADLINE, || {
        let status = scene.daemon.status();
        status["revoked"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    });
    // Its own lines are no machine's to revoke here.
    let own = scene.fleet.host("web-1").keys();
    let own = own
        .iter()
        .find(|line| line.is_of("web") && line.comment.ends_with(" gen=1"))
        .expect("ours is there");
    let machine = own
        .comment
        .split(' ')
        .find_map(|word| word.strip_prefix("machine="))
        .expect("a marker")
        .to_owned();
    let output = scene.daemon.keyferry(&["revoke", "--machine", &machine, "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("is this machine"), "{}", said(&output));
}

#[test]
fn a_host_where_nobody_else_would_be_let_in_is_left() {
    // Logins that no file of keyferry's tells of.
    let elsewhere = "AuthorizedKeysFile .ssh/authorized_keys .ssh/admin_keys";
    let scene = Scene::new([
        HostOptions::new("web-1", Shell::Bash),
        HostOptions::new("db-1", Shell::Dash).with_sshd_config(elsewhere),
    ]);
    let host = scene.fleet.host("db-1");
    let admin = host.authorized_keys();
    let path = host.home(host.user()).join(".ssh/admin_keys");
    fs::write(&path, &admin).expect("a file can be written");
    let line = foreign(&scene, "colleague", "bob", "bobs-pc-cccccc", "db");
    host.set_authorized_keys(line.as_bytes());
    let revoke = ["revoke", "--owner", "bob", "--hosts", "db-1", "--yes"];
    let output = scene.daemon.keyferry(&revoke);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("--accept-loss db-1"),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert!(has(&scene, "db-1", &line));

    let output = scene
        .daemon
        .keyferry(&[&revoke[..], &["--accept-loss", "db-1"]].concat());
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert!(!has(&scene, "db-1", &line));
}
