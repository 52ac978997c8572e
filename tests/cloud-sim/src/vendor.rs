//! What a vendor's module says about each of its services: [`Vendor`]. Everything else is the same for all: ports, log,
//! faults, nonces, keys, admin interface.

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;
use ssh_key::PublicKey;

use crate::Service;
use crate::inventory::{Inventory, Settings};
use crate::keys::{NewKey, md5_hex};
use crate::refusal::Refusal;
use crate::wire::Request;

/// One service's protocol and rules. The methods are called in this order for each request; none of them waits.
pub(crate) trait Vendor: Sync {
    /// What a request says it is, before any of it is believed: for the log.
    fn outline(&self, request: &Request) -> Outline;

    /// Signature or token, and clock. Nothing is remembered here.
    fn verify(&self, request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal>;

    /// What a request asks that was verified.
    fn route(&self, request: &Request, claim: &Claim) -> Result<Call, Refusal>;

    /// Whether a key is to be made for it.
    fn wants_key(&self, call: &Call) -> bool;

    /// Whether the key is an Ed25519 one, and not RSA.
    fn wants_ed25519(&self, _call: &Call) -> bool {
        false
    }

    /// Whether it changes something when it succeeds.
    fn changes(&self, call: &Call) -> bool;

    /// The idempotency token that it carries, where the service knows them: the same call with the same token gets the
    /// first answer again, another call with it [`Trouble::TokenUsed`].
    fn client_token<'a>(&self, _call: &'a Call) -> Option<&'a str> {
        None
    }

    /// Does it, all of it or nothing.
    fn perform(&self, call: &Call, world: World<'_>) -> Result<Answer, Refusal>;

    /// A reply's body and headers.
    fn write(&self, asked: &Asked<'_>, result: Result<&Answer, &Refusal>) -> Written;

    /// The vendor's words for what is wrong here as anywhere.
    fn trouble(&self, trouble: Trouble) -> Refusal;

    /// The settings at start.
    fn settings(&self) -> Settings;

    /// Whether pairs belong to regions, each with names of its own.
    fn has_regions(&self) -> bool {
        true
    }

    /// A new pair's id; empty where pairs have none.
    fn new_pair_id(&self) -> String;

    /// How the vendor writes the fingerprint of a public key that somebody else made.
    fn fingerprint(&self, key: &PublicKey) -> Result<String, ssh_key::Error> {
        md5_hex(key)
    }
}

/// What can be wrong at every vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something broke: a 500.
    Internal,
    /// As many pairs as there may be.
    Quota,
    /// This nonce has been used before.
    Replayed,
    /// Too many requests, with the vendor's way to say how many milliseconds to wait.
    Throttled { retry_after_ms: Option<u64> },
    /// This idempotency token was used for another call.
    TokenUsed,
    /// Out of service: a 503.
    Unavailable,
}

/// What a request says it is.
#[derive(Default)]
pub(crate) struct Outline {
    /// The vendor's name of the call.
    pub(crate) action: String,
    /// Who says to have sent it.
    pub(crate) access_key: String,
    /// The pair's name, or what stands for it.
    pub(crate) name: Option<String>,
    /// The business parameters, without signature, token and password.
    pub(crate) parameters: Vec<(String, String)>,
}

/// What a signed request states, and the texts derived from what was received.
///
/// There is no `Debug`: the canonical text holds the security token.
#[derive(Default)]
pub struct Claim {
    /// Who says to have signed it.
    pub access_key: String,
    /// The security token, where one was sent.
    pub token: Option<String>,
    /// The time stamp as received.
    pub timestamp: String,
    /// The nonce, where the scheme has one.
    pub nonce: Option<String>,
    /// The signature as received, decoded from its place.
    pub signature: String,
    /// The canonical request or query.
    pub canonical: String,
    /// What the HMAC covers.
    pub string_to_sign: String,
}

/// A request that passed the gate.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) action: String,
    /// The pair's name, for faults that hit one name.
    pub(crate) name: Option<String>,
    pub(crate) parameters: Parameters,
    /// The access key that signed it.
    pub(crate) access_key: String,
}

impl Call {
    /// Whether two calls mean the same.
    pub(crate) fn asks_the_same_as(&self, other: &Self) -> bool {
        self.action == other.action && self.parameters == other.parameters
    }
}

/// The business parameters of a call, decoded.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

impl Parameters {
    /// A parameter's value. An empty one counts as left out.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }
}

/// What a call works on.
pub(crate) struct World<'a> {
    /// The cloud's time.
    pub(crate) now: SystemTime,
    /// The service's pairs, instances and settings.
    pub(crate) inventory: &'a mut Inventory,
    /// The access keys that the cloud knows.
    pub(crate) keyring: &'a mut Vec<Credential>,
    /// The key that [`Vendor::wants_key`] asked for; to be taken only where a pair is made of it.
    pub(crate) key: &'a mut Option<NewKey>,
}

/// What came of a call.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

impl From<Value> for Answer {
    fn from(body: Value) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body,
        }
    }
}

/// What a reply answers to.
pub(crate) struct Asked<'a> {
    pub(crate) service: Service,
    pub(crate) request: &'a Request,
    pub(crate) action: &'a str,
    /// Random, in upper case: `8-4-4-4-12` hexadecimal digits.
    pub(crate) request_id: &'a str,
}

/// A reply as it goes on the wire.
pub(crate) struct Written {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// An access key that the cloud knows. A security token makes it a temporary one.
#[derive(Clone)]
pub struct Credential {
    /// The access key id.
    pub access_key: String,
    /// The access key secret.
    pub secret_key: String,
    /// The security token that must come with it.
    pub session_token: Option<String>,
    /// When the security token ends, by the cloud's clock.
    pub expires_at: Option<SystemTime>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("access_key", &self.access_key)
            .field("secret_key", &"[redacted]")
            .field(
                "session_token",
                &self.session_token.as_ref().map(|_| "[redacted]"),
            )
            .field("expires_at", &self.expires_at)
            .finish()
    }
}
