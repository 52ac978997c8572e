//! The programs of the demo.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyferry_tests::build::Built;
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use serde_json::Value;

/// The loopback cloud as a program of its own, so that `--keep` can leave it running.
pub(crate) struct Cloud {
    child: Child,
    urls: Value,
}

impl Cloud {
    pub(crate) fn start(built: &Built) -> Result<Self, String> {
        let mut child = Command::new(built.program("cloud-sim"))
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start cloud-sim: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
        }
        let urls =
            serde_json::from_str(&line).map_err(|error| format!("cloud-sim says {line:?}: {error}"))?;
        Ok(Self { child, urls })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a service is.
    pub(crate) fn url(&self, service: &str) -> Result<&str, String> {
        self.urls[service]
            .as_str()
            .ok_or_else(|| format!("the loopback cloud has no {service}"))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon, logging into a file: with `--keep` nobody is left to read a pipe.
pub(crate) struct Daemon {
    child: Child,
    keyferry: PathBuf,
    runtime: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it on a home, with these variables in its environment.
    pub(crate) fn start(built: &Built, home: &Home, variables: &[(&str, &str)]) -> Result<Self, String> {
        let log = home.path("daemon.log");
        let file = fs::File::create(&log).map_err(|error| error.to_string())?;
        let child = Command::new(built.keyferry())
            .arg("daemon")
            .arg("--config")
            .arg(home.config())
            .arg("--state")
            .arg(home.path("state"))
            .arg("--runtime")
            .arg(home.path("run"))
            .env("HOME", home.root())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("cannot start keyferry: {error}"))?;
        let mut daemon = Self {
            child,
            keyferry: built.keyferry(),
            runtime: home.path("run"),
            log,
        };
        let end = Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string(&daemon.log).is_ok_and(|log| log.contains(" ready")) {
            if Instant::now() > end || daemon.child.try_wait().ok().flatten().is_some() {
                return Err(format!("the daemon does not start: {}", daemon.words()));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// `keyferry status --wait`.
    pub(crate) fn wait(&mut self, seconds: u32) -> Result<Value, String> {
        let output = Command::new(&self.keyferry)
            .args(["status", "--json", &format!("--wait={seconds}"), "--runtime"])
            .arg(&self.runtime)
            .output()
            .map_err(|error| format!("cannot start keyferry: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("not all keys are there: {said}\n{}", self.words()));
        }
        serde_json::from_str(&said).map_err(|error| format!("status is not JSON: {error}"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        keyferry_tests::processes::terminate(self.child.id());
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the daemon ended with {status}: {}", self.words()))
        }
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
