//! `hosts`, `[rotate]` and `on_remove` of a key's file.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{check, said};
use crate::config::fixture::{Directory, Manifests};
use crate::config::{key_files, read};
use crate::desired::{DayTime, HostList, KeyFolder, KeySpec, OnRemove, Rotate};

#[track_caller]
fn key(content: &str, expected: &[&str]) {
    check(
        "keys/web.toml",
        format!("account = \"aliyun\"\n{content}"),
        expected,
    );
}

fn loaded(content: &str) -> KeySpec {
    let directory = Directory::new();
    directory.write("keys/web.toml", format!("account = \"aliyun\"\n{content}"));
    let desired = read(&directory.path(), &Manifests::new(), None).desired();
    let spec = desired
        .keys
        .get("web")
        .unwrap_or_else(|| panic!("{:#?}", desired.files));
    KeySpec::clone(spec)
}

#[test]
fn hosts_are_listed_or_come_from_one_place() {
    let listed = HostList::Listed(vec![
        "deploy@web-1".to_owned(),
        "ssh://web-2:2222".to_owned(),
        "::1".to_owned(),
    ]);
    assert_eq!(
        loaded("hosts = [\"deploy@web-1\", \"ssh://web-2:2222\", \"::1\"]").hosts,
        Some(listed)
    );
    assert_eq!(
        loaded("hosts = { file = \"/etc/hosts.web\" }").hosts,
        Some(HostList::File("/etc/hosts.web".into()))
    );
    assert_eq!(
        loaded("hosts.command = [\"inventory\", \"--web\"]").hosts,
        Some(HostList::Command(vec![
            "inventory".to_owned(),
            "--web".to_owned()
        ]))
    );
    key(
        "hosts = \"web\"",
        &[
            "2:9: `hosts`: expected an array of strings, `{ file = \"...\" }` or `{ command = [\"...\"] }`, found a string",
        ],
    );
    key(
        "hosts = []",
        &["2:9: `hosts`: is empty: name at least one host, or take it out"],
    );
    key(
        "hosts = {}",
        &["2:1: `hosts`: is empty: name a `file` or a `command`, or take it out"],
    );
    key(
        "hosts = { command = [\"x\"], file = \"/x\" }",
        &["2:28: `command` and `file` stand here both: hosts come from one place, keep one of them"],
    );
    key(
        "hosts = { flie = \"/x\" }",
        &["2:11: unknown key `flie` in [hosts]; did you mean `file`?"],
    );
    key(
        "hosts = { file = \"x\" }",
        &["2:18: `hosts.file`: is not absolute: begin with `/` or `~/`"],
    );
}

#[test]
fn each_host_is_one_that_ssh_takes_and_stands_there_once() {
    key(
        "hosts = [\"web\", 7, \"-v\", \"a b\", \"web:22\", \"WEB\", \"li@web\", \"\"]",
        &[
            "2:17: `hosts`: expected a string, found an integer",
            "2:20: `hosts`: `-v` begins with `-`, which ssh takes for an option",
            "2:26: `hosts`: `a b` contains a blank: write one host in each string",
            "2:33: `hosts`: `web:22` has a port behind the name, which ssh does not take: write `ssh://web:22`",
            "2:43: `hosts`: names `WEB` twice: keep one",
            "2:60: `hosts`: is empty: give it a value or take it out",
        ],
    );
    let many: Vec<String> = (0..10_001).map(|n| format!("\"w{n}\"")).collect();
    key(&format!("hosts = [{}]", many[1..].join(",")), &[]);
    key(
        &format!("hosts = [{}]", many.join(",")),
        &["2:9: `hosts`: names more than 10000 hosts: split them between several keys"],
    );
}

#[test]
fn commands_are_words_and_their_program_can_be_found() {
    key(
        "hosts.command = []",
        &["2:17: `hosts.command`: is empty: name a program and its arguments"],
    );
    key(
        "hosts.command = [7]",
        &["2:18: `hosts.command`: expected a string, found an integer"],
    );
    key(
        "hosts.command = \"inventory\"",
        &["2:17: `hosts.command`: expected an array of strings, found a string"],
    );
    key(
        "hosts.command = [\"bin/inventory\"]",
        &["2:18: `hosts.command`: is not absolute: begin with `/` or `~/`"],
    );
    key(
        "hosts.command = [\"inventory --web\"]",
        &[
            "2:18: `hosts.command`: is a command line in one string, and no shell takes it apart: write each argument as a \
             string of its own",
        ],
    );
}

#[test]
fn a_key_is_rotated_on_its_hosts_alone() {
    key(
        "[rotate]\nevery = \"30d\"",
        &[
            "2:2: `rotate`: a key is rotated where its next one has been seen to log in, and this one has no hosts to log in \
             to: add `hosts = [\"...\"]` in front of the first [table], or take [rotate] out",
        ],
    );
    // A wrong name for them is one problem, not two.
    key(
        "host = [\"web\"]\n[rotate]\nevery = \"30d\"",
        &["2:1: unknown key `host`; did you mean `hosts`?"],
    );
}

