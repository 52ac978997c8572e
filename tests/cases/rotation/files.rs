//! Files that are not as one would have them: handled, or refused with the reason, never damaged.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use keyferry_tests::fleet::{Host, HostOptions, Shell};

use keyferry_tests::wait;

use crate::scene::{DEADLINE, NO_GRACE, Scene, key_file};

/// A user of the host, and what is odd about the file.
struct Oddity {
    user: &'static str,
    /// Makes it so; the file has the admin key's line.
    prepare: fn(&Host, &str),
    expected: Expected,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// The line is put there, and the key logs in.
    Handled,
    /// Status says why not.
    Refused,
    /// One of both.
    Either,
}

const ODDITIES: [Oddity; 9] = [
    Oddity {
        user: "open-end",
        prepare: |host, user| {
            let mut file = host.authorized_keys_of(user);
            assert_eq!(file.pop(), Some(b'\n'));
            host.set_authorized_keys_of(user, &file);
        },
        expected: Expected::Handled,
    },
    Oddity {
        user: "crlf",
        prepare: |host, user| {
            let text = String::from_utf8(host.authorized_keys_of(user)).expect("plain text");
            host.set_authorized_keys_of(
                user,
                format!("# first\r\n{}", text.replace('\n', "\r\n")).as_bytes(),
            );
        },
        expected: Expected::Handled,
    },
    Oddity {
        user: "long",
        prepare: |host, user| {
            let mut file = "# nobody's line\n".repeat(10_000).into_bytes();
            file.extend(host.authorized_keys_of(user));
            host.set_authorized_keys_of(user, &file);
        },
        expected: Expected::Handled,
    },
    Oddity {
        user: "marked",
        // Somebody else's line, with a comment as ours would have it.
        prepare: |host, user| {
            let mut file = host.authorized_keys_of(user);
            file.extend_from_slice(SOMEBODYS_LINE.as_bytes());
            host.set_authorized_keys_of(user, &file);
        },
        expected: Expected::Handled,
    },
    Oddity {
        user: "bytes",
        prepare: |host, user| {
            let mut file = b"# \xff\xfe\x00 not text\n\x1b[2J\n".to_vec();
            file.extend(host.authorized_keys_of(user));
            host.set_authorized_keys_of(user, &file);
        },
        expected: Expected::Either,
    },
    Oddity {
        user: "link",
        prepare: |host, user| {
            let path = host.authorized_keys_path(user);
            let target = host.home(user).join("elsewhere");
            fs::rename(&path, target).expect("a file can be renamed");
            symlink("../elsewhere", path).expect("links can be made");
        },
        expected: Expected::Either,
    },
    Oddity {
        user: "foreign",
        prepare: |host, user| {
            let path = host.authorized_keys_path(user);
            let set_mode = std::os::unix::fs::PermissionsExt::from_mode;
            fs::set_permissions(&path, set_mode(0o644)).expect("modes can be set");
            chown(path, Some(0), Some(0)).expect("owners can be set");
        },
        expected: Expected::Either,
    },
    Oddity {
        user: "immutable",
        prepare: |host, user| host.set_immutable(user, true),
        expected: Expected::Refused,
    },
    Oddity {
        user: "read-only",
        prepare: |host, user| host.set_read_only(user, true),
        expected: Expected::Refused,
    },
];

const SOMEBODYS_LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS keyferry owner=somebody machine=elsewhere-000000 key=web gen=1\n";

