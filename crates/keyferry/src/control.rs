//! The control socket: how `keyferry status` and the other commands talk to the daemon.
//!
//! One request per connection, answers until the daemon closes; one JSON object a line. It is another socket than
//! the agent's, which may be forwarded to remote hosts, and it takes no paths and no programs.

use keyferry_engine::snapshot::{
    ForgottenHost, KeyPlan, OrphanResult, RolledBack, RotationAsked, Snapshot, StrayPair, SurveyReport,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::account::report::AccountReport;
use crate::history::Excerpt;
use crate::prompts::Kind;

pub(crate) mod adopt;
pub(crate) mod attach;
pub(crate) mod client;
pub(crate) mod exec;
pub(crate) mod peer;
pub(crate) mod server;
pub(crate) mod trust;

use adopt::{AdoptAnswer, AdoptRequest};
use attach::{AttachAnswer, AttachRequest};
use exec::{ExecAnswer, ExecRequest};
use trust::{TrustAnswer, TrustRequest};

/// What a client asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// About a key of somebody's own that is adopted.
    Adopt(AdoptRequest),
    /// About attaching pairs to instances, at a person's word.
    Attach(AttachRequest),
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
    /// Make a key for one command, which the client starts. It ends when nothing more can come from the client.
    Exec(ExecRequest),
    /// Give a host up.
    ForgetHost {
        /// The host.
        host: String,
        /// Also where it is the only one of a key.
        force: bool,
    },
    /// What keyferry did.
    History {
        /// The key; none: all.
        key: Option<String>,
        /// What happened since then only.
        since: Option<Timestamp>,
    },
    /// Give up instances that hold earlier generations of a key back.
    GiveUpInstances {
        /// The key.
        key: String,
        /// Their names.
        instances: Vec<String>,
    },
    /// Have the rotation of keys stand still.
    Hold {
        /// Names.
        keys: Vec<String>,
        /// Until when; none: until [`Request::Resume`].
        until: Option<Timestamp>,
        /// Why.
        reason: Option<String>,
    },
    /// What would be done.
    Plan {
        /// Names; empty: all.
        keys: Vec<String>,
    },
    /// What would be done if a key were retired.
    PlanToRetire {
        /// The key.
        key: String,
        /// What may be lost.
        accept_loss: Vec<String>,
    },
    /// Have questions of ssh about hosts asked here until the connection ends. Each [`Answer::Question`] but a notice is
    /// answered by the length of the word in four bytes and the word, which is no JSON and never kept.
    Questions {
        /// For their hosts.
        keys: Vec<String>,
        /// For these; with no keys and no hosts: for all.
        hosts: Vec<String>,
    },
    /// Serve held keys again, end holds of their rotation, and try failed ones now.
    Resume {
        /// Names; empty: all.
        keys: Vec<String>,
    },
    /// End a key.
    Retire {
        /// The key.
        key: String,
        /// What may be lost.
        accept_loss: Vec<String>,
        /// Milliseconds after which to give up waiting; none: do not wait.
        timeout_ms: Option<u64>,
    },
    /// Try hosts again now.
    RetryHosts {
        /// Names; empty: all that wait for something.
        hosts: Vec<String>,
    },
    /// Give up a rotation, or go back to the generation before.
    Rollback {
        /// The key.
        key: String,
    },
    /// Make the next generation of keys.
    Rotate {
        /// Names.
        keys: Vec<String>,
        /// Milliseconds after which to give up waiting; none: do not wait.
        timeout_ms: Option<u64>,
    },
    /// How everything is.
    Status,
    /// Look at all pairs of accounts now.
    Survey {
        /// Names of accounts and keys; empty: all accounts.
        names: Vec<String>,
    },
    /// About other public keys than keyferry's own.
    Trust(TrustRequest),
    /// Accept the host key that a host has now.
    TrustHost {
        /// The host.
        host: String,
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
    /// Of [`Request::Adopt`].
    Adopt(AdoptAnswer),
    /// Of [`Request::Attach`].
    Attach(AttachAnswer),
    /// Of [`Request::Exec`].
    Exec(ExecAnswer),
    /// Of [`Request::History`].
    History(Excerpt),
    /// Of [`Request::ForgetHost`].
    HostForgotten(ForgottenHost),
    /// Of [`Request::RetryHosts`] and [`Request::TrustHost`]: the logins that are tried.
    HostsTried(Vec<String>),
    /// Of [`Request::DeleteOrphans`].
    OrphansDeleted(Vec<OrphanResult>),
    /// Of [`Request::GiveUpInstances`], [`Request::Hold`], [`Request::Questions`] and [`Request::Retire`]; if that one waits, as
    /// after [`Answer::Rotating`].
    Noted,
    /// Of [`Request::Plan`] and [`Request::PlanToRetire`].
    Planned(Vec<KeyPlan>),
    /// Not settled yet; more answers follow.
    Progress(Box<Snapshot>),
    /// Of [`Request::Questions`], after [`Answer::Noted`].
    Question {
        /// Where the login goes.
        host: String,
        /// What is asked.
        kind: Kind,
        /// As ssh put it.
        text: String,
    },
    /// What was asked cannot be done, in words.
    Refused(String),
    /// These keys serve again or are being tried.
    Resumed(Vec<String>),
    /// Of [`Request::Rollback`].
    RolledBack(RolledBack),
    /// Of [`Request::Rotate`]: [`Answer::Progress`] and at last [`Answer::Status`] or [`Answer::TimedOut`] follow if it waits,
    /// each with these keys only.
    Rotating {
        /// By name.
        asked: Vec<RotationAsked>,
        /// How the keys are then.
        snapshot: Box<Snapshot>,
    },
    /// Of [`Request::Status`], and of [`Request::Wait`] when every key is settled.
    Status(Box<Snapshot>),
    /// Of [`Request::Survey`].
    Surveyed {
        /// What was found, by account.
        reports: Vec<SurveyReport>,
        /// How everything is then.
        snapshot: Box<Snapshot>,
    },
    /// Of [`Request::Trust`].
    Trust(TrustAnswer),
    /// Of [`Request::Wait`] when the time is over.
    TimedOut(Box<Snapshot>),
}

/// The longest request that is read, in bytes: as many names as there can be hosts fit.
const MAX_REQUEST: u64 = 16 * 1024 * 1024;
/// The longest answer that is read, in bytes: 10,000 keys with all their hosts fit.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