#[test]
fn times_of_a_rotation_go_together() {
    let rotate = |every: &str| {
        loaded(&format!("hosts = [\"web\"]\n[rotate]\nevery = \"{every}\""))
            .rotate
            .unwrap()
    };
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    assert_eq!(
        rotate("30d"),
        Rotate {
            every: hours(720),
            grace: hours(24),
            between: None
        }
    );
    // A day would be too long.
    assert_eq!(rotate("12h").grace, hours(6));
    let wrong = |content: &str, expected: &str| {
        key(&format!("hosts = [\"web\"]\n[rotate]\n{content}"), &[expected]);
    };
    wrong(
        "every = \"59m\"",
        "4:9: `rotate.every`: `59m` is out of range: 1h to 1000d are allowed",
    );
    wrong(
        "every = \"1001d\"",
        "4:9: `rotate.every`: `1001d` is out of range: 1h to 1000d are allowed",
    );
    wrong(
        "every = \"monthly\"",
        "4:9: `rotate.every`: `monthly` is no time: write a number with s, m, h or d, as in `30m`",
    );
    wrong(
        "every = 30",
        "4:9: `rotate.every`: expected a string, found an integer",
    );
    wrong(
        "grace = \"1h\"",
        "3:2: `rotate`: names no time: add `every = \"30d\"`, or take the table out and rotate by `keyferry rotate`",
    );
    wrong(
        "evry = \"30d\"",
        "4:1: unknown key `evry` in [rotate]; did you mean `every`?",
    );
    wrong(
        "every = \"1d\"\ngrace = \"24h\"",
        "5:9: `rotate.grace`: 1d is not less than `every`, 1d: the earlier key would still be there when the next one comes",
    );
    wrong(
        "every = \"1d\"\ngrace = \"1001d\"",
        "5:9: `rotate.grace`: `1001d` is out of range: 0s to 1000d are allowed",
    );
}

#[test]
fn a_rotation_begins_within_hours_of_the_day() {
    let between = |text: &str| {
        let content = format!("hosts = [\"web\"]\n[rotate]\nevery = \"30d\"\nbetween = \"{text}\"");
        loaded(&content).rotate.unwrap().between.unwrap()
    };
    assert_eq!(between("09:00-18:30"), DayTime { from: 540, to: 1_110 });
    assert_eq!(between("22:00 - 06:00"), DayTime { from: 1_320, to: 360 });
    assert_eq!(between("00:00-24:00"), DayTime { from: 0, to: 1_440 });
    let wrong = |text: &str, expected: &str| {
        key(
            &format!("hosts = [\"web\"]\n[rotate]\nevery = \"30d\"\nbetween = \"{text}\""),
            &[&format!("5:11: `rotate.between`: {expected}")],
        );
    };
    wrong(
        "09:00-09:00",
        "`09:00-09:00` ends when it begins: write two times of the day, or take it out",
    );
    wrong("24:00-06:00", "`24:00-06:00` begins at 24:00: write `00:00`");
    for text in [
        "9-18",
        "9:00-18:00",
        "09:00",
        "09:60-18:00",
        "09:00-24:01",
        "09:00-+8:00",
        "25:00-26:00",
    ] {
        let expected = format!(
            "`{text}` is no part of a day: write two times, as in `09:00-18:00`, or `22:00-06:00` for a night"
        );
        wrong(text, &expected);
    }
}

#[test]
fn what_becomes_of_a_key_whose_file_goes_is_said() {
    assert_eq!(loaded("").on_remove, OnRemove::Keep);
    assert_eq!(loaded("on_remove = \"keep\"").on_remove, OnRemove::Keep);
    assert_eq!(loaded("on_remove = \"retire\"").on_remove, OnRemove::Retire);
    let directory = Directory::new();
    directory.write("keys/web.toml", "account = \"aliyun\"\non_remove = \"retire\"");
    let plugins = Manifests::new();
    let before = read(&directory.path(), &plugins, None);
    directory.remove("keys/web.toml");
    let reports = &read(&directory.path(), &plugins, Some(&before)).desired().files;
    let gone = "the file is gone, and `on_remove` in it was \"retire\": after a while the key is taken off its hosts and its \
                pair is deleted, unless many files went; put the file back to keep it";
    assert_eq!(said(reports, &directory, "keys/web.toml"), [gone]);
    // Whether it is known to be gone depends on the folder.
    let folder = directory.path().join("keys");
    let is_listed = KeyFolder::Listed(folder.clone());
    let after = read(&directory.path(), &plugins, Some(&before));
    assert_eq!(after.desired().key_folder, is_listed);
    assert_eq!(key_files(&folder), Some(BTreeSet::new()));
    std::fs::remove_dir(&folder).unwrap();
    let without = read(&directory.path(), &plugins, Some(&after));
    assert_eq!(without.desired().key_folder, KeyFolder::Closed);
    assert_eq!(key_files(&folder), None);
    std::fs::write(&folder, "no folder").unwrap();
    let closed = read(&directory.path(), &plugins, Some(&without));
    assert_eq!(closed.desired().key_folder, KeyFolder::Closed);
    key(
        "on_remove = \"retier\"",
        &["2:13: `on_remove`: unknown value `retier`; did you mean `retire`?"],
    );
}
