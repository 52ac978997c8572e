//! What status shows of keys for one command.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A key for one command (`keyferry exec`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ExecStatus {
    /// The key after whose pattern it was made.
    pub after: String,
    /// When it ends at the latest.
    pub ends_at: Timestamp,
    /// Whether it is being taken away: its command ended, or its time.
    pub ending: bool,
}
