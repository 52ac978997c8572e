//! Commands that wait for a rotation.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use keyferry_tests::build::built;
use keyferry_tests::fleet::Shell;
use keyferry_tests::{ledger, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::scene::{DEADLINE, NO_GRACE, Scene, said};

/// `keyferry rotate web --wait --json`, as a person or a script started it.
fn rotate(scene: &Scene) -> Child {
    Command::new("env")
        // Whoever runs the tests in the background may have them ignore signals, and so would the command.
        .arg("--default-signal=INT")
        .arg(built().keyferry())
        .args(["rotate", "web", "--wait", "--json", "--runtime"])
        .arg(scene.home.path("run"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keyferry can be started")
}

#[test]
fn who_is_interrupted_leaves_a_rotation_that_the_next_one_joins() {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Dash]);
    scene.deploy("web", NO_GRACE);
    scene.leave_only_ours();
    let hanging = scene.fleet.host("web-2");
    hanging.pause();
    let mut interrupted = rotate(&scene);
    scene.wait_verified_on("web", 2, Some(&["web-1"]));
    let ended = interrupted.try_wait().expect("a child can be waited for");
    assert_eq!(ended, None, "it waits for the host that hangs");

    // ^C
    let pid = i32::try_from(interrupted.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process has a number"), Signal::INT).expect("it runs");
    let output = interrupted.wait_with_output().expect("a child can be waited for");
    assert_eq!(output.status.signal(), Some(2), "{}", said(&output));
    assert_eq!(output.stdout, b"", "nothing is told as if it were through");

    // The rotation is the daemon's.
    let asked = scene.daemon.keyferry(&["rotate", "web"]);
    assert!(
        said(&asked).contains("a rotation is under way"),
        "{}",
        said(&asked)
    );
    let mut joined = rotate(&scene);
    wait::until("the next one asks for what web-2 shows", DEADLINE, || {
        let ended = joined.try_wait().expect("a child can be waited for");
        assert_eq!(ended, None, "it waits too");
        let shown = scene.host_status("web", "web-2");
        assert_ne!(shown["generation"], 2, "{shown:#}");
        is_connected(&joined).then_some(())
    });
    hanging.resume();
    let output = joined.wait_with_output().expect("a child can be waited for");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(told["keys"][0]["rotation"]["active"], 2, "{told:#}");

    // It was the same rotation, and there is no other after it.
    scene.wait_for_only_everywhere("web", 2);
    let numbers: Vec<u64> = ledger::generations(&scene.home).iter().map(|row| row.n).collect();
    assert_eq!(numbers, [1, 2]);
    scene.assert_logs_in("web-2");
}

/// Whether a command holds a connection, as to the daemon: it has asked.
fn is_connected(command: &Child) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", command.id())).expect("it runs");
    let mut targets = descriptors
        .flatten()
        .filter_map(|entry| entry.path().read_link().ok());
    targets.any(|target| target.to_string_lossy().starts_with("socket:"))
}
