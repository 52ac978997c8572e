//! Rows about other public keys than keyferry's own generations: those that it puts on hosts, and those that it takes off.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::rows::PlacementState;

/// The line of a public key that is no generation of keyferry's, on one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trusted {
    /// The key of ours whose hosts it stands on: its marker names that one.
    pub key: String,
    /// The host's address.
    pub host: String,
    /// `TYPE BASE64`.
    pub public_key: String,
    /// What it is there for.
    pub purpose: Purpose,
    /// The line as keyferry wrote it, or is about to.
    pub line: String,
    /// The file that it was put into, as [`Placement::file`](super::Placement::file) has it; none: not known.
    pub file: Option<String>,
    /// Where it stands. [`PlacementState::Verified`] is a recovery identity that was seen to log in.
    pub state: PlacementState,
    /// When it ends (milliseconds since 1970 UTC); none: not by time.
    pub until: Option<i64>,
    /// When it was last seen to log in there.
    pub verified_at: Option<i64>,
    /// When the state last changed.
    pub changed_at: i64,
    /// Why it stands where it does, in words, where that is not plain.
    pub note: Option<String>,
}

/// Key, host and public half: what tells one [`Trusted`] from all others.
pub type TrustedId = (String, String, String);

impl Trusted {
    /// See [`TrustedId`].
    pub fn id(&self) -> TrustedId {
        (self.key.clone(), self.host.clone(), self.public_key.clone())
    }

    /// `SHA256:...`, as ssh-keygen shows it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public_key)
    }

    /// Whether the line is there, as far as keyferry knows.
    pub fn is_there(&self) -> bool {
        matches!(self.state, PlacementState::Placed | PlacementState::Verified)
    }
}

/// `SHA256:...` of a public half `TYPE BASE64`, of whatever type; of what is none: the text as it is.
pub(crate) fn fingerprint(public_key: &str) -> String {
    match keyferry_hosts::public_blob(public_key) {
        Some(blob) => format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &blob))),
        None => public_key.to_owned(),
    }
}

/// What a [`Trusted`] is there for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// `[recovery] identity`: the way in when private halves are gone.
    Recovery,
    /// `also_trust` of the key's file.
    AlsoTrust,
    /// `keyferry grant`.
    Grant,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Recovery, Self::AlsoTrust, Self::Grant];

    /// The name in the ledger and in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::AlsoTrust => "also_trust",
            Self::Grant => "grant",
        }
    }
}

/// The user's word that lines go from a host which another installation, or another user's keyferry, put there. It is
/// intent and outcome in one: done again until the host has none of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// The host's address.
    pub host: String,
    /// Which lines.
    pub selector: Selector,
    /// Whether they go although nothing else that keyferry knows of lets anybody in.
    pub accepts_loss: bool,
    /// How far it is.
    pub state: RevocationState,
    /// The lines that were found and taken out, or are about to be: of each its key's fingerprint, its marker and a line end.
    pub lines: String,
    /// When the user asked (milliseconds since 1970 UTC).
    pub asked_at: i64,
    /// When the state last changed.
    pub changed_at: i64,
    /// Why it stands where it does, in words, where that is not plain.
    pub note: Option<String>,
}

/// Host and lines: what tells one [`Revocation`] from all others.
pub type RevocationId = (String, Selector);

impl Revocation {
    /// See [`RevocationId`].
    pub fn id(&self) -> RevocationId {
        (self.host.clone(), self.selector.clone())
    }
}

/// States of a [`Revocation`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationState {
    /// Nothing was done yet, or the host could not be reached.
    Asked,
    /// The lines are being taken out: they may be there.
    Removing,
    /// Nobody would be let in without them, so that they were left: until the user says that this is accepted.
    Left,
    /// None of them is there any more.
    Removed,
}

impl RevocationState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Asked, Self::Removing, Self::Left, Self::Removed];

    /// The name in the ledger and in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Removing => "removing",
            Self::Left => "left",
            Self::Removed => "removed",
        }
    }
}

/// Which lines with a marker of keyferry's are meant: `key=prod-web`, `machine=li-thinkpad-7f3a1c`, `owner=li` or
/// `grant=SHA256:...`.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// One public key that was granted, by its fingerprint.
    Grant(String),
    /// Those of a key, whichever machine's.
    Key(String),
    /// Those of a machine.
    Machine(String),
    /// Those of a user.
    Owner(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = match self {
            Self::Grant(value) => ("grant", value),
            Self::Key(value) => ("key", value),
            Self::Machine(value) => ("machine", value),
            Self::Owner(value) => ("owner", value),
        };
        write!(f, "{name}={value}")
    }
}

impl FromStr for Selector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let (name, value) = text.split_once('=').ok_or(NoSelector)?;
        let value = value.to_owned();
        match name {
            "grant" => Ok(Self::Grant(value)),
            "key" => Ok(Self::Key(value)),
            "machine" => Ok(Self::Machine(value)),
            "owner" => Ok(Self::Owner(value)),
            _ => Err(NoSelector),
        }
    }
}

/// A text that selects no lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither key=, machine=, owner= nor grant=")]
pub struct NoSelector;
