//! What is asked and answered while somebody's own key is adopted. The private half never comes this way.

use std::path::PathBuf;

use keyferry_engine::snapshot::StatusError;
use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdoptRequest {
    /// Read the config directory again, and tell how a key fares until nothing more happens to it soon.
    Follow {
        /// The key.
        key: String,
        /// Milliseconds after which to give up waiting.
        timeout_ms: u64,
    },
    /// How long the agent has the keys that were added to it.
    Lifetimes,
    /// Where things are.
    Places,
    /// Log in with a key that was added to the agent, and with no other.
    Try {
        /// The key, `SHA256:...`.
        fingerprint: String,
        /// Where.
        hosts: Vec<String>,
    },
}

/// What the daemon answers. Of [`AdoptRequest::Follow`] the answers are those of a wait.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdoptAnswer {
    /// Of [`AdoptRequest::Lifetimes`]: the keys that go by themselves.
    Lifetimes(Vec<Lifetime>),
    /// Of [`AdoptRequest::Places`].
    Places {
        /// The agent's socket.
        agent_socket: PathBuf,
        /// The config directory.
        config_directory: PathBuf,
    },
    /// Of [`AdoptRequest::Try`], as each is known.
    Tried(Tried),
    /// Of [`AdoptRequest::Try`], at the end.
    TriedAll,
}

/// How a login came out.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Tried {
    /// The host.
    pub(crate) host: String,
    /// Why the key does not log in there, as far as is known; none: it does.
    pub(crate) error: Option<StatusError>,
    /// Whether the host said that it does not take the key. A login that is cut off says nothing of the kind, whatever kind
    /// the error is of.
    pub(crate) is_refused: bool,
}

/// How long the agent has a key still.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Lifetime {
    /// The key, `SHA256:...`.
    pub(crate) fingerprint: String,
    /// Milliseconds until it goes.
    pub(crate) left_ms: u64,
}
