//! `keyferry exec` with real sshd: a command's own key logs in, and however the command ends, nothing is left of it.

#[expect(dead_code, reason = "the cases of rotations use more of it")]
#[path = "rotation/scene.rs"]
mod scene;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::fleet::Shell;
use keyferry_tests::{processes, wait};
use serde_json::Value;

use scene::{DEADLINE, NO_GRACE, Scene, lines, said};

const EXEC: &str = "web-exec-1";

/// `keyferry exec` whose command waits for the end of its standard input.
struct Exec {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
}

impl Exec {
    /// Starts `sh -c` with a script after which it waits, and reads the first line that it prints.
    fn start(scene: &Scene, arguments: &[&str], script: &str) -> (Self, String) {
        let mut child = command(scene, arguments)
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keyferry can be started");
        let mut exec = Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("it is a pipe")),
            errors: BufReader::new(child.stderr.take().expect("it is a pipe")),
            child,
        };
        let first = exec.line();
        if first.is_empty() {
            let mut why = String::new();
            let _ = exec.errors.read_to_string(&mut why);
            panic!("the command was not started: {why}\n{}", scene.daemon.log());
        }
        (exec, first)
    }

    /// The next line that the command prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it can be read");
        line.trim_end().to_owned()
    }

    /// Ends the command's input, and waits: the exit code, and what was said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let code = self.child.wait().expect("a child can be waited for").code();
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).expect("it can be read");
        (code, errors)
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command
        // Whoever runs the tests in the background may have them ignore signals, and exec would go on doing so.
        .arg("--default-signal=HUP,INT,QUIT,TERM")
        .arg(built().keyferry())
        .args(["exec", "--runtime"])
        .arg(scene.home.path("run"))
        .args(arguments);
    command
}

/// Runs a command to its end.
fn run(scene: &Scene, arguments: &[&str], words: &[&str]) -> Output {
    let mut command = command(scene, arguments);
    let command = command.arg("--").args(words).stdin(Stdio::null());
    command.output().expect("keyferry can be started")
}

/// Only the lines and the pair of the key that a file declares: now, without waiting.
#[track_caller]
fn assert_nothing_is_left(scene: &Scene) {
    for host in scene.fleet.hosts() {
        assert!(lines(host, host.user(), EXEC).is_empty(), "{}", host.name());
        assert_eq!(lines(host, host.user(), "web").len(), 1, "{}", host.name());
    }
    let pairs = scene.pairs();
    assert!(
        pairs.len() == 1 && !pairs.keys().any(|name| name.contains("exec")),
        "{pairs:#?}"
    );
    let status = scene.daemon.status();
    assert_eq!(status["keys"].as_array().map(Vec::len), Some(1), "{status:#}");
}

#[test]
fn a_command_logs_in_with_a_key_of_its_own_that_goes_with_it() {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Fish]);
    scene.deploy("web", NO_GRACE);
    scene.leave_only_ours();
    let config = scene.fleet.agent_config();
    let script = format!(
        "echo $SSH_AUTH_SOCK; ssh-add -L; \
         for host in web-1 web-2; do ssh -F {} $host echo in at $host </dev/null; done; cat; exit 7",
        config.display()
    );
    let (mut exec, socket) = Exec::start(&scene, &["--key", "web", "--for", "10m"], &script);
    let listed = exec.line();
    assert_eq!(exec.line(), "in at web-1", "{}", scene.daemon.log());
    assert_eq!(exec.line(), "in at web-2");

    let public_key = scene.public_key(EXEC, 1);
    assert!(listed.starts_with(&public_key), "{listed} is not {public_key}");
    for host in scene.fleet.hosts() {
        let there = lines(host, host.user(), EXEC);
        assert!(
            there.len() == 1 && there[0].public_key == public_key,
            "{}: {there:#?}",
            host.name()
        );
        assert!(
            String::from_utf8_lossy(&host.authorized_keys()).contains("expiry-time="),
            "its line ends by itself"
        );
    }
    assert_eq!(scene.pairs().len(), 2);
    let mode = std::fs::metadata(&socket)
        .expect("the socket is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Everybody else is shown the other one.
    let everybody = Command::new("ssh-add")
        .arg("-L")
        .env("SSH_AUTH_SOCK", scene.home.agent_socket())
        .output()
        .expect("ssh-add can be started");
    let everybody = String::from_utf8_lossy(&everybody.stdout).into_owned();
    assert_eq!(everybody.lines().count(), 1, "{everybody}");
    assert!(!everybody.contains(&public_key), "{everybody}");
    let shown = find(&scene.daemon.status(), EXEC);
    assert_eq!(shown["exec"]["after"], "web", "{shown:#}");
    let text = said(&scene.daemon.keyferry(&["status"]));
    assert!(text.contains("for one command, after web"), "{text}");

    let (code, errors) = exec.end();
    assert_eq!(code, Some(7), "{errors}");
    assert_eq!(errors, "");
    assert_nothing_is_left(&scene);
    assert!(!Path::new(&socket).exists());
    let history = said(&scene.daemon.keyferry(&["history", EXEC]));
    for words in [
        "for one command (after web)",
        "was put on",
        "was taken off",
        "was deleted",
    ] {
        assert!(history.contains(words), "{words}: {history}");
    }
}

