//! Sockets that have one key for ordinary clients.

use crate::harness::*;
use crate::session::*;
use keyferry_agent::{KeySocket, Offer, PrivateSocketError};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

const SESSION: &[u8] = &[7; 32];

fn open(running: &Running, name: &str, generation: u64) -> Result<KeySocket, PrivateSocketError> {
    let _within = running.runtime().enter();
    let folder = running.folder.path().join("private");
    running.agent.key_socket(&folder, name, generation)
}

fn connect(socket: &KeySocket) -> Client {
    Client::connect(socket.path()).unwrap()
}

#[test]
fn it_lists_one_key_and_signs_whatever_is_asked_with_that_alone() {
    let running = Running::start();
    let (host, web, exec) = (TestKey::ed25519(101), TestKey::ed25519(1), TestKey::ed25519(2));
    running.load_generation("web", 1, &web, Offer::Everywhere);
    running.load_generation("web-exec-1", 3, &exec, Offer::Nowhere);
    let socket = open(&running, "web-exec-1", 3).unwrap();

    let mut client = connect(&socket);
    assert_eq!(client.comments(), ["comment of web-exec-1"]);
    assert_eq!(client.list()[0].0, exec.public);
    // A client that says nothing, as those that sign commits and files.
    verified(
        &exec.public,
        b"data",
        &client.ask(&sign(&exec.public, b"data", 0)),
    );
    assert_eq!(client.ask(&sign(&web.public, b"data", 0)), FAILURE);
    let requests = [
        ("add", add(&TestKey::ed25519(9).private, b"")),
        ("remove", remove(&exec.public)),
        ("remove all", REMOVE_ALL.to_vec()),
        ("lock", [&[22][..], &string(b"x")].concat()),
        ("unlock", [&[23][..], &string(b"x")].concat()),
        ("another extension", [&[27][..], &string(b"query")].concat()),
    ];
    for (name, message) in &requests {
        assert_eq!(client.ask(message), FAILURE, "{name}");
    }
    assert!(!running.agent.is_held("web") && !running.agent.is_held("web-exec-1"));
    let mut client = client.bound(&host, SESSION);
    assert_eq!(client.list()[0].0, exec.public);
    let data = login(SESSION, &exec, Some(&host));
    verified(&exec.public, &data, &client.ask(&sign(&exec.public, &data, 0)));

    // Whoever asks the agent itself is not shown it.
    let mut everybody = running.connect();
    assert_eq!(everybody.comments(), ["comment of web"]);
    assert_eq!(everybody.ask(&sign(&exec.public, b"data", 0)), FAILURE);
}

#[test]
fn it_is_private_and_goes_with_its_owner() {
    let running = Running::start();
    let key = TestKey::ed25519(1);
    assert!(matches!(
        open(&running, "web", 1),
        Err(PrivateSocketError::NotLoaded { .. })
    ));
    running.load_generation("web", 1, &key, Offer::Nowhere);
    let socket = open(&running, "web", 1).unwrap();
    let path = socket.path().to_owned();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    let listed = Command::new("ssh-add")
        .arg("-L")
        .env("SSH_AUTH_SOCK", &path)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(listed.starts_with(&key.line()), "{listed}");

    let mut client = connect(&socket);
    running.agent.hold("web");
    assert_eq!(client.ask(LIST), EMPTY_LIST, "held");
    assert_eq!(client.ask(&sign(&key.public, b"data", 0)), FAILURE);
    running.agent.resume("web");
    assert_eq!(client.list().len(), 1);
    running.agent.unload("web", 1);
    assert_eq!(client.ask(LIST), EMPTY_LIST, "gone");

    drop(socket);
    eventually("its connections end", || client.is_closed());
    assert!(!path.exists());
}
