//! What a courier is told once, before its first job.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keyferry_sandbox::LibraryFacts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How to start a process: the program and its arguments.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Launch {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What a courier works for and with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Setup {
    /// The account.
    pub account: Account,
    /// Where its credentials come from.
    pub credentials: CredentialSource,
    /// The user's home directory, for `~/` in paths.
    pub home: Option<PathBuf>,
    /// The plugin's library, as it was inspected. Another file at its place is refused.
    pub library: LibraryFacts,
    /// What it may use.
    pub limits: Limits,
    /// How it reaches the network.
    pub network: Network,
    /// How it starts its sandbox.
    pub sandbox: Launch,
}

/// An account, as its file says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Account {
    /// The account's name, for messages.
    pub name: String,
    /// Its region; a job may name another.
    pub region: Option<String>,
    /// An origin to use instead of the vendor's.
    pub endpoint: Option<String>,
    /// Whether plain http to the endpoint is allowed beyond the loopback.
    pub insecure_http: bool,
    /// Its `[settings]`, checked against the manifest.
    pub settings: BTreeMap<String, Value>,
}

/// Where an account's credentials come from. None of these hold a secret.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialSource {
    /// The vendor's own chain: the plugin's `credentials` operation.
    Chain {
        /// The profile to take; none: the chain's default.
        profile: Option<String>,
    },
    /// A program that prints one JSON object of the manifest's field names, plus an optional `expires_at`. The worker
    /// runs it, without a shell; its output goes straight to the courier.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Variables of the worker's environment.
    Environment {
        /// The manifest's field to the variable's name.
        fields: BTreeMap<String, String>,
    },
    /// A file of mode 0600 with the same JSON object.
    File {
        /// The path; `~/` at its beginning stands for the home directory.
        path: PathBuf,
    },
}

/// The `[network]` part of keyferry.toml. The environment's proxy variables are never looked at.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Network {
    /// `http://HOST:PORT` or `socks5://HOST:PORT`, without user name and password.
    pub proxy: Option<String>,
    /// Hosts that are reached without it: names, `.suffixes` and `*`. The loopback always is.
    pub no_proxy: Vec<String>,
    /// A PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy that will be refused may name a password.
        f.debug_struct("Network")
            .field("proxy", &self.proxy.as_ref().map(|_| ".."))
            .field("no_proxy", &self.no_proxy)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

/// What a courier may use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Jobs at the same time; the others wait. At least 1.
    pub max_concurrent: usize,
    /// Time to connect, TLS included.
    pub connect_time: Duration,
    /// Time for one request, from resolving the name to the last byte of the reply.
    pub request_time: Duration,
    /// Time for one job, from its first step. A list, which asks page after page, has five times as much.
    pub job_time: Duration,
    /// Time that the worker waits for a word from a courier that it has just started.
    pub start_time: Duration,
    /// Of the sandbox.
    pub sandbox: keyferry_sandbox::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent: 8,
            connect_time: Duration::from_secs(10),
            request_time: Duration::from_secs(30),
            job_time: Duration::from_secs(60),
            start_time: Duration::from_secs(20),
            sandbox: keyferry_sandbox::Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_not_shown() {
        let network = Network {
            proxy: Some("http://me:sesame@proxy.lan".to_owned()),
            ..Network::default()
        };
        assert!(!format!("{network:?}").contains("sesame"));
    }
}
