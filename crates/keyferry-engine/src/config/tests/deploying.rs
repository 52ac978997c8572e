//! `[deploy]` of a key's file.

use std::time::Duration;

use keyferry_hosts::HostKeys;

use super::check;
use crate::config::fixture::{Directory, Manifests};
use crate::config::read;
use crate::desired::{Deploy, LoginWith, Verify};

/// Lines of [deploy] begin on line 4.
#[track_caller]
fn deploy(content: &str, expected: &[&str]) {
    check(
        "keys/web.toml",
        format!("account = \"aliyun\"\nhosts = [\"web\"]\n[deploy]\n{content}"),
        expected,
    );
}

fn loaded(content: &str) -> Deploy {
    let directory = Directory::new();
    let key = format!("account = \"aliyun\"\nhosts = [\"web\"]\n[deploy]\n{content}");
    directory.write("keys/web.toml", key);
    let desired = read(&directory.path(), &Manifests::new(), None).desired();
    let spec = desired
        .keys
        .get("web")
        .unwrap_or_else(|| panic!("{:#?}", desired.files));
    spec.deploy.clone()
}

const FINGERPRINT: &str = "SHA256:uNiVztksCsDhcc0u9e8BrdXtBsoOvyGqsCVSQjkp2cA";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

#[test]
fn what_is_fine_becomes_settings() {
    assert_eq!(loaded(""), Deploy::default());
    let directory = Directory::new();
    let file = directory.beside("id.pub");
    std::fs::write(&file, format!("{KEY} li@home\n")).unwrap();
    let all = format!(
        "users = [\"deploy\", \"_apt\"]\npath = \"/etc/ssh/keys/%u\"\nsudo = true\nlogin_user = \"ops\"\n\
         options = 'from=\"10.0.0.0/8,!10.0.0.1\",restrict,pty,environment=\"A=\\\"b, c\\\"\",no-x11-forwarding'\n\
         expires = \"90d\"\nlogin_with = [\"current\", \"key:ops\", \"agent:{FINGERPRINT}\", \"ssh-config\"]\n\
         host_keys = \"accept-new\"\nverify = \"publickey\"\nreplaces = [\"{FINGERPRINT}\"]\nalso_trust = [{file:?}]\n\
         at_once = 32\ncanary = 0"
    );
    let expected = Deploy {
        users: vec!["deploy".to_owned(), "_apt".to_owned()],
        path: Some("/etc/ssh/keys/%u".to_owned()),
        sudo: true,
        login_user: Some("ops".to_owned()),
        options:
            "from=\"10.0.0.0/8,!10.0.0.1\",restrict,pty,environment=\"A=\\\"b, c\\\"\",no-x11-forwarding"
                .to_owned(),
        expires: Some(Duration::from_secs(90 * 86_400)),
        login_with: vec![
            LoginWith::Current,
            LoginWith::Key("ops".to_owned()),
            LoginWith::Agent(FINGERPRINT.to_owned()),
            LoginWith::SshConfig,
        ],
        host_keys: HostKeys::AcceptNew,
        verify: Verify::PublicKey,
        command: Vec::new(),
        replaces: vec![FINGERPRINT.to_owned()],
        also_trust: vec![KEY.to_owned()],
        at_once: 32,
        canary: 0,
    };
    assert_eq!(loaded(&all), expected);
    assert_eq!(
        loaded("command = [\"ansible-playbook\", \"keys.yml\"]").command,
        ["ansible-playbook", "keys.yml"]
    );
}

#[test]
fn there_is_nothing_to_deploy_without_hosts() {
    check(
        "keys/web.toml",
        "account = \"aliyun\"\n[deploy]\ncanary = 1",
        &[
            "2:2: `deploy`: says how the key comes to its hosts, and there are none: add `hosts = [\"...\"]` in front of the \
             first [table], or take [deploy] out",
        ],
    );
    deploy(
        "canery = 1",
        &["4:1: unknown key `canery` in [deploy]; did you mean `canary`?"],
    );
}

#[test]
fn users_are_named_in_one_place_once() {
    deploy(
        "users = [\"li\", \"-x\", \"a b\", \"li\", \"\"]",
        &[
            "4:16: `deploy.users`: `-x` is no user's name: write letters, digits, `.`, `_`, `-` and `+`, at most 64, \
             beginning with a letter, a digit or `_`",
            "4:22: `deploy.users`: `a b` is no user's name: write letters, digits, `.`, `_`, `-` and `+`, at most 64, \
             beginning with a letter, a digit or `_`",
            "4:29: `deploy.users`: names `li` twice: keep one",
            "4:35: `deploy.users`: is empty: give it a value or take it out",
        ],
    );
    deploy(
        "users = []",
        &["4:9: `deploy.users`: is empty: name at least one user, or take it out"],
    );
    check(
        "keys/web.toml",
        "account = \"aliyun\"\nhosts = [\"web-1\", \"li@web-2\"]\ndeploy.users = [\"app\"]",
        &[
            "2:9: `hosts`: `li@web-2` names a user, and so does `deploy.users`: take the user out of the one or the other",
        ],
    );
}

