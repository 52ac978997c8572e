//! What `ssh -G` says a destination stands for.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::Ssh;
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
        let output = timeout(TIME, command.output())
            .await
            .map_err(|_| trouble(format!("took longer than {} s", TIME.as_secs())))?
            .map_err(|error| trouble(format!("cannot be started: {error}")))?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let line = complaints.lines().rev().find(|line| !line.trim().is_empty());
            return Err(trouble(format!("failed: {}", cleaned(line.unwrap_or_default()))));
        }
        Ok(Settings(String::from_utf8_lossy(&output.stdout).into_owned()))
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
