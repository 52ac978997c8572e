//! Where the daemon listens: two daemons, sockets left behind, paths that are too long.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cloud_sim::Service;
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::{openssh, wait};

use crate::program::{KEY, keyferry, text};

/// How a daemon that must not start ends: its exit code and its log.
#[track_caller]
fn refused(home: &Home, arguments: &[&str]) -> (i32, String) {
    let mut command = crate::program::command(home.root());
    let mut child = command
        .arg("daemon")
        .args(arguments)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("keyferry can be started");
    let code = wait::until("the daemon ends", Duration::from_secs(20), || {
        child.try_wait().expect("a child can be waited for")
    });
    let mut log = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    std::io::Read::read_to_string(&mut stderr, &mut log).expect("text");
    (code.code().unwrap_or(-1), log)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[test]
fn connections_that_say_nothing_keep_no_command_out() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let silent: Vec<UnixStream> = (0..400)
        .map(|_| UnixStream::connect(home.path("run/control.sock")).expect("the daemon listens"))
        .collect();
    // Each of them would have its five seconds, 64 at a time, and a command waits for 15 at most.
    assert!(daemon.status()["keys"].is_array());
    drop(silent);
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", KEY);
    let daemon = Daemon::start(&home);
    let status = daemon.wait_loaded(60);
    let (config, state, run) = (
        text(&home.config()),
        text(&home.path("state")),
        text(&home.path("run")),
    );
    fs::create_dir(home.path("run2")).expect("a folder can be made");
    fs::create_dir(home.path("state2")).expect("a folder can be made");
    for folder in ["run2", "state2"] {
        fs::set_permissions(home.path(folder), fs::Permissions::from_mode(0o700)).expect("modes can be set");
    }
    let (run2, state2) = (text(&home.path("run2")), text(&home.path("state2")));
    for (state, run, agent, words) in [
        // The same in everything.
        (&state, &run, None, &["state", "another"][..]),
        // The same state: two would make and delete each other's pairs.
        (&state, &run2, None, &["state", "another"]),
        // The same sockets.
        (&state2, &run, None, &["agent.sock", "another"]),
        // The same control socket alone.
        (
            &state2,
            &run,
            Some(text(&home.path("run2/agent.sock"))),
            &["control.sock", "another"],
        ),
    ] {
        let mut arguments = vec!["--config", &config, "--state", state, "--runtime", run];
        arguments.extend(agent.iter().flat_map(|path| ["--agent-socket", path]));
        let (code, log) = refused(&home, &arguments);
        assert_eq!(code, 1, "{log}");
        for word in words {
            assert!(log.contains(word), "{word} is not in {log}");
        }
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(daemon.status()["keys"], status["keys"]);
        assert_eq!(openssh::listed(&home.agent_socket()).len(), 1);
    }
}

#[test]
fn sigterm_ends_it_well_and_takes_its_sockets_away() {
    let home = Home::new();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut daemon = Daemon::start(&home);
        for name in ["run/agent.sock", "run/control.sock"] {
            assert!(is_socket(&home.path(name)), "{name}");
            let mode = fs::metadata(home.path(name))
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
        }
        daemon.signal(signal);
        wait::until("the daemon ends", Duration::from_secs(20), || {
            daemon.has_ended().then_some(())
        });
        assert_eq!(daemon.stop(), Some(0), "{}", daemon.log());
        for name in ["run/agent.sock", "run/control.sock"] {
            assert!(!home.path(name).exists(), "{name} is still there");
        }
        assert_eq!(
            keyferry(home.root(), &["status", "--runtime", &text(&home.path("run"))]).code,
            3
        );
    }
}