#[test]
fn paths_are_those_of_sshd() {
    for path in [
        ".ssh/authorized_keys",
        "%h/.ssh/keys",
        "/etc/ssh/keys/%u",
        "/k/100%%u",
    ] {
        assert_eq!(loaded(&format!("path = \"{path}\"")).path.as_deref(), Some(path));
    }
    for (path, expected) in [
        (
            "~/.ssh/k",
            "begins with `~`: a path that does not begin with `/` is taken from the user's home",
        ),
        (
            "/k/%f",
            "has `%f`: only `%u` (the user), `%h` (the home) and `%%` (`%`) are there",
        ),
        (
            "/k/%",
            "has `%`: only `%u` (the user), `%h` (the home) and `%%` (`%`) are there",
        ),
        (
            "a b",
            "contains a blank, and sshd takes that for two files: name one",
        ),
        ("../k", "contains `..`: write the path without it"),
        ("keys/", "ends with `/`: name a file"),
    ] {
        deploy(
            &format!("path = \"{path}\""),
            &[&format!("4:8: `deploy.path`: {expected}")],
        );
    }
}

#[test]
fn whoever_changes_the_files_of_others_can_do_it() {
    deploy(
        "sudo = true",
        &[
            "4:8: `deploy.sudo`: nobody needs root for a file of one's own: name the `login_user` that runs sudo, or the \
             `users` whose files are changed, or take it out",
        ],
    );
    deploy(
        "users = [\"app\"]\nlogin_user = \"ops\"",
        &[
            "5:14: `deploy.login_user`: `ops` cannot change the files of others: add `sudo = true`, or log in as `root`",
        ],
    );
    // Without a user it would be the file of whoever logs in.
    for login in [
        "login_user = \"root\"",
        "login_user = \"root\"\npath = \"/etc/ssh/keys/%u\"",
    ] {
        deploy(
            login,
            &[
                "4:14: `deploy.login_user`: `web` names no user, and `root` would change a file of its own there: say whose \
                 files are changed, with `users = [\"...\"]` or `user@host` in `hosts`",
            ],
        );
    }
    check(
        "keys/web.toml",
        "account = \"aliyun\"\nhosts = [\"app@web-1\", \"ssh://app@web-2:22\"]\ndeploy.login_user = \"root\"",
        &[],
    );
    for fine in [
        "sudo = false",
        "users = [\"app\"]\nlogin_user = \"root\"",
        "users = [\"app\"]\nlogin_user = \"ops\"\nsudo = true",
        "users = [\"app\"]\nsudo = true",
        "path = \"/etc/ssh/keys/%u\"\nsudo = true",
        "users = [\"app\"]\npath = \"/srv/keys/%u\"\nlogin_user = \"ops\"",
    ] {
        deploy(fine, &[]);
    }
}

#[test]
fn options_are_some_that_sshd_takes() {
    for (options, expected) in [
        (
            "form=\"x\"",
            "unknown option `form` of sshd; did you mean `from`?",
        ),
        ("from", "`from` needs a value: write `from=\"...\"`"),
        (
            "from=10.0.0.1",
            "`from` has no value in quotes: write `from=\"...\"`, with `\\\"` for a quote inside",
        ),
        (
            "from=\"x",
            "`from` has no value in quotes: write `from=\"...\"`, with `\\\"` for a quote inside",
        ),
        (
            "from=\"x\\\"",
            "`from` has no value in quotes: write `from=\"...\"`, with `\\\"` for a quote inside",
        ),
        (
            "from=\"a\",FROM=\"b\"",
            "`from` stands here twice, which sshd does not take: keep one",
        ),
        (
            "from=\"a\"pty",
            "has something right behind `from`: options are joined by `,`",
        ),
        (
            "pty\"",
            "has something right behind `pty`: options are joined by `,`",
        ),
        ("pty=\"x\"", "`pty` takes no value: write `pty`"),
        (
            "pty, restrict",
            "contains a blank outside of quotes: options are joined by `,` alone",
        ),
        (
            "pty,",
            "has an option without a name: options are joined by one `,`, with none at the end",
        ),
        (
            "expiry-time=\"20300101\"",
            "`expiry-time` is one moment, and lines are renewed: write `expires = \"90d\"` in [deploy] instead",
        ),
        (
            "command=\"backup\"",
            "`command` lets nothing else run, so that no command's answer could prove a login with the key: write \
             `verify = \"publickey\"` in [deploy], or take it out",
        ),
        (
            "cert-authority",
            "`cert-authority` makes the key an authority for certificates, and such a key logs nobody in itself: take it out",
        ),
        (
            "verify-required",
            "`verify-required` is for keys of hardware, which keyferry does not make: take it out",
        ),
    ] {
        deploy(
            &format!("options = '{options}'"),
            &[&format!("4:11: `deploy.options`: {expected}")],
        );
    }
    deploy("options = 'command=\"backup\"'\nverify = \"publickey\"", &[]);
    deploy(
        "options = \"from=\\\"x\\\"\\n\"",
        &["4:11: `deploy.options`: contains a control character: take it out"],
    );
    let long = format!("options = 'from=\"{}\"'", "x".repeat(4_090));
    deploy(
        &long,
        &[
            "4:11: `deploy.options`: has 4097 bytes: sshd takes lines of 8 KiB, of which at most 4096 bytes are for options",
        ],
    );
}

