//! Help, completions and streams that close early.

use std::process::Stdio;

use keyferry_tests::home::Home;

use crate::program::{command, keyferry};

/// Every command, as one types it.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["account"],
    &["account", "check"],
    &["account", "policy"],
    &["daemon"],
    &["status"],
    &["check"],
    &["plan"],
    &["rotate"],
    &["rollback"],
    &["retire"],
    &["hold"],
    &["resume"],
    &["exec"],
    &["adopt"],
    &["grant"],
    &["revoke"],
    &["recover"],
    &["history"],
    &["host"],
    &["host", "list"],
    &["host", "trust"],
    &["host", "retry"],
    &["host", "forget"],
    &["refresh"],
    &["orphans"],
    &["init"],
    &["plugin"],
    &["plugin", "list"],
    &["plugin", "info"],
    &["plugin", "request"],
    &["plugin", "add"],
    &["plugin", "remove"],
    &["plugin", "pin"],
    &["plugin", "new"],
    &["plugin", "check"],
    &["ssh-agent"],
    &["completions"],
    &["manual"],
];

#[test]
fn every_help_says_what_the_exit_codes_mean() {
    let home = Home::new();
    for words in COMMANDS {
        for flag in ["--help", "-h"] {
            let arguments: Vec<&str> = words.iter().copied().chain([flag]).collect();
            let ran = keyferry(home.root(), &arguments);
            assert_eq!(ran.code, 0, "{arguments:?}: {ran:#?}");
            for line in [
                "Exit codes:",
                "0  fine",
                "1  something failed",
                "2  the command line was not understood",
                "3  the daemon is not running",
            ] {
                assert!(
                    ran.stdout.contains(line),
                    "{arguments:?}: {line:?} is not in {}",
                    ran.stdout
                );
            }
            let longest = ran.stdout.lines().map(|line| line.chars().count()).max();
            assert!(
                longest <= Some(100),
                "{arguments:?}: a line of {longest:?} characters"
            );
        }
    }
}

/// The list above is that of the program.
#[test]
fn every_command_is_named_in_help() {
    let home = Home::new();
    let listed = |arguments: &[&str]| {
        let ran = keyferry(home.root(), arguments);
        let (_, rest) = ran.stdout.split_once("Commands:\n").expect("help lists commands");
        let (rest, _) = rest.split_once("\n\n").expect("something follows the commands");
        rest.lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .filter(|name| name != "help")
            .collect::<Vec<_>>()
    };
    let of = |parents: &[&str]| {
        COMMANDS
            .iter()
            .filter(|words| words.len() == parents.len() + 1 && words.starts_with(parents))
            .filter_map(|words| words.last().map(|&word| word.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--help"]), of(&[]));
    assert_eq!(listed(&["plugin", "--help"]), of(&["plugin"]));
    assert_eq!(listed(&["host", "--help"]), of(&["host"]));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = keyferry(home.root(), &["completions", shell]);
        assert_eq!(ran.code, 0, "{shell}: {ran:#?}");
        for word in ["keyferry", "status", "ssh-agent", "wait"] {
            assert!(ran.stdout.contains(word), "{shell}: no {word}");
        }
        assert!(
            !ran.stdout.contains("internal"),
            "{shell}: completes what is not for people"
        );
    }
    let mut bash = std::process::Command::new("bash")
        .args(["-n", "/dev/stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash can be started");
    let script = keyferry(home.root(), &["completions", "bash"]).stdout;
    std::io::Write::write_all(&mut bash.stdin.take().expect("a pipe"), script.as_bytes())
        .expect("bash reads");
    assert!(
        bash.wait().expect("bash ends").success(),
        "bash does not take the script"
    );
}

#[test]
fn every_command_for_people_has_a_manual_page() {
    let home = Home::new();
    let directory = home.root().join("man/man1");
    let ran = keyferry(home.root(), &["manual", &directory.display().to_string()]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for (page, word) in [
        ("keyferry.1", "keyferry\\-status(1)"),
        ("keyferry-daemon.1", "SIGHUP"),
        ("keyferry-plugin-request.1", "page_size"),
        ("keyferry-ssh-agent.1", "socket"),
    ] {
        let text = std::fs::read_to_string(directory.join(page)).expect(page);
        assert!(text.contains(word), "{page} has no {word}: {text}");
    }
    assert!(
        !directory.join("keyferry-internal.1").exists(),
        "a page for what is not for people"
    );
    let ran = keyferry(home.root(), &["manual", "/dev/null/man1"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("/dev/null/man1"), "{ran:#?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    for arguments in [
        &["completions", "zsh"][..],
        &["plugin", "info", "alibaba-ecs"],
        &["plugin", "info", "alibaba-ecs", "--json"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let output = command(home.root())
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("keyferry can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(stderr.is_empty(), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_version_is_printed() {
    let home = Home::new();
    let ran = keyferry(home.root(), &["--version"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stdout.trim(),
        format!("keyferry {}", env!("CARGO_PKG_VERSION"))
    );
}
