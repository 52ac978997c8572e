//! Who may connect: the user alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyferry_tests::daemon::Options;
use keyferry_tests::openssh::listed;

use crate::scene::{QUICK, Scene};

/// `ssh-add -L` as another user.
fn listed_by_nobody(socket: &Path) -> Output {
    Command::new("ssh-add")
        .arg("-L")
        .env("SSH_AUTH_SOCK", socket)
        .stdin(Stdio::null())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("ssh-add can be started as another user: this case runs as root")
}

#[test]
fn the_sockets_are_the_users_alone() {
    let scene = Scene::new(&[("web", QUICK)]);
    for name in ["run/agent.sock", "run/control.sock"] {
        let mode = fs::metadata(scene.home.path(name))
            .expect("the socket is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn another_user_is_refused_even_where_the_modes_let_in() {
    // In a folder for all, so that it is the socket itself that refuses.
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("modes can be set");
    let socket = folder.path().join("agent.sock");
    let options = Options {
        arguments: vec!["--agent-socket".to_owned(), socket.display().to_string()],
        ..Options::default()
    };
    let scene = Scene::with(&[("web", QUICK)], &options);
    assert_eq!(listed(&socket).len(), 1);

    let output = listed_by_nobody(&socket);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("Permission denied"), "{words}");

    // Somebody opens it to all: the peer's uid is looked at all the same.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("modes can be set");
    let output = listed_by_nobody(&socket);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words}");
    assert!(
        !words.contains("Permission denied"),
        "the kernel let it in: {words}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(listed(&socket).len(), 1, "its owner is served as before");
    assert!(
        scene.daemon.wait_for_log(
            "turned away a client of another user",
            std::time::Duration::from_secs(10)
        ),
        "the log tells of it"
    );
}

const NOBODY: u32 = 65_534;
