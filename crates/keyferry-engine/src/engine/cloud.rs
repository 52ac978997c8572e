//! What the engine asks of the rest of the daemon: requests to providers, and a place in the agent.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use keyferry_plugin::contract::{Algorithm, InstanceResult, Pair, PairReference, ProviderError};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::desired::Account;

/// Runs requests. The daemon has a courier for each account behind it.
pub trait Clouds: Send + Sync + 'static {
    /// Runs one request in an account, in the region given or else the account's. It has a deadline of its own.
    ///
    /// The engine keeps to the account's limit. Dropping the future may leave the request under way; its outcome
    /// is then unknown.
    fn run(&self, account: Arc<Account>, region: Option<String>, job: Job) -> CloudFuture;

    /// The user asked to try again with this account: nothing that was remembered of it (credentials, or why there
    /// were none) may answer the next request. Requests under way go on. The default is for those who remember nothing.
    fn start_afresh(&self, account: &str) {
        let _ = account;
    }
}

/// See [`Clouds::run`].
pub type CloudFuture = Pin<Box<dyn Future<Output = Result<JobReply, JobError>> + Send>>;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Bind a pair to instances, in place of what is bound to them. A person asked for just that.
    Attach {
        /// The pair.
        pair: PairReference,
        /// The provider's identifiers.
        instances: Vec<String>,
        /// As for [`Job::Delete`].
        idempotency_token: String,
    },
    /// Make a pair.
    Create {
        /// The pair's name, fitted to the manifest's rules.
        name: String,
        /// One of the manifest's algorithms for create.
        algorithm: Algorithm,
        /// 32 lower-case hex digits, the same for every attempt at this generation.
        idempotency_token: String,
    },
    /// Delete a pair. The engine has compared it with the ledger before.
    Delete {
        /// The pair.
        pair: PairReference,
        /// What the ledger knows of it: the courier allows the deletion of this pair and no other.
        permit: Permit,
        /// 32 lower-case hex digits, others for every attempt: a provider answers what it knows by its token without
        /// deleting a pair that is there again.
        idempotency_token: String,
    },
    /// Describe a pair.
    Get(PairReference),
    /// Register a public key.
    Import {
        /// The pair's name, fitted to the manifest's rules.
        name: String,
        /// The OpenSSH line.
        public_key: String,
        /// As for [`Job::Create`].
        idempotency_token: String,
    },
    /// Describe all pairs.
    List,
    /// Say which instances name a pair. The planner asks only where the manifest lists the operation.
    ListInstances {
        /// The pair.
        pair: PairReference,
    },
}

/// What the ledger knows of a pair that is to be deleted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Permit {
    /// The provider's identifier.
    pub id: Option<String>,
    /// The fingerprint as the provider told it when the pair was made.
    pub fingerprint: Option<String>,
}

/// What came of a [`Job`].
pub enum JobReply {
    /// Of [`Job::Attach`]: how it went with each instance that the provider spoke of.
    Attached(Vec<InstanceResult>),
    /// Of [`Job::Create`].
    Created {
        /// The pair.
        pair: Pair,
        /// The private half as the provider wrote it.
        private_key: Zeroizing<Vec<u8>>,
    },
    /// Of [`Job::Delete`].
    Deleted,
    /// Of [`Job::Get`].
    Got(Pair),
    /// Of [`Job::Import`].
    Imported(Pair),
    /// Of [`Job::ListInstances`]: what a user knows each instance by.
    Instances(Vec<String>),
    /// Of [`Job::List`].
    Listed(Vec<Pair>),
}

impl fmt::Debug for JobReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached(results) => f.debug_tuple("Attached").field(&results.len()).finish(),
            Self::Created { pair, .. } => f
                .debug_struct("Created")
                .field("pair", pair)
                .finish_non_exhaustive(),
            Self::Deleted => f.write_str("Deleted"),
            Self::Got(pair) => f.debug_tuple("Got").field(pair).finish(),
            Self::Imported(pair) => f.debug_tuple("Imported").field(pair).finish(),
            Self::Instances(names) => f.debug_tuple("Instances").field(&names.len()).finish(),
            Self::Listed(pairs) => f.debug_tuple("Listed").field(&pairs.len()).finish(),
        }
    }
}

/// Why a [`Job`] failed.
#[derive(Clone, Debug, PartialEq)]
pub enum JobError {
    /// The courier or the sandbox ended before the answer: whether the request took effect is unknown.
    Lost {
        /// What happened, in words.
        message: String,
    },
    /// The plugin crashed, hung or broke a rule: whether a request took effect is unknown.
    Plugin {
        /// What happened, in words.
        message: String,
    },
    /// The plugin says so; its error tells whether the outcome is known.
    Provider(ProviderError),
    /// Nothing was sent.
    Setup {
        /// What is missing.
        kind: SetupKind,
        /// What is wrong, in words.
        message: String,
    },
}

/// What a request lacked before it could be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetupKind {
    /// The account's credentials were not found or cannot be read.
    Credentials,
    /// The plugin cannot be loaded.
    Plugin,
    /// A process could not be started.
    Process,
    /// What keyferry.toml or an account's file says cannot be used; the message names the setting.
    Settings,
}

/// To whom a generation in the agent is offered: who may list it and have it sign.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Offer {
    /// To every client; but where another generation of the key is offered to the host that a client is bound to, only
    /// that other one.
    #[default]
    Everywhere,
    /// To nobody: it signs on the engine's private sockets alone.
    Nowhere,
    /// To clients that say that they log in to a host with one of these host keys (public blobs, sorted).
    To(Vec<Vec<u8>>),
}

/// The agent, as the engine sees it.
pub trait KeyRing: Send + Sync + 'static {
    /// Takes one generation of a key, beside the key's others; one that it has already is replaced. `private_key` is
    /// as in `add identity` after the message number and without the comment.
    ///
    /// # Errors
    /// In words, when the agent cannot take it: the engine tries again later.
    fn load(
        &self,
        name: &str,
        generation: u64,
        private_key: Zeroizing<Vec<u8>>,
        comment: &str,
        offer: Offer,
    ) -> Result<(), String>;

    /// Changes to whom a generation is offered; one that is not loaded is left alone.
    fn offer(&self, name: &str, generation: u64, offer: Offer);

    /// Forgets a generation, which is wiped.
    fn unload(&self, name: &str, generation: u64);

    /// Ends a hold: the key lists and signs again.
    fn resume(&self, name: &str);

    /// How often the agent was locked or unlocked so far: odd while it is locked, and signs nothing. A login that failed
    /// while this changed says nothing about the host. The default is for those that nobody locks.
    fn lock_changes(&self) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }

    /// Offers a key of another agent, by its public blob, to clients that say that they log in to a host with one of
    /// these host keys, and to no others; in place of what was said of it before. The other agent is asked for each
    /// signature. The default is for those who know no other agents.
    ///
    /// # Errors
    /// In words, when clients could not read the key.
    fn lend(
        &self,
        public_blob: &[u8],
        comment: &str,
        agent: PathBuf,
        host_keys: Vec<Vec<u8>>,
    ) -> Result<(), String> {
        let _ = (public_blob, comment, agent, host_keys);
        Err("keys of other agents cannot be offered here".to_owned())
    }

    /// Ends that.
    fn unlend(&self, public_blob: &[u8]) {
        let _ = public_blob;
    }
}
