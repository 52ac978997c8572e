//! What came of a request about a rotation or a host.

use serde::{Deserialize, Serialize};

/// A key whose next generation was asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RotationAsked {
    /// The key.
    pub key: String,
    /// The generation that the rotation leads away from.
    pub from: u64,
    /// Where a rotation was under way already: what it waits for, in words. Then no other was asked for.
    pub waiting: Option<String>,
}

/// What a rollback did.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RolledBack {
    /// The key.
    pub key: String,
    /// The generation that was given up; null: the rotation that was asked for had not begun.
    pub from: Option<u64>,
    /// The generation that is offered now.
    pub to: u64,
    /// Hosts that its line had been taken off, and where it is put again.
    pub put_back: Vec<String>,
}

/// A host that was given up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ForgottenHost {
    /// The host, with the login.
    pub host: String,
    /// What still stands there, or may.
    pub lines: Vec<LeftLine>,
}

/// A line that stays on a host that was given up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeftLine {
    /// The key.
    pub key: String,
    /// The generation.
    pub generation: u64,
    /// As keyferry wrote it; null: it was there before, and somebody else's.
    pub line: Option<String>,
}
