//! What is asked and answered about other public keys than keyferry's own.

use keyferry_engine::ledger::Selector;
use keyferry_engine::snapshot::{Recovered, RevocationPreview, RevokedStatus, Timestamp, TrustedStatus};
use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrustRequest {
    /// Let somebody else's key in on hosts, for a while.
    Grant {
        /// `TYPE BASE64`.
        public_key: String,
        /// The key on whose hosts.
        key: String,
        /// Until when.
        until: Timestamp,
        /// Hosts of the key; empty: all.
        hosts: Vec<String>,
    },
    /// How lines fare that [`TrustRequest::NoteRevocation`] noted.
    FollowRevocation {
        /// Which lines.
        selector: Selector,
        /// Hosts.
        hosts: Vec<String>,
    },
    /// As [`TrustRequest::Revoke`], and do not wait for it.
    NoteRevocation {
        /// Which lines.
        selector: Selector,
        /// Hosts.
        hosts: Vec<String>,
        /// Hosts that may let in nobody afterwards, or `all`.
        accept_loss: Vec<String>,
    },
    /// What [`TrustRequest::Revoke`] would take off.
    PreviewRevocation {
        /// Which lines.
        selector: Selector,
        /// Hosts; empty: those that are known.
        hosts: Vec<String>,
        /// Hosts that may let in nobody afterwards, or `all`; what a key of our own loses.
        accept_loss: Vec<String>,
    },
    /// Have the recovery identity log in now.
    Recover {
        /// Hosts; empty: all.
        hosts: Vec<String>,
    },
    /// Take lines off hosts.
    Revoke {
        /// Which lines.
        selector: Selector,
        /// Hosts.
        hosts: Vec<String>,
        /// Hosts that may let in nobody afterwards, or `all`.
        accept_loss: Vec<String>,
    },
}

/// What the daemon answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrustAnswer {
    /// Of [`TrustRequest::Grant`].
    Granted(Vec<TrustedStatus>),
    /// Of [`TrustRequest::NoteRevocation`].
    Noted,
    /// Of [`TrustRequest::PreviewRevocation`].
    Previewed(RevocationPreview),
    /// Of [`TrustRequest::Recover`].
    Recovered(Vec<Recovered>),
    /// Of [`TrustRequest::Revoke`] and [`TrustRequest::FollowRevocation`].
    Revoked {
        /// At hosts, lines of other installations.
        revoked: Vec<RevokedStatus>,
        /// Lines of this installation.
        own: Vec<TrustedStatus>,
    },
    /// It takes longer than a client waits. What was noted goes on.
    UnderWay,
}
