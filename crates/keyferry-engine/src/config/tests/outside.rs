//! Settings of keyferry.toml about hosts, and files outside the directory that settings name.

use std::fs;

use super::{check, said};
use crate::config::fixture::{Directory, Manifests, set_mode};
use crate::config::{check as check_directory, read};
use crate::desired::{FileState, Recovery};

const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIi3RLP3Hk3YtyZP7bgWu8qjQmBn8VnkRNfTCHOHx2Jn";

#[test]
fn what_is_fine_becomes_settings() {
    let directory = Directory::new();
    let file = directory.beside("id.pub");
    fs::write(&file, format!("{ONE} token\n")).unwrap();
    directory.write(
        "keyferry.toml",
        format!(
            "on_event = [\"/usr/local/bin/tell\", \"me\"]\n[ssh]\ncommand = [\"ssh\", \"-F\", \"/etc/fleet\"]\n[recovery]\n\
             identity = {file:?}\nagent = \"/run/agent\""
        ),
    );
    let desired = read(&directory.path(), &Manifests::new(), None).desired();
    assert_eq!(desired.daemon.on_event, ["/usr/local/bin/tell", "me"]);
    assert_eq!(desired.daemon.ssh_command, ["ssh", "-F", "/etc/fleet"]);
    assert_eq!(
        desired.daemon.recovery,
        Some(Recovery {
            public_key: ONE.to_owned(),
            agent: Some("/run/agent".into()),
        })
    );
}

#[test]
fn what_is_wrong_has_its_place() {
    let daemon = |content: &str, expected: &[&str]| check("keyferry.toml", content, expected);
    daemon(
        "on_event = []",
        &["1:12: `on_event`: is empty: name a program and its arguments"],
    );
    daemon(
        "[ssh]\ncomand = [\"ssh\"]",
        &["2:1: unknown key `comand` in [ssh]; did you mean `command`?"],
    );
    daemon(
        "ssh.command = [\"ssh -F x\"]",
        &[
            "1:16: `ssh.command`: is a command line in one string, and no shell takes it apart: write each argument as a \
             string of its own",
        ],
    );
    daemon(
        "[recovery]\nagent = \"agent\"",
        &[
            "1:2: `recovery`: names no key: add `identity = \"~/.ssh/....pub\"`, or take the table out",
            "2:9: `recovery.agent`: is not absolute: begin with `/` or `~/`",
        ],
    );
    daemon(
        "[recovery]\nidentity = \"/nowhere/id_ed25519\"",
        &[
            "2:12: `recovery.identity`: /nowhere/id_ed25519 does not end in `.pub`: name the file of the public half",
        ],
    );
}

#[test]
fn a_private_key_under_the_wrong_name_is_refused_and_not_shown() {
    let directory = Directory::new();
    let file = directory.beside("id.pub");
    fs::write(
        &file,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nHUSH\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .unwrap();
    directory.write("keyferry.toml", format!("[recovery]\nidentity = {file:?}"));
    let reports = check_directory(&directory.path(), &Manifests::new());
    assert_eq!(
        said(&reports, &directory, "keyferry.toml"),
        [format!(
            "2:12: `recovery.identity`: {} holds a private key, which belongs in no such place: name the public half, and \
             keep the private one where it is",
            file.display()
        )]
    );
}

#[test]
fn a_file_that_others_can_write_is_not_believed() {
    let directory = Directory::new();
    let file = directory.beside("id.pub");
    fs::write(&file, ONE).unwrap();
    set_mode(&file, 0o666);
    directory.write("keyferry.toml", format!("[recovery]\nidentity = {file:?}"));
    let reports = check_directory(&directory.path(), &Manifests::new());
    let lines = said(&reports, &directory, "keyferry.toml");
    let expected = format!("2:12: `recovery.identity`: {} is not believed: ", file.display());
    assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{lines:?}");
}

/// Nobody watches such a file: it is seen when the directory is read, though nothing in the directory changed.
#[test]
fn a_file_that_changes_is_seen_at_the_next_reading_and_what_was_stays_when_it_goes() {
    let directory = Directory::new();
    let file = directory.beside("id.pub");
    fs::write(&file, ONE).unwrap();
    directory.write(
        "keys/web.toml",
        format!("account = \"aliyun\"\nhosts = [\"web\"]\n[deploy]\nalso_trust = [{file:?}]"),
    );
    directory.write("keyferry.toml", format!("[recovery]\nidentity = {file:?}"));
    let trusted = |state: &crate::config::State| {
        let desired = state.desired();
        let recovery = desired
            .daemon
            .recovery
            .as_ref()
            .map(|recovery| recovery.public_key.clone());
        (desired.keys["web"].deploy.also_trust.clone(), recovery.unwrap())
    };
    let states = |state: &crate::config::State| {
        let desired = state.desired();
        desired.files.iter().map(|file| file.state).collect::<Vec<_>>()
    };
    let plugins = Manifests::new();
    let first = read(&directory.path(), &plugins, None);
    assert_eq!(trusted(&first), (vec![ONE.to_owned()], ONE.to_owned()));

    fs::write(&file, OTHER).unwrap();
    let second = read(&directory.path(), &plugins, Some(&first));
    assert_eq!(trusted(&second), (vec![OTHER.to_owned()], OTHER.to_owned()));

    fs::remove_file(&file).unwrap();
    let third = read(&directory.path(), &plugins, Some(&second));
    assert_eq!(trusted(&third), (vec![OTHER.to_owned()], OTHER.to_owned()));
    assert_eq!(
        states(&third),
        [FileState::Loaded, FileState::Kept, FileState::Kept]
    );

    // A key's file that is gone is served as it was, with what its path holds now.
    directory.remove("keys/web.toml");
    fs::write(&file, ONE).unwrap();
    let fourth = read(&directory.path(), &plugins, Some(&third));
    assert_eq!(trusted(&fourth), (vec![ONE.to_owned()], ONE.to_owned()));
    assert_eq!(
        states(&fourth),
        [FileState::Loaded, FileState::Loaded, FileState::Missing]
    );
}