#[test]
fn odd_files_are_handled_or_refused_and_never_damaged() {
    let users: Vec<&str> = ODDITIES.iter().map(|oddity| oddity.user).collect();
    let full = HostOptions {
        home_size: Some(256 << 10),
        ..HostOptions::new("full", Shell::Dash)
    };
    let scene = Scene::new([HostOptions::new("web-1", Shell::Bash).with_users(&users), full]);
    let host = scene.fleet.host("web-1");
    for oddity in &ODDITIES {
        (oddity.prepare)(host, oddity.user);
    }
    let disk = scene.fleet.host("full");
    disk.fill(disk.user());
    let mut logins: Vec<(&Host, &str, Expected)> = ODDITIES
        .iter()
        .map(|oddity| (host, oddity.user, oddity.expected))
        .collect();
    logins.push((disk, disk.user(), Expected::Refused));
    let before: Vec<Vec<u8>> = logins
        .iter()
        .map(|(host, user, _)| host.authorized_keys_of(user))
        .collect();
    let hosts: Vec<String> = logins
        .iter()
        .map(|(host, user, _)| format!("{user}@{}", host.name()))
        .collect();
    // The hosts that refuse must not keep the others from their turn.
    let tables = format!("{NO_GRACE}[deploy]\ncanary = 0\n");
    scene.home.key("web", &key_file(&hosts, &tables));
    let mut refused = Vec::new();
    for (((host, user, expected), before), name) in logins.iter().zip(&before).zip(&hosts) {
        if wait_for_outcome(&scene, name, *expected) {
            let file = host.authorized_keys_of(user);
            assert_kept(name, before, &file, &scene.public_key("web", 1));
        } else {
            assert_eq!(&host.authorized_keys_of(user), before, "{name}");
            refused.push((*host, *user, before));
        }
    }
    // When what was odd is mended, they get what the others have.
    disk.make_room(disk.user());
    for (host, user, before) in refused {
        if user == "immutable" {
            host.set_immutable(user, false);
        }
        if user == "read-only" {
            host.set_read_only(user, false);
        }
        host.set_authorized_keys_of(user, before);
    }
    scene.daemon.keyferry(&["host", "retry"]);
    scene.wait_verified("web", 1);
    scene.rotate("web");
    scene.wait_verified("web", 2);
    let logins: Vec<(&Host, &str)> = logins.iter().map(|(host, user, _)| (*host, *user)).collect();
    wait::until("the earlier lines are gone", DEADLINE, || {
        let first = scene.public_key("web", 1);
        let mut files = logins.iter().map(|(host, user)| host.authorized_keys_of(user));
        files.all(|file| without(&file, &first) == file).then_some(())
    });
    for (((host, user), before), name) in logins.iter().zip(&before).zip(&hosts) {
        let file = host.authorized_keys_of(user);
        assert_kept(name, before, &file, &scene.public_key("web", 2));
    }
}

/// Everything that was there is, byte for byte, and one line is new.
#[track_caller]
fn assert_kept(login: &str, before: &[u8], after: &[u8], public_key: &str) {
    let kept = without(after, public_key);
    let mut whole = before.to_owned();
    if !whole.ends_with(b"\n") {
        whole.push(b'\n');
    }
    let text = String::from_utf8_lossy;
    assert!(kept == whole, "{login}: {:?}\n{:?}", text(before), text(after));
    assert_eq!(text(after).matches(public_key).count(), 1, "{login}");
}

/// Waits until the login is verified, or status says what keeps it from that; whether it is verified.
#[track_caller]
fn wait_for_outcome(scene: &Scene, login: &str, expected: Expected) -> bool {
    scene.wait_for_key("web", &format!("tried on {login}"), |key| {
        let hosts = key["hosts"].as_array().into_iter().flatten();
        let mut shown = hosts.filter(|host| host["host"] == login);
        shown.any(|host| host["state"] == "verified" || !host["error"].is_null())
    });
    let shown = scene.host_status("web", login);
    let is_verified = shown["state"] == "verified";
    match expected {
        Expected::Handled => assert!(is_verified, "{shown:#}"),
        Expected::Refused => assert!(!is_verified, "{shown:#}"),
        Expected::Either => {}
    }
    if !is_verified {
        let error = &shown["error"];
        let message = error["message"].as_str().unwrap_or_default();
        let says = message.contains("the file") || message.contains("authorized_keys");
        assert!(
            error["kind"] == "file" && says,
            "it says what is wrong: {shown:#}"
        );
        assert_ne!(error["remedy"], "", "{shown:#}");
    }
    is_verified
}

/// A file without the lines of a key.
fn without(file: &[u8], public_key: &str) -> Vec<u8> {
    file.split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !String::from_utf8_lossy(line).contains(public_key))
        .flatten()
        .copied()
        .collect()
}
