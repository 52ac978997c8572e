//! What binding a key's pair to instances would mean, and what came of it.

use keyferry_plugin::manifest::InstanceRules;
use serde::{Deserialize, Serialize};

use super::StatusError;

/// A pair that would be attached to an instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attachable {
    /// The host that the instance is, with the login.
    pub host: String,
    /// The provider's identifier of the instance.
    pub instance: String,
    /// The key.
    pub key: String,
    /// The generation that is offered, whose pair it is.
    pub generation: u64,
    /// The pair's name at the provider.
    pub pair: String,
    /// The account.
    pub account: String,
    /// The region that the pair is in, and so the instance.
    pub region: Option<String>,
    /// What it means for the instance, as far as the vendor says.
    pub means: InstanceRules,
    /// Whether the key was seen to log in there already.
    pub logs_in: bool,
}

/// What came of attaching a pair to one instance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Attached {
    /// The host that the instance is, with the login.
    pub host: String,
    /// The provider's identifier of the instance.
    pub instance: String,
    /// The key.
    pub key: String,
    /// The generation whose pair it is.
    pub generation: u64,
    /// The pair's name at the provider.
    pub pair: String,
    /// Whether it is known what came of it: else the answer was lost.
    pub is_known: bool,
    /// Why it is not attached, or not known to be; null: it is.
    pub error: Option<StatusError>,
}
