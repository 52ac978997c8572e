//! The real `ssh-add` and `ssh-keygen` as judges.

use crate::harness::*;
use keyferry_agent::{Limits, Options};
use std::time::Duration;

const KINDS: &[(&str, u32)] = &[
    ("ed25519", 256),
    ("ecdsa", 256),
    ("ecdsa", 384),
    ("ecdsa", 521),
    ("rsa", 2048),
];

#[test]
fn ssh_add_adds_lists_and_removes_every_type() {
    let running = Running::start();
    let files: Vec<_> = KINDS
        .iter()
        .map(|&(kind, bits)| {
            keygen(running.folder.path(), kind, bits)
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        running.tool("ssh-add", &["-l"], "").status.code(),
        Some(1),
        "no keys yet"
    );
    for file in &files {
        running.tool_ok("ssh-add", &["-q", file], "");
    }
    let listed = running.tool_ok("ssh-add", &["-L"], "");
    let expected: String = files
        .iter()
        .map(|file| std::fs::read_to_string(format!("{file}.pub")).unwrap())
        .collect();
    assert_eq!(listed, expected);
    let fingerprints = running.tool_ok("ssh-add", &["-l"], "");
    assert_eq!(fingerprints.lines().count(), files.len());
    // -T signs and verifies. With an RSA key OpenSSH 9.2 asks for SHA-1 there, which it gets from nobody here.
    for file in files.iter().filter(|file| !file.contains("rsa")) {
        running.tool_ok("ssh-add", &["-T", &format!("{file}.pub")], "");
    }

    running.tool_ok("ssh-add", &["-q", "-d", &files[1]], "");
    assert_eq!(
        running.tool_ok("ssh-add", &["-L"], "").lines().count(),
        files.len() - 1
    );
    assert!(
        !running
            .tool("ssh-add", &["-T", &format!("{}.pub", files[1])], "")
            .status
            .success()
    );
    running.tool_ok("ssh-add", &["-q", "-D"], "");
    assert_eq!(running.tool("ssh-add", &["-l"], "").status.code(), Some(1));
}

#[test]
fn ssh_keygen_signs_through_the_agent_and_verifies() {
    let running = Running::start();
    for &(kind, bits) in KINDS {
        let file = keygen(running.folder.path(), kind, bits);
        let file = file.to_str().unwrap();
        running.tool_ok("ssh-add", &["-q", file], "");
        // Only the agent has the private half from here on.
        std::fs::remove_file(file).unwrap();
        let public = format!("{file}.pub");
        let signature = running.tool_ok(
            "ssh-keygen",
            &["-Y", "sign", "-q", "-n", "file", "-f", &public],
            "words",
        );
        let signature_file = format!("{file}.sig");
        std::fs::write(&signature_file, signature).unwrap();
        let allowed = format!("{file}.allowed");
        std::fs::write(
            &allowed,
            format!("me {}", std::fs::read_to_string(&public).unwrap()),
        )
        .unwrap();
        let verify = [
            "-Y",
            "verify",
            "-n",
            "file",
            "-I",
            "me",
            "-f",
            &allowed,
            "-s",
            &signature_file,
        ];
        running.tool_ok("ssh-keygen", &verify, "words");
        assert!(
            !running
                .tool("ssh-keygen", &verify, "other words")
                .status
                .success()
        );
    }
}

#[test]
fn ssh_add_gives_a_key_its_time() {
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    let file = file.to_str().unwrap();
    running.tool_ok("ssh-add", &["-q", "-t", "1", file], "");
    eventually("the key is gone", || {
        running.tool("ssh-add", &["-l"], "").status.code() == Some(1)
    });
    running.tool_ok("ssh-add", &["-q", "-t", "1h", file], "");
    running.tool_ok("ssh-add", &["-l"], "");
}

#[test]
fn an_added_key_has_the_default_lifetime_unless_it_brings_one() {
    let options = Options {
        default_lifetime: Some(Duration::ZERO),
    };
    let running = Running::with(options, Limits::default());
    let mut client = running.connect();
    assert_eq!(client.ask(&add(&TestKey::ed25519(1).private, b"")), SUCCESS);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert_eq!(
        client.ask(&add_constrained(
            &TestKey::ed25519(2).private,
            b"",
            &[1, 0, 0, 1, 0]
        )),
        SUCCESS
    );
    assert_eq!(client.list().len(), 1);
}

#[test]
fn confirmation_is_refused_not_ignored() {
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    let output = running.tool("ssh-add", &["-c", file.to_str().unwrap()], "");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(running.tool("ssh-add", &["-l"], "").status.code(), Some(1));
}