#[test]
fn sockets_left_behind_are_replaced_and_nothing_else_is() {
    let home = Home::new();
    let mut daemon = Daemon::start(&home);
    daemon.kill();
    for name in ["run/agent.sock", "run/control.sock"] {
        assert!(is_socket(&home.path(name)), "kill -9 leaves {name}");
    }
    let mut daemon = Daemon::start(&home);
    assert_eq!(daemon.keyferry(&["status"]).status.code(), Some(0));
    // An agent without keys answers 1, none at all 2.
    assert_eq!(
        openssh::ssh_add(&home.agent_socket(), &["-l"]).status.code(),
        Some(1)
    );
    assert_eq!(daemon.stop(), Some(0));

    // A file and a link in a socket's place are somebody's: they stay.
    let (config, state, run) = (
        text(&home.config()),
        text(&home.path("state")),
        text(&home.path("run")),
    );
    let arguments = ["--config", &config, "--state", &state, "--runtime", &run];
    for name in ["agent.sock", "control.sock"] {
        let path = home.path("run").join(name);
        fs::write(&path, "precious").expect("a file can be written");
        let (code, log) = refused(&home, &arguments);
        assert_eq!(code, 1, "{log}");
        assert!(log.contains(name), "{log}");
        assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
        fs::remove_file(&path).expect("a file can be removed");
        symlink("/nowhere", &path).expect("a link can be made");
        let (code, log) = refused(&home, &arguments);
        assert_eq!(code, 1, "{log}");
        assert!(path.is_symlink(), "the link is gone");
        fs::remove_file(&path).expect("a file can be removed");
    }
}

#[test]
fn the_agents_socket_is_where_the_flag_or_the_file_has_it() {
    let home = Home::new();
    let (flag, file) = (home.path("flag.sock"), home.path("file.sock"));
    home.write(
        "keyferry.toml",
        &format!("[agent]\nsocket = \"{}\"\n", file.display()),
    );
    let answers = |path: &Path| openssh::ssh_add(path, &["-l"]).status.code() == Some(1);
    {
        let mut daemon = Daemon::start(&home);
        assert!(answers(&file) && !home.agent_socket().exists());
        assert!(
            daemon
                .log()
                .contains(&format!("SSH_AUTH_SOCK={}", file.display())),
            "{}",
            daemon.log()
        );
        assert_eq!(daemon.stop(), Some(0));
    }
    let options = Options {
        arguments: vec!["--agent-socket".to_owned(), text(&flag)],
        ..Options::default()
    };
    let daemon = Daemon::start_with(&home, &options);
    assert!(answers(&flag) && !file.exists() && !home.agent_socket().exists());
    drop(daemon);
    // A relative path on the command line is one from where the user is.
    let mut child = crate::program::command(home.root())
        .current_dir(home.root())
        .args([
            "daemon",
            "--config",
            "config",
            "--state",
            "state",
            "--runtime",
            "run",
            "--agent-socket",
            "here.sock",
        ])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("keyferry can be started");
    wait::until("here.sock answers", Duration::from_secs(20), || {
        answers(&home.path("here.sock")).then_some(())
    });
    child.kill().expect("a child can be ended");
    child.wait().expect("a child can be waited for");
}

#[test]
fn a_path_that_no_socket_can_have_is_refused_with_its_length() {
    let home = Home::new();
    let (config, state) = (text(&home.config()), text(&home.path("state")));
    let long = |length: usize| {
        let base = text(&home.path("s"));
        format!("{base}{}", "x".repeat(length - base.len()))
    };
    let run = text(&home.path("run"));
    let common = ["--config", &config, "--state", &state];
    let (code, log) = refused(
        &home,
        &[&common[..], &["--runtime", &run, "--agent-socket", &long(108)]].concat(),
    );
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("108 bytes") && log.contains("107"), "{log}");
    // A runtime directory of that length: the control socket does not fit either.
    let (code, log) = refused(&home, &[&common[..], &["--runtime", &long(100)]].concat());
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("107"), "{log}");
    // The control socket fits, and those of logins do not.
    let (code, log) = refused(&home, &[&common[..], &["--runtime", &long(90)]].concat());
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("115 bytes") && log.contains("--runtime"), "{log}");
    // One byte less is fine.
    let options = Options {
        arguments: vec!["--agent-socket".to_owned(), long(107)],
        ..Options::default()
    };
    let _daemon = Daemon::start_with(&home, &options);
    assert_eq!(
        openssh::ssh_add(Path::new(&long(107)), &["-l"]).status.code(),
        Some(1)
    );
}

