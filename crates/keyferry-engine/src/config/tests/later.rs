//! What this version does not have, and what stands in the wrong place.

use super::{check, said};
use crate::config::check as check_directory;
use crate::config::fixture::{Directory, Manifests};

#[test]
fn what_comes_later_is_refused_by_name() {
    let by_name = |file: &str, content: &str, place: &str, name: &str| {
        let directory = Directory::new();
        directory.write(file, content);
        let lines = said(
            &check_directory(&directory.path(), &Manifests::new()),
            &directory,
            file,
        );
        let expected = format!("{place}: `{name}` is not in this version: ");
        assert!(
            lines.len() == 1 && lines[0].starts_with(&expected),
            "{lines:?} should be one {expected:?}"
        );
    };
    by_name(
        "keys/web.toml",
        "account = \"aliyun\"\noffer_to = [\"*.example.com\"]",
        "2:1",
        "offer_to",
    );
    by_name("keyferry.toml", "offer_to = 1", "1:1", "offer_to");
    by_name(
        "keys/web.toml",
        "account = \"aliyun\"\n[memory]\nx = 1",
        "2:2",
        "memory",
    );
    by_name(
        "keyferry.toml",
        "[memory]\nhibernate = \"block\"",
        "1:2",
        "memory",
    );
    check(
        "keys/web.toml",
        "",
        &[
            "1:1: a key without `account` is not in this version: add `account = \"...\"`; known here: `aliyun`",
        ],
    );
}

#[test]
fn what_stands_in_the_wrong_place_is_sent_to_the_right_one() {
    check(
        "keyferry.toml",
        "hosts = [\"web\"]\nlogin_with = [\"current\"]\n[rotate]\nevery = \"30d\"\n[deploy]\nsudo = true\n[ssh]\ngrace = \"1d\"\n\
         identity = \"/x.pub\"",
        &[
            "1:1: `hosts` does not belong here but in a key's file (keys/NAME.toml), in front of its first [table]",
            "2:1: `login_with` does not belong here but in [deploy] of a key's file (keys/NAME.toml)",
            "3:2: `rotate` does not belong here but in a key's file (keys/NAME.toml): each key says for itself",
            "5:2: `deploy` does not belong here but in a key's file (keys/NAME.toml): each key says for itself",
            "8:1: `grace` does not belong here but in [rotate] of a key's file (keys/NAME.toml)",
            "9:1: `identity` does not belong here but in [recovery] of keyferry.toml",
        ],
    );
    check(
        "keys/web.toml",
        "account = \"aliyun\"\non_event = [\"x\"]\n[recovery]\nidentity = \"/x.pub\"\n[ssh]\ncommand = [\"ssh\"]",
        &[
            "2:1: `on_event` does not belong here but in keyferry.toml, in front of its first [table]",
            "3:2: `recovery` does not belong here but in keyferry.toml, for all keys together",
            "5:2: `ssh` does not belong here but in keyferry.toml, for all keys together",
        ],
    );
    // What follows a table's title is part of that table.
    check(
        "keys/web.toml",
        "account = \"aliyun\"\nhosts = [\"web\"]\n[rotate]\nevery = \"30d\"\non_remove = \"retire\"\nusers = [\"li\"]",
        &[
            "5:1: `on_remove` does not belong here but in a key's file (keys/NAME.toml), in front of its first [table]",
            "6:1: `users` does not belong here but in [deploy] of a key's file (keys/NAME.toml)",
        ],
    );
}