#[test]
fn exit_codes_and_signals_are_the_commands() {
    let mut scene = Scene::of_shells(&[]);
    scene
        .home
        .key("plain", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
    scene.daemon.wait_loaded(60);
    let plain = ["--key", "plain"];
    // keyferry dumps no core; what it starts may, where it might before.
    let limit = ["sh", "-c", "ulimit -H -c"];
    let own = Command::new(limit[0])
        .args(&limit[1..])
        .output()
        .expect("sh can be started");
    let output = run(&scene, &plain, &limit);
    assert_eq!(output.stdout, own.stdout, "{}", said(&output));
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)] {
        let output = run(&scene, &plain, &["sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", said(&output));
        assert!(output.stderr.is_empty(), "{script}: {}", said(&output));
    }
    assert_eq!(scene.pairs().len(), 1, "{:#?}", scene.pairs());

    for (signal, code) in [("-TERM", 143), ("-HUP", 129), ("-INT", 130)] {
        let (mut exec, _) = Exec::start(&scene, &plain, "echo started; exec cat");
        let sent = Command::new("kill")
            .args([signal, &exec.child.id().to_string()])
            .status();
        assert!(sent.expect("kill can be started").success());
        let ended = exec.child.wait().expect("a child can be waited for");
        assert_eq!(ended.code(), Some(code), "{signal}");
    }

    let not_started = |output: &Output, code: i32, words: &str| {
        let text = said(output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("was not started") && text.contains(words), "{text}");
    };
    not_started(&run(&scene, &plain, &["/no/such/program"]), 1, "/no/such/program");
    not_started(
        &run(&scene, &["--key", "plian"], &["true"]),
        1,
        "there is no key named plian",
    );
    let usage = run(&scene, &["--key", "plain", "--for", "25h"], &["true"]);
    assert_eq!(usage.status.code(), Some(2), "{}", said(&usage));
    wait::until("nothing is left", DEADLINE, || {
        (scene.pairs().len() == 1).then_some(())
    });
    scene.daemon.stop();
    not_started(&run(&scene, &plain, &["true"]), 3, "the daemon is not running");
}

#[test]
fn signals_that_were_ignored_stay_so() {
    let scene = Scene::of_shells(&[]);
    scene
        .home
        .key("plain", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
    scene.daemon.wait_loaded(60);
    let inner = "kill -HUP $PPID; kill -INT $PPID; kill -HUP $$; kill -INT $$; echo lives on; cat; exit 5";
    let exec = command(&scene, &["--key", "plain", "--", "sh", "-c", inner]);
    // As under nohup, and in the background of a script: in place of what sees to it that none is ignored.
    let mut started = Command::new("sh");
    started.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]);
    started.args(exec.get_args().skip(1));
    let output = started.stdin(Stdio::null()).output().expect("sh can be started");
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("lives on"), "{}", said(&output));
    assert_eq!(scene.pairs().len(), 1, "{:#?}", scene.pairs());
}

#[test]
fn it_goes_when_the_client_is_killed() {
    let scene = Scene::of_shells(&[Shell::Dash]);
    scene.deploy("web", NO_GRACE);
    let (exec, _) = Exec::start(&scene, &["--key", "web"], "echo started; exec cat");
    assert_eq!(scene.pairs().len(), 2);
    processes::kill(exec.child.id());
    wait_until_nothing_is_left(&scene, 1);
}

#[test]
fn it_goes_when_the_daemon_was_killed_and_is_started_again() {
    let mut scene = Scene::of_shells(&[Shell::Bash]);
    scene.deploy("web", NO_GRACE);
    let (exec, _) = Exec::start(&scene, &["--key", "web"], "echo started; exec cat");
    let children = scene.daemon.children();
    scene.daemon.kill();
    for child in children {
        child.kill();
    }
    assert_eq!(scene.pairs().len(), 2);
    scene.daemon = Daemon::start(&scene.home);
    scene.wait_verified("web", 2);
    // The command still runs, and so does who asked for its key: nobody believes them.
    wait_until_nothing_is_left(&scene, 2);
    let (code, errors) = exec.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("the daemon is gone"), "{errors}");
}

#[track_caller]
fn wait_until_nothing_is_left(scene: &Scene, generation: u64) {
    scene.wait_for_only_everywhere("web", generation);
    let keys = |status: &Value| status["keys"].as_array().map(Vec::len);
    wait::until("the key for the command is over", DEADLINE, || {
        (keys(&scene.daemon.status()) == Some(1)).then_some(())
    });
    assert_nothing_is_left(scene);
}

#[test]
fn hosts_that_are_down_are_named_and_done_without_unless_all_are_wanted() {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Dash]);
    scene.deploy("web", NO_GRACE);
    scene.fleet.host("web-2").stop();
    let output = run(&scene, &["--key", "web"], &["sh", "-c", "exit 4"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(
        said(&output).contains("not on every host: web-2"),
        "{}",
        said(&output)
    );
    for (arguments, words) in [
        (
            &["--key", "web", "--wait=30", "--all-hosts"][..],
            "each of its hosts",
        ),
        (&["--key", "web", "--wait=3"], "any of its hosts"),
    ] {
        if !arguments.contains(&"--all-hosts") {
            scene.fleet.host("web-1").stop();
        }
        let output = run(&scene, arguments, &["sh", "-c", "exit 4"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("sh was not started") && text.contains(words),
            "{text}"
        );
        assert!(text.contains("web-2"), "{text}");
    }
    for name in ["web-1", "web-2"] {
        scene.fleet.host(name).start();
    }
    wait_until_nothing_is_left(&scene, 1);
}