#[test]
fn a_runtime_directory_that_others_could_use_is_refused() {
    let home = Home::new();
    let (config, state, run) = (
        text(&home.config()),
        text(&home.path("state")),
        text(&home.path("run")),
    );
    fs::set_permissions(home.path("run"), fs::Permissions::from_mode(0o777)).expect("modes can be set");
    let (code, log) = refused(
        &home,
        &["--config", &config, "--state", &state, "--runtime", &run],
    );
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("others may write") && log.contains("chmod 700"),
        "{log}"
    );
    let missing = text(&home.path("not/there"));
    let (code, log) = refused(
        &home,
        &["--config", &config, "--state", &state, "--runtime", &missing],
    );
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("parent directory does not exist"), "{log}");
    let lost = text(&home.path("not/there.sock"));
    fs::set_permissions(home.path("run"), fs::Permissions::from_mode(0o700)).expect("modes can be set");
    let (code, log) = refused(
        &home,
        &[
            "--config",
            &config,
            "--state",
            &state,
            "--runtime",
            &run,
            "--agent-socket",
            &lost,
        ],
    );
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("there is no folder") && log.contains("make it"),
        "{log}"
    );
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named_with_the_way_out() {
    let home = Home::new();
    let (config, run) = (text(&home.config()), text(&home.path("run")));
    let start = |state: &str| refused(&home, &["--config", &config, "--runtime", &run, "--state", state]);
    let file = home.path("file");
    fs::write(&file, "precious").expect("a file can be written");
    let (code, log) = start(&text(&file));
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("is not a directory") && log.contains("--state"),
        "{log}"
    );
    fs::write(
        home.ledger(),
        "no ledger at all, and long enough to be looked at as one",
    )
    .expect("a file can be written");
    let (code, log) = start(&text(&home.path("state")));
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("ledger.sqlite cannot be used") && log.contains("move the file away"),
        "{log}"
    );
    assert!(
        fs::read(home.ledger()).is_ok_and(|bytes| bytes.starts_with(b"no ledger")),
        "it stays as it is"
    );
}

/// Where XDG_RUNTIME_DIR is not set, the folder for all has the runtime directory: somebody else may have made it.
#[test]
fn whoever_was_in_the_folder_for_all_first_is_told_nothing() {
    let home = Home::new();
    let folder = home.path("tmp");
    let uid = rustix::process::geteuid().as_raw();
    let theirs = folder.join(format!("keyferry-{uid}"));
    fs::create_dir_all(&theirs).expect("a folder can be made");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).expect("modes can be set");
    let listener =
        std::os::unix::net::UnixListener::bind(theirs.join("control.sock")).expect("a socket can be bound");
    listener.set_nonblocking(true).expect("a socket has that");
    let key = home.path("id");
    fs::write(&key, "nothing that is sent").expect("a file can be written");
    let key = text(&key);
    for arguments in [
        &["status"][..],
        &["rotate", "web", "--wait"],
        &["adopt", &key, "--account", "ecs", "--hosts", "web-1", "--yes"],
    ] {
        let output = crate::program::command(home.root())
            .env("TMPDIR", &folder)
            .args(arguments)
            .output()
            .expect("keyferry can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("others may write to it"), "{said}");
    }
    assert!(listener.accept().is_err(), "it was connected to");
    // Where there is none, nothing answers.
    fs::remove_dir_all(&theirs).expect("a folder can be removed");
    let output = crate::program::command(home.root())
        .env("TMPDIR", &folder)
        .arg("status")
        .output()
        .expect("keyferry can be started");
    assert_eq!(output.status.code(), Some(3));
}
