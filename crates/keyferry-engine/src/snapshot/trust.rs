//! What status shows of other public keys than ours, and what commands about them answer.

use serde::{Deserialize, Serialize};

use super::{StatusError, Timestamp};
use crate::ledger::Purpose;

/// The line of another public key on a host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrustedStatus {
    /// The key on whose hosts it stands.
    pub key: String,
    /// The host, with the login.
    pub host: String,
    /// `SHA256:...`
    pub fingerprint: String,
    /// What it is there for.
    pub purpose: Purpose,
    /// How it fares.
    pub state: LineState,
    /// When it ends by itself; null: not.
    pub until: Option<Timestamp>,
    /// When it was last seen to log in, of a recovery identity.
    pub verified_at: Option<Timestamp>,
    /// Why it waits, or what failed; null: nothing.
    pub error: Option<StatusError>,
}

/// Lines that are to go from a host, whoever put them there.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RevokedStatus {
    /// The host, with the login.
    pub host: String,
    /// Which lines: `key=...`, `machine=...`, `owner=...` or `grant=SHA256:...`.
    pub lines_of: String,
    /// How far it is.
    pub state: LineState,
    /// The lines that were found there: of each its key's fingerprint and its marker.
    pub lines: Vec<String>,
    /// Why it waits, or what failed; null: nothing.
    pub error: Option<StatusError>,
}

/// How a line fares.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineState {
    /// To be put there.
    Placing,
    /// There.
    Placed,
    /// There, and seen to log in.
    Verified,
    /// To be taken off.
    Removing,
    /// To be taken off, and left since nobody else would be let in.
    Left,
    /// Not there any more.
    Removed,
}

impl LineState {
    /// The name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Placing => "placing",
            Self::Placed => "placed",
            Self::Verified => "verified",
            Self::Removing => "removing",
            Self::Left => "left",
            Self::Removed => "removed",
        }
    }
}

/// What a look at a host found that would be revoked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Revocable {
    /// The host, with the login.
    pub host: String,
    /// The lines.
    pub lines: Vec<String>,
    /// How many lines of this installation's own would be meant, and stay.
    #[serde(default)]
    pub own: usize,
    /// Whether anybody would be let in without them, as far as keyferry sees.
    pub has_others: bool,
    /// Whether the user accepted that nobody may be let in afterwards.
    #[serde(default)]
    pub accepted: bool,
    /// Why it could not be looked at, or was not yet: then it is looked at when it can be; null: it was.
    pub error: Option<StatusError>,
}

/// What `keyferry revoke` would do.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RevocationPreview {
    /// Hosts that were looked at, by name.
    pub hosts: Vec<Revocable>,
    /// Lines of this installation's own that would go.
    pub own: Vec<TrustedStatus>,
    /// A key of this installation's own that would be retired.
    pub retires: Option<String>,
    /// Of what the user accepts to lose, what belongs to that key.
    #[serde(default)]
    pub of_retired: Vec<String>,
}

/// What came of `keyferry recover` at one host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Recovered {
    /// The host, with the login.
    pub host: String,
    /// The key.
    pub key: String,
    /// The key's generation that logs in there now; null: none.
    pub generation: Option<u64>,
    /// When the recovery identity was last seen to log in there; null: never.
    pub recovery_verified_at: Option<Timestamp>,
    /// What failed; null: nothing.
    pub error: Option<StatusError>,
}
