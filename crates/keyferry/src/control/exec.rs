//! What is asked and answered about keys for one command. The command itself is the client's: nothing of it is said here.

use serde::{Deserialize, Serialize};

/// What a client asks. It says nothing more: that its side of the connection ends is how its command ended.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ExecRequest {
    /// The key after whose pattern.
    pub(crate) key: String,
    /// Milliseconds after which the command's key ends in any case.
    pub(crate) life_ms: u64,
    /// Milliseconds after which to give up waiting for hosts.
    pub(crate) timeout_ms: u64,
    /// Whether a host less is none at all.
    pub(crate) all_hosts: bool,
}

/// What the daemon answers: [`ExecAnswer::Waiting`] now and then, [`ExecAnswer::Ready`] or [`ExecAnswer::NotReady`]; after the
/// former [`ExecAnswer::Over`] perhaps, and [`ExecAnswer::Ended`] when the client's side of the connection has ended.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecAnswer {
    /// Nothing more is done for it.
    Ended {
        /// What is left of the key, in words; null: nothing.
        left: Option<String>,
    },
    /// There will be no key, in words; what was made is taken away again.
    NotReady(String),
    /// The key is taken away while the command runs, in words.
    Over(String),
    /// The command may be started.
    Ready {
        /// The key's name.
        key: String,
        /// The agent's socket that has it.
        socket: String,
        /// Hosts where it was not seen to log in, each with the reason.
        left_out: Vec<String>,
    },
    /// It is being made, or brought to hosts.
    Waiting,
}
