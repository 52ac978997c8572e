//! 0 fine, 1 something failed, 2 usage, 3 no daemon: for every command.

use std::fs;

use cloud_sim::Service;
use keyferry_tests::build::workspace;
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;

use crate::program::{KEY, keyferry, text};

#[track_caller]
fn check(home: &Home, arguments: &[&str], code: i32, words: &[&str]) {
    let ran = keyferry(home.root(), arguments);
    assert_eq!(ran.code, code, "keyferry {arguments:?}: {ran:#?}");
    for word in words {
        assert!(
            ran.stdout.contains(word) || ran.stderr.contains(word),
            "keyferry {arguments:?}: {word} is not in {ran:#?}"
        );
    }
    // Whatever went wrong is said on standard error, where a script's `$(...)` does not swallow it.
    if code > 1 {
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "keyferry {arguments:?}: {ran:#?}"
        );
    }
}

#[test]
fn three_when_no_daemon_answers() {
    let home = Home::new();
    let run = text(&home.path("run"));
    let words = ["the daemon is not running", "keyferry daemon", "control.sock"];
    check(&home, &["status", "--runtime", &run], 3, &words);
    check(
        &home,
        &["status", "--json", "--wait=1", "--runtime", &run],
        3,
        &words,
    );
    check(&home, &["resume", "--runtime", &run], 3, &words);
    check(&home, &["resume", "web", "--runtime", &run], 3, &words);
    // Something that is no daemon any more.
    drop(
        std::os::unix::net::UnixListener::bind(home.path("run/control.sock")).expect("a socket can be bound"),
    );
    check(&home, &["status", "--runtime", &run], 3, &words);
}

#[test]
fn two_when_the_command_line_is_not_understood() {
    let home = Home::new();
    let run = text(&home.path("run"));
    check(&home, &[], 2, &["Usage: keyferry", "Exit codes"]);
    check(&home, &["statsu"], 2, &["'status'"]);
    check(&home, &["status", "--jsn"], 2, &["'--json'"]);
    check(&home, &["status", "--wait=soon"], 2, &["--wait", "soon"]);
    check(&home, &["status", "--wait=-1"], 2, &["--wait"]);
    check(&home, &["status", "extra", "--runtime", &run], 2, &["extra"]);
    check(&home, &["check", "a", "b"], 2, &["'b'"]);
    check(&home, &["resume", "--all"], 2, &["--all"]);
    check(&home, &["daemon", "--runtime"], 2, &["--runtime"]);
    check(&home, &["plugin"], 2, &["list", "info", "request"]);
    check(&home, &["plugin", "info"], 2, &["<NAME>"]);
    check(
        &home,
        &["plugin", "request", "alibaba-ecs"],
        2,
        &["--operation", "--account"],
    );
    check(&home, &["ssh-agent", "-a", &run], 2, &["-D"]);
    check(&home, &["ssh-agent", "-D"], 2, &["-a"]);
    check(
        &home,
        &["ssh-agent", "-D", "-a", &run, "-t", "soon"],
        2,
        &["is not a lifetime", "90m"],
    );
    check(&home, &["completions", "tcsh"], 2, &["bash", "zsh"]);
    check(&home, &["internal", "nothing"], 2, &["courier"]);
}

#[test]
fn one_when_something_failed() {
    let home = Home::new();
    let missing = text(&home.path("nowhere"));
    check(
        &home,
        &["check", &missing],
        1,
        &["there is no config directory at", "keyferry init"],
    );
    check(
        &home,
        &["plugin", "info", "alibaba-esc"],
        1,
        &["alibaba-esc", "alibaba-ecs"],
    );
    let account = text(&home.path("nowhere.toml"));
    check(
        &home,
        &[
            "plugin",
            "request",
            "alibaba-ecs",
            "--operation",
            "list",
            "--account",
            &account,
        ],
        1,
        &["there is no account file", "nowhere.toml"],
    );
    // A file for the directory, and the daemon's way of naming it.
    home.write("keyferry.toml", "");
    let file = text(&home.config().join("keyferry.toml"));
    check(
        &home,
        &["check", &file],
        1,
        &["is a file", "name the config directory"],
    );
    check(
        &home,
        &["check", "--config", &text(&home.config())],
        0,
        &["1 of 1 files are fine"],
    );
    fs::remove_file(&file).expect("a file can be removed");
    home.key("web", "account = \"ecs\"\n");
    check(
        &home,
        &["check", &text(&home.config())],
        1,
        &["keys/web.toml:1:11", "no account `ecs`"],
    );
    fs::remove_file(home.config().join("keys/web.toml")).expect("a file can be removed");
    check(
        &home,
        &["check", &text(&home.config())],
        0,
        &["0 of 0 files are fine"],
    );
}

#[test]
fn zero_one_and_names_with_a_daemon() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", KEY);
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    let run = text(&home.path("run"));
    check(
        &home,
        &["status", "--runtime", &run],
        0,
        &["web", "loaded", "SHA256:"],
    );
    check(&home, &["status", "--wait", "--runtime", &run], 0, &["web"]);
    check(&home, &["status", "--wait=0", "--runtime", &run], 0, &["web"]);
    check(&home, &["resume", "--runtime", &run], 0, &["nothing to resume"]);
    check(
        &home,
        &["resume", "wbe", "--runtime", &run],
        1,
        &["wbe", "keyferry status"],
    );
    check(&home, &["resume", "web", "wbe", "--runtime", &run], 1, &["wbe"]);
    check(
        &home,
        &["resume", "web", "--runtime", &run],
        0,
        &["nothing to resume"],
    );
    let removed = keyferry_tests::openssh::ssh_add(&home.agent_socket(), &["-D"]);
    assert!(removed.status.success());
    check(&home, &["status", "--wait", "--runtime", &run], 0, &["held"]);
    check(&home, &["resume", "--runtime", &run], 0, &["resumed: web"]);
    check(&home, &["status", "--wait", "--runtime", &run], 0, &["loaded"]);
}

/// Nobody is left waiting by a process that was stopped, not ended.
#[test]
fn one_when_the_daemon_says_nothing() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    daemon.signal(rustix::process::Signal::STOP);
    let run = text(&home.path("run"));
    let words = ["does not answer", "is it stopped?", "control.sock"];
    std::thread::scope(|scope| {
        scope.spawn(|| check(&home, &["status", "--runtime", &run], 1, &words));
        scope.spawn(|| check(&home, &["status", "--wait=0", "--runtime", &run], 1, &words));
        scope.spawn(|| check(&home, &["resume", "--runtime", &run], 1, &words));
    });
    daemon.signal(rustix::process::Signal::CONT);
    check(&home, &["status", "--runtime", &run], 0, &["no keys yet"]);
}

/// What the project ships is what a newcomer copies: all of it must pass.
#[test]
fn check_passes_every_shipped_file() {
    let home = Home::new();
    let shipped = workspace().join("config");
    let mut files = 0;
    for folder in ["", "accounts", "keys"] {
        for entry in fs::read_dir(shipped.join(folder)).expect("config/ is shipped") {
            let path = entry.expect("a folder can be listed").path();
            files += usize::from(path.extension().is_some_and(|ending| ending == "toml"));
        }
    }
    assert!(files >= 4, "{files} files in {}", shipped.display());
    check(
        &home,
        &["check", &text(&shipped)],
        0,
        &[&format!("{files} of {files} files are fine")],
    );
}
