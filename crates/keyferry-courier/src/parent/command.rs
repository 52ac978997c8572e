//! Runs a credential command: by argv, without a shell, in a cleared environment. Its output goes through
//! pipes whose read ends the courier gets; the worker never reads them.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::needs::Hooks;

/// Starts the command. The error follows `the command NAME`.
pub(super) fn start(argv: &[String], hooks: &Hooks) -> Result<(Running, OwnedFd, OwnedFd), String> {
    let Some((program, args)) = argv.split_first() else {
        return Err("has no name: `command` in [credentials] is empty".to_owned());
    };
    let pipe = || std::io::pipe().map_err(|error| format!("was not started: {error}"));
    let (stdout, stdout_writer) = pipe()?;
    let (stderr, stderr_writer) = pipe()?;
    let environment = NAMES
        .iter()
        .filter_map(|&name| Some((OsString::from(name), (hooks.environment)(name)?)));
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(stdout_writer)
        .stderr(stderr_writer)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                "was not found: name it with its whole path, or see that PATH has it".to_owned()
            }
            _ => format!("was not started: {error}"),
        })?;
    Ok((Running { child }, stdout.into(), stderr.into()))
}

/// A command that was started.
pub(super) struct Running {
    child: Child,
}

impl Running {
    /// Waits for its end, and ends it at the deadline together with what it started.
    pub(super) async fn outcome(mut self) -> Result<(), String> {
        let group = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let Ok(ended) = tokio::time::timeout(DEADLINE, self.child.wait()).await else {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait().await;
            return Err(format!("did not finish within {} s", DEADLINE.as_secs()));
        };
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(match (status.code(), status.signal()) {
                (Some(code), _) => format!("failed with exit status {code}"),
                (None, signal) => format!("was ended by signal {}", signal.unwrap_or(0)),
            }),
            Err(error) => Err(format!("cannot be waited for: {error}")),
        }
    }
}

/// What a vendor's tool needs to find itself, its files and its words.
const NAMES: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_TIME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];
const DEADLINE: Duration = Duration::from_secs(30);
