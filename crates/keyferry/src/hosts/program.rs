//! Programs of the user's that have to do with hosts.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;
use std::{env, io};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Runs a program with something on its standard input, as credential commands are: by argv, without a shell, in a cleared
/// environment. What it says on standard error is not shown. The error follows `the command NAME`.
pub(crate) async fn run(argv: &[String], input: Vec<u8>, deadline: Duration) -> Result<Vec<u8>, String> {
    run_with(argv, input, deadline, &[]).await
}

/// As [`run`], with these variables of the daemon's environment besides.
pub(crate) async fn run_with(
    argv: &[String],
    input: Vec<u8>,
    deadline: Duration,
    variables: &[&str],
) -> Result<Vec<u8>, String> {
    let (program, arguments) = argv.split_first().ok_or("has no name")?;
    let names = NAMES.iter().chain(variables);
    let environment = names.filter_map(|name| Some((name, env::var_os(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                "was not found: name it with its whole path, or see that PATH has it".to_owned()
            }
            _ => format!("was not started: {error}"),
        })?;
    let mut stdin = child.stdin.take().ok_or("was started without a pipe")?;
    let stdout = child.stdout.take().ok_or("was started without a pipe")?;
    let mut running = Group(child);
    let mut output = Vec::new();
    // One that does not read what it is told is no failure, if it ends well.
    let telling = async move {
        let _ = stdin.write_all(&input).await;
    };
    let reading = async {
        // One byte more than allowed, so that too much is seen.
        let mut limited = stdout.take(MAX_BYTES as u64 + 1);
        limited.read_to_end(&mut output).await?;
        if output.len() > MAX_BYTES {
            return Ok(None);
        }
        running.0.wait().await.map(Some)
    };
    let both = async { tokio::join!(telling, reading).1 };
    let status = match tokio::time::timeout(deadline, both).await {
        Err(_) => return Err(format!("did not finish within {} s", deadline.as_secs())),
        Ok(Err(error)) => return Err(format!("cannot be read: {error}")),
        Ok(Ok(None)) => return Err("prints more than 1 MiB".to_owned()),
        Ok(Ok(Some(status))) => status,
    };
    if status.success() {
        return Ok(output);
    }
    Err(match status.code() {
        Some(code) => format!("failed with exit status {code}"),
        None => format!("was ended by signal {}", status.signal().unwrap_or_default()),
    })
}

/// A program that ends with what it started, unless it has ended by itself.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

const NAMES: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "LANG",
    "LC_ALL",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];
/// No program has more to say.
pub(super) const MAX_BYTES: usize = 1 << 20;
