//! What `ssh -G` says a destination stands for.

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::time::timeout;

use super::Ssh;
use super::connection::end_group;
use super::diagnosis::{cleaned, failure, settings};
use crate::contract::{Host, HostError, HostErrorKind, Reply};

impl Ssh {
    pub(super) async fn resolve(&self, host: &Host) -> Result<Reply, HostError> {
        let settings = self.settings(host).await?;
        let port = settings.first("port").and_then(|port| port.parse().ok());
        let (Some(host_name), Some(port), Some(user)) =
            (settings.first("hostname"), port, settings.first("user"))
        else {
            return Err(failure(
                HostErrorKind::Settings,
                format!("`ssh -G {}` names no host, port and user", host.destination),
                "see what that command prints".to_owned(),
            ));
        };
        Ok(Reply::Resolved {
            host_name: host_name.to_owned(),
            port,
            user: user.to_owned(),
            host_key_alias: settings.first("hostkeyalias").map(str::to_owned),
        })
    }

    /// The known_hosts files that ssh uses for a host, the user's first.
    pub(super) async fn known_hosts(&self, host: &Host) -> Result<Vec<PathBuf>, HostError> {
        let settings = self.settings(host).await?;
        let home = std::env::home_dir().unwrap_or_default();
        Ok(["userknownhostsfile", "globalknownhostsfile"]
            .iter()
            .filter_map(|name| settings.first(name))
            .flat_map(str::split_ascii_whitespace)
            .map(|path| match path.strip_prefix("~/") {
                Some(rest) => home.join(rest),
                None => PathBuf::from(path),
            })
            .collect())
    }

    async fn settings(&self, host: &Host) -> Result<Settings, HostError> {
        let mut command = self.command(host, &["-G".into()]);
        command.args(["--", &host.destination]);
        let trouble = |problem: String| {
            settings(
                format!("{}: `{} -G` {problem}", host.destination, host.ssh[0]),
                "correct ssh_config or `[ssh] command`".to_owned(),
            )
        };
        command.stdin(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| trouble(format!("cannot be started: {error}")))?;
        let output = timeout(TIME, Asking(child).output())
            .await
            .map_err(|_| trouble(format!("took longer than {} s", TIME.as_secs())))?
            .map_err(|error| trouble(format!("cannot be read: {error}")))?;
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        if stdout.len() > MAX_OUTPUT {
            return Err(trouble(format!("prints more than {} KiB", MAX_OUTPUT >> 10)));
        }
        if !status.success() {
            let complaints = String::from_utf8_lossy(&stderr);
            let line = complaints.lines().rev().find(|line| !line.trim().is_empty());
            return Err(trouble(format!("failed: {}", cleaned(line.unwrap_or_default()))));
        }
        Ok(Settings(String::from_utf8_lossy(&stdout).into_owned()))
    }
}

/// A running `ssh -G`. It ends with whatever it started (`Match exec`), also when nobody waits for it any more.
struct Asking(Child);

impl Asking {
    /// What it prints, and how it ends.
    async fn output(mut self) -> io::Result<Output> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (stdout, stderr) = tokio::try_join!(beginning(stdout), beginning(stderr))?;
        // Whoever prints without end is not waited for.
        if stdout.len() > MAX_OUTPUT || stderr.len() > MAX_OUTPUT {
            end_group(&self.0);
        }
        let status = self.0.wait().await?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

/// All of it, or one byte more than it may be.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

impl Drop for Asking {
    fn drop(&mut self) {
        end_group(&self.0);
    }
}

struct Settings(String);

impl Settings {
    fn first(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.trim())
    }
}

const TIME: Duration = Duration::from_secs(15);
/// Some 5 KiB are usual.
const MAX_OUTPUT: usize = 256 << 10;
