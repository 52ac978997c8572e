use std::process::Command;

use super::*;

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(Destination::parse(text).unwrap_err(), expected);
}

/// What is taken here is taken by ssh, and means the same to it.
#[test]
fn ssh_understands_what_passes_as_it_is_understood_here() {
    for (text, user, host, port) in [
        ("web-1.prod.example.com", None, "web-1.prod.example.com", None),
        ("deploy@web_1", Some("deploy"), "web_1", None),
        (
            "ops@corp.example.com@bastion",
            Some("ops@corp.example.com"),
            "bastion",
            None,
        ),
        ("10.0.0.7", None, "10.0.0.7", None),
        ("2001:db8::7", None, "2001:db8::7", None),
        ("root@fe80::1", Some("root"), "fe80::1", None),
        ("ssh://web-1", None, "web-1", None),
        ("ssh://deploy@web-1:2222", Some("deploy"), "web-1", Some(2222)),
        ("ssh://10.0.0.7:22", None, "10.0.0.7", Some(22)),
    ] {
        let destination = Destination::parse(text).unwrap();
        assert_eq!(
            (
                destination.as_str(),
                destination.user(),
                destination.host(),
                destination.port()
            ),
            (text, user, host, port)
        );
        let output = Command::new("ssh")
            .args(["-F", "/dev/null", "-G", "--", text])
            .output()
            .expect("ssh can be started");
        let said = String::from_utf8(output.stdout).unwrap();
        let says = |name: &str, value: &str| said.lines().any(|line| line == format!("{name} {value}"));
        assert!(says("hostname", host), "{text}: {said}");
        assert!(user.is_none_or(|user| says("user", user)), "{text}: {said}");
        assert!(says("port", &port.unwrap_or(22).to_string()), "{text}: {said}");
    }
}

#[test]
fn what_ssh_would_take_for_something_else_is_refused() {
    refused(
        "-oProxyCommand=x",
        "`-oProxyCommand=x` begins with `-`, which ssh takes for an option",
    );
    refused(
        "li@-web",
        "`li@-web` begins with `-`, which ssh takes for an option",
    );
    refused(
        "-l@web",
        "`-l@web` begins with `-`, which ssh takes for an option",
    );
    refused(
        "ssh://-web",
        "`ssh://-web` begins with `-`, which ssh takes for an option",
    );
    refused(
        "ssh://-l@web",
        "`ssh://-l@web` has a user that begins with neither a letter, a digit nor `_`",
    );
    refused("a b", "`a b` contains a blank: write one host in each string");
    refused(
        "web;id",
        "`web;id` contains ';': write letters, digits, `.`, `_` and `-`, or an alias of ssh_config",
    );
    refused(
        "web/1",
        "`web/1` contains '/': write letters, digits, `.`, `_` and `-`, or an alias of ssh_config",
    );
    refused(
        "*.example.com",
        "`*.example.com` contains '*': write each host by itself, patterns are not taken here",
    );
    refused(
        "$(id)@web",
        "`$(id)@web` has '$' in its user: name the user in ssh_config",
    );
    refused(
        "@web",
        "`@web` has no user in front of `@`: write one, or take the `@` out",
    );
    refused("li@", "`li@` names no host");
    refused("ssh://", "`ssh://` names no host");
    refused(
        "fe80::1%eth0",
        "`fe80::1%eth0` has a zone behind the address: give it an alias in ssh_config",
    );
    refused(
        "a%b@web",
        "`a%b@web` has '%' in its user: name the user in ssh_config",
    );
    let long = "a".repeat(254);
    assert!(
        Destination::parse(&long)
            .unwrap_err()
            .ends_with(" is longer than 253 characters, which no host's name is")
    );
}

#[test]
fn ports_and_addresses_have_their_way_out() {
    refused(
        "web:2222",
        "`web:2222` has a port behind the name, which ssh does not take: write `ssh://web:2222`",
    );
    refused(
        "li@web:2222",
        "`li@web:2222` has a port behind the name, which ssh does not take: write `ssh://li@web:2222`",
    );
    refused(
        "[::1]",
        "`[::1]` has brackets, which ssh takes for part of the name: write `::1`",
    );
    let form = "is an IPv6 address in a form that ssh does not take: write it by itself, or an alias with HostName and Port \
                in ssh_config";
    refused("[::1]:22", &format!("`[::1]:22` {form}"));
    refused("ssh://[::1]:22", &format!("`ssh://[::1]:22` {form}"));
    refused("ssh://2001:db8::1", &format!("`ssh://2001:db8::1` {form}"));
    refused("[web]", "`[web]` has brackets around what is no IPv6 address");
    refused(
        "ssh://web:0",
        "`ssh://web:0` has a port that is no number from 1 to 65535",
    );
    refused(
        "ssh://web:+22",
        "`ssh://web:+22` has a port that is no number from 1 to 65535",
    );
    refused(
        "ssh://web:65536",
        "`ssh://web:65536` has a port that is no number from 1 to 65535",
    );
    refused(
        "ssh://web/",
        "`ssh://web/` has something behind the host: write `ssh://[user@]name[:port]`, without `/` at the end",
    );
    refused(
        "ssh://_web",
        "`ssh://_web` has a name that a URL cannot hold: it must begin with a letter or digit",
    );
    refused(
        "ssh://a@b@web",
        "`ssh://a@b@web` has '@' in its user, which a URL cannot hold: name the user in ssh_config",
    );
    refused(
        "sftp://web",
        "is no address that ssh takes: write `[user@]name` or `ssh://[user@]name[:port]`",
    );
}

#[test]
fn a_password_is_not_shown() {
    for text in ["ssh://li:HUSH@web", "li:HUSH@web", "http://li:HUSH@web"] {
        assert!(!Destination::parse(text).unwrap_err().contains("HUSH"), "{text}");
    }
    refused(
        "ssh://li:HUSH@web",
        "seems to hold a password, which does not belong in these files: write `user@name`",
    );
}

#[test]
fn a_list_has_one_host_on_a_line() {
    let list = "\u{feff}# web\n  web-1 # the first\r\n\nssh://web-2:22\n\t#web-3\nweb-4";
    assert_eq!(parse_hosts(list).unwrap(), ["web-1", "ssh://web-2:22", "web-4"]);
    assert_eq!(parse_hosts("").unwrap(), [""; 0]);
    let problems = parse_hosts("web-1\n web-2 web-3\nWEB-1\nssh://web-1\nweb:22\n").unwrap_err();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "2:2: has more than one word on a line: write one host on each",
            "3:1: `WEB-1` stands here twice: keep one",
            "4:1: `ssh://web-1` stands here twice: keep one",
            "5:1: `web:22` has a port behind the name, which ssh does not take: write `ssh://web:22`",
        ]
    );
}

#[test]
fn a_list_has_ten_thousand_hosts_at_most() {
    let list = |count: usize| (0..count).map(|n| format!("web-{n}\n")).collect::<String>();
    assert_eq!(parse_hosts(&list(10_000)).unwrap().len(), 10_000);
    let problems = parse_hosts(&list(10_002)).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "10001:1: lists more than 10000 hosts: split them between several keys"
    );
}
