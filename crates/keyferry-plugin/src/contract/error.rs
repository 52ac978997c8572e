//! Why an operation failed, and what happens next.

use serde::{Deserialize, Serialize};

/// Why an operation failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProviderError {
    /// What happens next depends on this.
    pub kind: ErrorKind,
    /// In words, for a person: lower case, no full stop.
    pub message: String,
    /// The vendor's code.
    #[serde(default)]
    pub code: Option<String>,
    /// The vendor's request id.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Milliseconds after which the vendor asks us to try again.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// Whether the request may have taken effect all the same.
    #[serde(default)]
    pub effect: Effect,
}

/// Kinds of [`ProviderError`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The name is taken.
    AlreadyExists,
    /// The pair is bound to an instance.
    InUse,
    /// The provider, or the plugin, answered what makes no sense.
    Internal,
    /// The request is wrong; repeating it cannot help.
    Invalid,
    /// There is no such pair.
    NotFound,
    /// The account's limit is reached.
    Quota,
    /// Too many requests.
    Throttled,
    /// The credentials were refused, or lack a permission.
    Unauthorized,
    /// The provider is down, slow or out of reach.
    Unavailable,
    /// The plugin cannot do this.
    Unsupported,
}

impl ErrorKind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already_exists",
            Self::InUse => "in_use",
            Self::Internal => "internal",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Quota => "quota",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Whether a failed request took effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It did not: the provider said so, or nothing was sent.
    #[default]
    None,
    /// It may have: read back before anything else.
    Unknown,
}
