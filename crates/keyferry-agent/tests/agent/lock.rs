//! Lock and unlock.

use crate::harness::*;
use crate::session::*;
use std::time::{Duration, Instant};

const PASSPHRASE: &[u8] = b"\xff\xfe caf\xe9 \x00 end";

fn lock(passphrase: &[u8]) -> Vec<u8> {
    [&[22], &string(passphrase)[..]].concat()
}

fn unlock(passphrase: &[u8]) -> Vec<u8> {
    [&[23], &string(passphrase)[..]].concat()
}

#[test]
fn a_locked_agent_lists_nothing_and_signs_nothing() {
    let running = Running::start();
    let (added, managed, late) = (TestKey::ed25519(1), TestKey::ed25519(2), TestKey::ed25519(3));
    let mut client = running.connect();
    assert_eq!(client.ask(&add(&added.private, b"")), SUCCESS);
    running.load("managed", &managed);
    assert_eq!(client.ask(&lock(PASSPHRASE)), SUCCESS);

    let refused: &[Vec<u8>] = &[
        sign(&added.public, b"", 0),
        sign(&managed.public, b"", 0),
        add(&TestKey::ed25519(9).private, b""),
        remove(&added.public),
        remove(&managed.public),
        REMOVE_ALL.to_vec(),
        lock(PASSPHRASE),
        unlock(b"wrong"),
        unlock(b""),
    ];
    for message in refused {
        assert_eq!(client.ask(message), FAILURE, "message {}", message[0]);
        assert_eq!(client.ask(LIST), EMPTY_LIST);
    }
    // The daemon goes on loading; it shows once unlocked.
    running.load("late", &late);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert_eq!(client.ask(&sign(&late.public, b"", 0)), FAILURE);

    assert_eq!(client.ask(&unlock(PASSPHRASE)), SUCCESS);
    assert_eq!(client.list().len(), 3);
    for key in [added, managed, late] {
        verified(&key.public, b"x", &client.ask(&sign(&key.public, b"x", 0)));
    }
    assert_eq!(client.ask(&unlock(PASSPHRASE)), FAILURE);
}

#[test]
fn wrong_guesses_take_longer_and_longer_and_hold_up_nobody_else() {
    let running = Running::start();
    let mut client = running.connect();
    assert_eq!(client.ask(&lock(b"right")), SUCCESS);

    // Three connections guess at once: 100, 200 and 300 ms, one after the other.
    let start = Instant::now();
    let mut guessers: Vec<_> = (0..3).map(|_| running.connect()).collect();
    for guesser in &mut guessers {
        guesser.send_bytes(&frame(&unlock(b"wrong")));
    }
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert!(
        start.elapsed() < Duration::from_millis(600),
        "the list waited for the guesses: {:?}",
        start.elapsed()
    );
    for guesser in &mut guessers {
        assert_eq!(guesser.read().unwrap(), FAILURE);
    }
    assert!(
        start.elapsed() >= Duration::from_millis(600),
        "guessed too fast: {:?}",
        start.elapsed()
    );
    assert_eq!(client.ask(&unlock(b"right")), SUCCESS);
}

#[test]
fn ssh_add_locks_and_unlocks() {
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    running.tool_ok("ssh-add", &["-q", file.to_str().unwrap()], "");
    // ssh-add asks for the passphrase through a program when it has no terminal.
    let askpass = running.folder.path().join("askpass");
    std::fs::write(&askpass, "#!/bin/sh\necho 'open sesame'\n").unwrap();
    std::fs::set_permissions(&askpass, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let ssh_add = |argument: &str| {
        let mut command = std::process::Command::new("setsid");
        command
            .args(["-w", "ssh-add", argument])
            .env("SSH_AUTH_SOCK", &running.path);
        command
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", "none");
        command.stdin(std::process::Stdio::null()).output().unwrap()
    };
    let output = ssh_add("-x");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ssh_add("-l").status.code(), Some(1));
    let output = ssh_add("-X");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ssh_add("-l").status.code(), Some(0));
}

#[test]
fn what_comes_over_another_host_reaches_only_what_was_added() {
    let running = Running::start();
    let (host, managed, added, theirs) = (
        TestKey::ed25519(101),
        TestKey::ed25519(1),
        TestKey::ed25519(2),
        TestKey::ed25519(3),
    );
    running.load("web", &managed);
    let mut own = running.connect();
    assert_eq!(own.ask(&add(&added.private, b"")), SUCCESS);
    let mut carried = running.connect();
    assert_eq!(carried.ask(&bind_to(&host, &[1], true)), SUCCESS);

    for message in [
        lock(PASSPHRASE),
        unlock(PASSPHRASE),
        remove(&managed.public),
        add(&managed.private, b""),
    ] {
        assert_eq!(carried.ask(&message), FAILURE, "message {}", message[0]);
    }
    assert!(!running.agent.is_held("web"));
    assert_eq!(own.list().len(), 2);
    assert_eq!(carried.ask(&add(&theirs.private, b"")), SUCCESS);
    assert_eq!(carried.ask(&remove(&theirs.public)), SUCCESS);
    assert_eq!(carried.ask(REMOVE_ALL), SUCCESS);
    assert!(!running.agent.is_held("web"));
    assert_eq!(own.list().len(), 1);
    own.signs(&managed);

    // Locked by somebody here, it is unlocked by somebody here.
    assert_eq!(own.ask(&lock(PASSPHRASE)), SUCCESS);
    assert_eq!(carried.ask(&unlock(PASSPHRASE)), FAILURE);
    assert_eq!(carried.ask(REMOVE_ALL), FAILURE);
    assert_eq!(own.ask(&unlock(PASSPHRASE)), SUCCESS);
}
