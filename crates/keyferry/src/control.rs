//! The control socket: how `keyferry status` and `keyferry resume` talk to the daemon.
//!
//! One request per connection, answers until the daemon closes; one JSON object a line. It is another socket than
//! the agent's, which may be forwarded to remote hosts, and it takes no paths and no programs.

use keyferry_engine::snapshot::{OrphanResult, Snapshot, StrayPair, SurveyReport};
use serde::{Deserialize, Serialize};

use crate::account::report::AccountReport;

pub(crate) mod client;
pub(crate) mod server;

/// What a client asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Obtain credentials anew and try them.
    CheckAccounts {
        /// The account; none: all.
        name: Option<String>,
    },
    /// Delete orphans that a [`Request::Survey`] found.
    DeleteOrphans {
        /// As they were found.
        pairs: Vec<StrayPair>,
    },
    /// Serve held keys again, and try failed ones now.
    Resume {
        /// Names; empty: all.
        keys: Vec<String>,
    },
    /// How everything is.
    Status,
    /// Look at all pairs of accounts now.
    Survey {
        /// Names of accounts and keys; empty: all accounts.
        names: Vec<String>,
    },
    /// Read the config directory again and wait until every key is settled.
    Wait {
        /// Milliseconds after which to give up.
        timeout_ms: u64,
    },
}

/// What the daemon answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Of [`Request::CheckAccounts`].
    AccountsChecked(Vec<AccountReport>),
    /// Of [`Request::DeleteOrphans`].
    OrphansDeleted(Vec<OrphanResult>),
    /// Not settled yet; more answers follow.
    Progress(Box<Snapshot>),
    /// What was asked cannot be done, in words.
    Refused(String),
    /// These keys serve again or are being tried.
    Resumed(Vec<String>),
    /// Of [`Request::Status`], and of [`Request::Wait`] when every key is settled.
    Status(Box<Snapshot>),
    /// Of [`Request::Survey`].
    Surveyed {
        /// What was found, by account.
        reports: Vec<SurveyReport>,
        /// How everything is then.
        snapshot: Box<Snapshot>,
    },
    /// Of [`Request::Wait`] when the time is over.
    TimedOut(Box<Snapshot>),
}

/// The longest request that is read, in bytes: 1,000 names of keys fit.
const MAX_REQUEST: u64 = 64 * 1024;
/// The longest answer that is read, in bytes: 10,000 keys fit.
const MAX_ANSWER: u64 = 32 * 1024 * 1024;
