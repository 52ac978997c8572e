//! Checks a request's signature as Alibaba Cloud does: `ACS3-HMAC-SHA256` (V3) and RPC `HMAC-SHA1` (V1).
//!
//! Everything here is a function of its arguments. Whether a nonce was seen before is asked elsewhere, and only
//! of requests that pass here: an unsigned request uses up nobody's nonce.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::refusal::Refusal;
use crate::wire::Request;

mod v1;
mod v3;

/// Verifies a request against the credentials that the cloud knows.
///
/// # Errors
/// The vendor's answer to a request that is incomplete, too old, unknown or wrongly signed.
pub fn verify(request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
    let claim = claim(request)?;
    check_time(&claim.timestamp, now)?;
    let credential = keyring
        .iter()
        .find(|credential| credential.access_key == claim.access_key)
        .ok_or_else(|| {
            Refusal::new(
                404,
                "InvalidAccessKeyId.NotFound",
                "The access key id does not exist.",
            )
        })?;
    check_token(&claim, credential, now)?;
    let expected = match claim.scheme {
        Scheme::Acs3HmacSha256 => v3::mac(&credential.secret_key, &claim.string_to_sign),
        Scheme::HmacSha1 => v1::mac(&credential.secret_key, &claim.string_to_sign),
    };
    if expected == claim.signature {
        Ok(claim)
    } else {
        Err(mismatch(&claim))
    }
}

/// What a request says about itself, before any of it is believed.
///
/// # Errors
/// The vendor's answer to a request that lacks a part of a signature.
pub fn claim(request: &Request) -> Result<Claim, Refusal> {
    if request.header("authorization").is_some() {
        v3::claim(request)
    } else {
        v1::claim(request)
    }
}

/// What a signed request states, and the texts derived from what was received.
///
/// There is no `Debug`: the canonical text holds the security token.
pub struct Claim {
    /// How it was signed.
    pub scheme: Scheme,
    /// Who says to have signed it.
    pub access_key: String,
    /// The security token, where one was sent.
    pub token: Option<String>,
    /// The time stamp as received.
    pub timestamp: String,
    /// The nonce.
    pub nonce: String,
    /// The signature as received, decoded from its place.
    pub signature: String,
    /// The canonical request (V3) or canonical query (V1).
    pub canonical: String,
    /// What the HMAC covers.
    pub string_to_sign: String,
}

/// A signature version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// V3: the signature is in the `Authorization` header.
    Acs3HmacSha256,
    /// V1 of RPC services: the signature is a query parameter.
    HmacSha1,
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

/// The vendor refuses what is further off than this, either way.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

fn check_time(timestamp: &str, now: SystemTime) -> Result<(), Refusal> {
    let time = (timestamp.len() == "2026-01-02T03:04:05Z".len())
        .then(|| humantime::parse_rfc3339(timestamp).ok())
        .flatten()
        .ok_or_else(|| {
            Refusal::new(
                400,
                "InvalidTimeStamp.Format",
                "The time stamp is not of the form YYYY-MM-DDThh:mm:ssZ.",
            )
        })?;
    let off_by = now.duration_since(time).unwrap_or_else(|ahead| ahead.duration());
    if off_by > CLOCK_TOLERANCE {
        let message = "The time stamp is more than 15 minutes off the server's time.";
        return Err(Refusal::new(400, "InvalidTimeStamp.Expired", message));
    }
    Ok(())
}

fn check_token(claim: &Claim, credential: &Credential, now: SystemTime) -> Result<(), Refusal> {
    let problem = match (&credential.session_token, &claim.token) {
        (None, None) => return Ok(()),
        (None, Some(_)) => (
            "MismatchWithAccessKey",
            "This access key takes no security token.",
        ),
        (Some(_), None) => ("Malformed", "This access key needs a security token."),
        (Some(known), Some(sent)) if known != sent => ("Malformed", "The security token is not known."),
        (Some(_), Some(_)) if credential.expires_at.is_some_and(|end| end <= now) => {
            ("Expired", "The security token has expired.")
        }
        (Some(_), Some(_)) => return Ok(()),
    };
    Err(Refusal::new(
        400,
        format!("InvalidSecurityToken.{}", problem.0),
        problem.1,
    ))
}

/// The text after the first colon is the string to sign: the vendor's old SDK compares it with its own.
fn mismatch(claim: &Claim) -> Refusal {
    let mut message = format!(
        "The signature does not match what the server calculates. server string to sign is:{}",
        claim.string_to_sign
    );
    if claim.scheme == Scheme::Acs3HmacSha256 {
        message.push_str(" server canonical request is:");
        message.push_str(&claim.canonical);
    }
    Refusal::new(400, "SignatureDoesNotMatch", message)
}

fn incomplete(what: &str) -> Refusal {
    Refusal::new(
        400,
        "IncompleteSignature",
        format!("The signature does not conform: {what}."),
    )
}
