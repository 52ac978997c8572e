//! A running daemon.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::build::built;
use crate::home::Home;
use crate::processes::{self, Process};

/// A daemon on a [`Home`]. Ended on drop; its log is printed when the case fails.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
    runtime: PathBuf,
}

/// Whatever machine the tests run on, its metadata service is none of theirs.
pub const NO_METADATA: [(&str, &str); 3] = [
    ("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("VOLCENGINE_ECS_METADATA_DISABLED", "true"),
];

/// How to start a daemon.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Runs instead of the program, which it gets as its arguments (`strace -f ...`).
    pub wrapper: Vec<String>,
    /// The log level; none: the program's default.
    pub log: Option<String>,
    /// More variables for its environment.
    pub environment: Vec<(String, String)>,
    /// More arguments.
    pub arguments: Vec<String>,
    /// Another program to start than the one that was built.
    pub program: Option<PathBuf>,
}

impl Daemon {
    /// Starts a daemon and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it is not ready within 30 s.
    #[track_caller]
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &Options::default())
    }

    /// As [`Daemon::start`], with options.
    ///
    /// # Panics
    /// When it is not ready within 30 s.
    #[track_caller]
    pub fn start_with(home: &Home, options: &Options) -> Self {
        let daemon = Self::launch(home, options);
        assert!(
            daemon.wait_for_log(" ready", Duration::from_secs(30)),
            "the daemon is not ready: {}",
            daemon.log()
        );
        daemon
    }

    /// Starts a daemon without waiting for it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn launch(home: &Home, options: &Options) -> Self {
        let program = options.program.clone().unwrap_or_else(|| built().keyferry());
        let mut words: Vec<String> = options.wrapper.clone();
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("daemon");
        for (flag, folder) in [("--config", "config"), ("--state", "state"), ("--runtime", "run")] {
            command.arg(flag).arg(home.path(folder));
        }
        command.args(&options.arguments);
        command
            .env_clear()
            .env("HOME", home.root())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(NO_METADATA);
        if let Some(level) = &options.log {
            command.env("KEYFERRY_LOG", level);
        }
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the daemon can be started");
        let log = Arc::new(Log::default());
        let lines = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                writer.push(&String::from_utf8_lossy(&line));
            }
            writer.end();
        });
        Self {
            child,
            log,
            runtime: home.path("run"),
        }
    }

    /// The number of the worker, which is the process that was started (or the wrapper's).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its couriers and sandboxes.
    pub fn children(&self) -> Vec<Process> {
        processes::descendants(self.child.id())
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log
            .state
            .lock()
            .expect("no thread panics with the log")
            .text
            .clone()
    }

    /// Waits until the log holds `text`; whether it does.
    pub fn wait_for_log(&self, text: &str, deadline: Duration) -> bool {
        self.log.wait_for(text, deadline)
    }

    /// Runs `keyferry` with these arguments and `--runtime`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn keyferry(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(built().keyferry());
        command.args(arguments).arg("--runtime").arg(&self.runtime);
        command.output().expect("keyferry can be started")
    }

    /// `keyferry status --json`.
    ///
    /// # Panics
    /// When it does not print JSON.
    #[track_caller]
    pub fn status(&self) -> Value {
        let output = self.keyferry(&["status", "--json"]);
        parse(&output)
    }

    /// `keyferry status --json --wait=SECONDS`: its exit code and what it printed.
    ///
    /// # Panics
    /// When it does not print JSON.
    #[track_caller]
    pub fn wait(&self, seconds: u64) -> (i32, Value) {
        let output = self.keyferry(&["status", "--json", &format!("--wait={seconds}")]);
        (output.status.code().unwrap_or(-1), parse(&output))
    }

    /// Waits until all keys are loaded.
    ///
    /// # Panics
    /// When one is not.
    #[track_caller]
    pub fn wait_loaded(&self, seconds: u64) -> Value {
        let (code, status) = self.wait(seconds);
        assert_eq!(code, 0, "not all loaded: {status:#}\n{}", self.log());
        status
    }

    /// One key of `keyferry status --json`.
    ///
    /// # Panics
    /// When it is not listed.
    #[track_caller]
    pub fn key(&self, name: &str) -> Value {
        find(&self.status(), name)
    }

    /// kill -9 of the worker. Couriers and sandboxes are left to notice.
    pub fn kill(&mut self) {
        processes::kill(self.child.id());
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and waits for it; its exit code.
    ///
    /// # Panics
    /// When it does not end within 20 s.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < end, "the daemon does not end: {}", self.log());
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the worker.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().ok().flatten().is_some()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let children = self.children();
        self.kill();
        for child in children {
            child.kill();
        }
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- log of the daemon ---\n{}---", self.log());
        }
    }
}

/// One key of a status.
///
/// # Panics
/// When it is not listed.
#[track_caller]
pub fn find(status: &Value, name: &str) -> Value {
    let keys = status["keys"].as_array().expect("keys is a list");
    keys.iter()
        .find(|key| key["name"] == name)
        .unwrap_or_else(|| panic!("no key {name} in {status:#}"))
        .clone()
}

#[track_caller]
fn parse(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "not JSON ({error}): {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    text: String,
    ended: bool,
}

impl Log {
    fn push(&self, line: &str) {
        let mut state = self.state.lock().expect("no thread panics with the log");
        state.text.push_str(line);
        state.text.push('\n');
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().expect("no thread panics with the log").ended = true;
        self.changed.notify_all();
    }

    fn wait_for(&self, text: &str, deadline: Duration) -> bool {
        let state = self.state.lock().expect("no thread panics with the log");
        let (state, _) = self
            .changed
            .wait_timeout_while(state, deadline, |state| {
                !state.ended && !state.text.contains(text)
            })
            .expect("no thread panics with the log");
        state.text.contains(text)
    }
}
