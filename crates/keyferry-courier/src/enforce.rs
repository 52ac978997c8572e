//! What a plugin is held to, whatever it says. One module for each line of the contract:
//!
//! | line | module | in short |
//! |---|---|---|
//! | a | [`classes`] | a credential stands in a recipe only where its class allows |
//! | b | [`hosts`] | requests go to the manifest's hosts or the account's endpoint |
//! | b | [`reach`] | or to URLs that its settings, its vendor's files or a login named |
//! | c | [`calls`] | a request is one of the calls of the operation in progress |
//! | d | [`captures`] | `create` captures the private key, `credentials` secret fields, and no reply with a private key reaches the plugin |
//! | e | [`blanking`] | what derives from a secret is blanked in replies and messages |
//! | f | [`permit`] | a delete is of the one pair that the permit names |
//! | g | [`cleaning`] | public keys are rebuilt, names and messages cleaned |
//! | h | [`caps`] | steps, bytes, captures and time are limited |

pub(crate) mod blanking;
pub(crate) mod calls;
pub(crate) mod caps;
pub(crate) mod captures;
pub(crate) mod classes;
pub(crate) mod cleaning;
pub(crate) mod hosts;
pub(crate) mod permit;
pub(crate) mod reach;

use serde::{Deserialize, Serialize};

/// The line of the contract that a plugin crossed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A request is not one of the operation's calls.
    Call,
    /// A capture that is not allowed, or a private key or another secret left in a reply.
    Capture,
    /// A credential where its class does not allow it.
    CredentialPlace,
    /// An origin that neither the manifest nor the account names.
    Host,
    /// Too many steps, bytes or captures, or too much time.
    Limit,
    /// A delete without a permit, or of another pair.
    Permit,
    /// Something that this version does not do yet.
    Version,
}

/// A broken rule, and what was tried, in words that follow `plugin NAME`: `sent to ...`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) rule: Rule,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: message.into(),
        }
    }
}
