//! A job: one operation of the plugin, and what comes of it.

use keyferry_plugin::contract::{Effect, ErrorKind, InstanceResult, Operation, Pair, Profile, ProviderError};
use serde::{Deserialize, Serialize};

use crate::enforce::Rule;
use crate::secret::Secret;

/// What is to be done.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct JobRequest {
    /// The operation with its parameters.
    pub operation: Operation,
    /// A region instead of the account's.
    pub region: Option<String>,
    /// 32 lower-case hex digits, the same for every retry of one operation.
    pub idempotency_token: String,
    /// For a delete: the pair that may be deleted.
    pub permit: Option<Permit>,
    /// Evaluate the first request and do not send it.
    pub preview: Option<Preview>,
}

impl JobRequest {
    /// A job without region, permit and preview.
    pub fn new(operation: Operation, idempotency_token: impl Into<String>) -> Self {
        Self {
            operation,
            region: None,
            idempotency_token: idempotency_token.into(),
            permit: None,
            preview: None,
        }
    }
}

/// Allows to delete one pair: what the ledger knows of it. A request for any other is refused, and where the provider
/// has an id or fingerprint too, it is asked first and must agree.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Permit {
    /// The pair's name.
    pub name: String,
    /// The provider's id.
    pub id: Option<String>,
    /// The fingerprint in the form that the provider writes.
    pub fingerprint: Option<String>,
}

/// Asks for a request that is not sent, at a time and with a nonce of the caller's choice.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Preview {
    /// RFC 3339 with whole seconds, in UTC: `2026-11-22T01:36:49Z`.
    pub now: String,
    /// In place of the 32 hex digits that are otherwise random.
    pub nonce: String,
}

/// What came of a job.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// Of `create`: the pair, and its private half as the provider wrote it.
    Created {
        /// The pair.
        pair: Pair,
        /// The private key: PEM, bare base64 or with escaped line ends, as it came.
        private_key: Secret,
    },
    /// Of `import` and `get`.
    Pair(Pair),
    /// Of `list`: all pages.
    Pairs(Vec<Pair>),
    /// Of `delete`.
    Deleted,
    /// Of `attach` and `detach`: how it went with each instance that the provider spoke of.
    Attached(Vec<InstanceResult>),
    /// Of `list_instances`: the provider's identifiers.
    Instances(Vec<String>),
    /// Of `credentials`: they were obtained.
    Credentials {
        /// Where from, in words.
        source: String,
        /// What was looked at before and not taken, and why: one line each, in the chain's order. Empty where the account
        /// names its credentials itself.
        attempts: Vec<String>,
        /// When they end (RFC 3339), where known.
        expires_at: Option<String>,
    },
    /// Of `profiles`: what the vendor's own tools would find.
    Profiles(Vec<Profile>),
    /// Of any job with a [`Preview`].
    Preview(PreviewedRequest),
}

/// The exact request that would be sent. Bearer values stand as `<name>`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PreviewedRequest {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Names in lower case, `host` first.
    pub headers: Vec<(String, String)>,
    /// The body as UTF-8; other bytes are replaced.
    pub body: String,
}

/// Why a job failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum JobError {
    /// The account's credentials are not there, or its login failed. Nothing took effect.
    #[error("{}", .error.message)]
    Credentials {
        /// Names account, field and place, never a value. Where a provider answered the login, it is what came of that; else
        /// something on this machine is missing or wrong, but for the kinds `throttled` and `unavailable`, which may pass.
        error: Box<ProviderError>,
        /// Whether a provider answered, and so is who says it.
        answered: bool,
        /// What was looked at, and what came of it: one line each, in order.
        attempts: Vec<String>,
    },
    /// The courier ended before the job did.
    #[error("{message}")]
    Lost {
        /// How it ended.
        message: String,
        /// Whether the operation may have taken effect.
        effect: Effect,
    },
    /// The plugin crashed, hung or answered what makes no sense.
    #[error("{message}")]
    Plugin {
        /// Names the plugin, and what to do about it.
        message: String,
        /// Whether the operation may have taken effect.
        effect: Effect,
    },
    /// The provider, or the way to it, failed.
    #[error("{}", .0.message)]
    Provider(ProviderError),
    /// The plugin tried what it may not.
    #[error("{message}")]
    Refused {
        /// Which line it crossed.
        rule: Rule,
        /// Names the plugin and what it tried.
        message: String,
        /// Whether the operation may have taken effect.
        effect: Effect,
    },
    /// The courier could not begin to work: its settings, its library or the system.
    #[error("{message}")]
    Setup {
        /// Names what is wrong and where.
        message: String,
    },
}

impl JobError {
    /// Whether a request of this job that changes something may have taken effect.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Lost { effect, .. } | Self::Plugin { effect, .. } | Self::Refused { effect, .. } => *effect,
            Self::Provider(error) => error.effect,
            Self::Credentials { .. } | Self::Setup { .. } => Effect::None,
        }
    }

    /// Whether new credentials could help: they were refused, and nothing took effect.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Provider(error) if error.kind == ErrorKind::Unauthorized && error.effect == Effect::None)
    }
}