#[test]
fn lines_expire_after_a_day_or_later() {
    deploy(
        "expires = \"23h\"",
        &["4:11: `deploy.expires`: `23h` is out of range: 1d to 3650d are allowed"],
    );
}

#[test]
fn logins_are_tried_in_an_order() {
    deploy(
        "login_with = []",
        &["4:14: `deploy.login_with`: is empty: name at least one way to log in, or take it out"],
    );
    deploy(
        "login_with = [\"curent\", \"key:web\", \"key:_\", \"agent:x\", \"run-command\", \"current\", \"current\"]",
        &[
            "4:15: `deploy.login_with`: unknown value `curent`; did you mean `current`?",
            "4:25: `deploy.login_with`: names this very key: write `current`",
            "4:36: `deploy.login_with`: `_` is no key's name: lower-case letters, digits and `-`, at most 48, not beginning \
             with `-`",
            "4:45: `deploy.login_with`: `x` is no fingerprint: write `SHA256:` and 43 characters, as `ssh-keygen -l` shows it",
            "4:56: `deploy.login_with`: `run-command` is not in this version: take it out; another login has to put the line \
             there",
            "4:82: `deploy.login_with`: names `current` twice: keep one",
        ],
    );
    deploy(
        "login_with = [\"current\"]\ncommand = [\"fleet\"]",
        &[
            "4:14: `deploy.login_with`: is how keyferry logs in, and `command` puts the line there instead: keep one of them",
        ],
    );
}

#[test]
fn choices_name_the_nearest_one() {
    deploy(
        "host_keys = \"acept-new\"",
        &["4:13: `deploy.host_keys`: unknown value `acept-new`; did you mean `accept-new`?"],
    );
    deploy(
        "verify = \"pubkey\"",
        &["4:10: `deploy.verify`: unknown value `pubkey`; did you mean `publickey`?"],
    );
    deploy(
        "verify = \"provider\"",
        &[
            "4:10: `deploy.verify`: `provider` is not in this version: write \"session\", or \"publickey\" for hosts that want \
             a second factor",
        ],
    );
    deploy(
        "at_once = 0",
        &["4:11: `deploy.at_once`: 0 is out of range: 1 to 256 are allowed"],
    );
    deploy(
        "canary = 101",
        &["4:10: `deploy.canary`: 101 is out of range: 0 to 100 are allowed"],
    );
}

#[test]
fn keys_of_others_are_named_exactly() {
    let short = &FINGERPRINT[..49];
    deploy(
        &format!("replaces = [\"{FINGERPRINT}\", \"{FINGERPRINT}\", \"{short}\", \"MD5:x\"]"),
        &[
            &format!("4:67: `deploy.replaces`: names `{FINGERPRINT}` twice: keep one"),
            &format!(
                "4:121: `deploy.replaces`: `{short}` is no fingerprint: write `SHA256:` and 43 characters, as `ssh-keygen -l` \
                 shows it"
            ),
            "4:174: `deploy.replaces`: `MD5:x` is no fingerprint: write `SHA256:` and 43 characters, as `ssh-keygen -l` shows \
             it",
        ],
    );
    assert_eq!(
        loaded(&format!("also_trust = [\"{KEY} li@home\"]")).also_trust,
        [KEY]
    );
    let directory = Directory::new();
    let file = directory.beside("id.pub");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let private = directory.beside("id");
    deploy(
        &format!("also_trust = [\"{KEY} a\",\n{file:?},\n{private:?},\n\"id.pub\",\n\"me\"]"),
        &[
            &format!("5:1: `deploy.also_trust`: names `{KEY}` twice: keep one"),
            &format!(
                "6:1: `deploy.also_trust`: {} does not end in `.pub`: name the file of the public half",
                private.display()
            ),
            "7:1: `deploy.also_trust`: is not absolute: begin with `/` or `~/`",
            "8:1: `deploy.also_trust`: holds no public key: one line is wanted, as in `ssh-ed25519 AAAA... comment`",
        ],
    );
}
