//! Checks a request's signature as Alibaba Cloud does: `ACS3-HMAC-SHA256` (V3) and RPC `HMAC-SHA1` (V1).
//!
//! Everything here is a function of its arguments. Whether a nonce was seen before is asked elsewhere, and only
//! of requests that pass here: an unsigned request uses up nobody's nonce.

use std::time::{Duration, SystemTime};

use crate::refusal::Refusal;
use crate::vendor::{Claim, Credential};
use crate::wire::Request;

mod v1;
mod v3;

/// Verifies a request against the credentials that the cloud knows.
///
/// # Errors
/// The vendor's answer to a request that is incomplete, too old, unknown or wrongly signed.
pub(super) fn verify(request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
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
    let scheme = Scheme::of(request);
    let expected = match scheme {
        Scheme::Acs3HmacSha256 => v3::mac(&credential.secret_key, &claim.string_to_sign),
        Scheme::HmacSha1 => v1::mac(&credential.secret_key, &claim.string_to_sign),
    };
    if expected == claim.signature {
        Ok(claim)
    } else {
        Err(mismatch(&claim, scheme))
    }
}

/// What a request says about itself, before any of it is believed.
fn claim(request: &Request) -> Result<Claim, Refusal> {
    match Scheme::of(request) {
        Scheme::Acs3HmacSha256 => v3::claim(request),
        Scheme::HmacSha1 => v1::claim(request),
    }
}

/// A signature version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// V3: the signature is in the `Authorization` header.
    Acs3HmacSha256,
    /// V1 of RPC services: the signature is a query parameter.
    HmacSha1,
}

impl Scheme {
    pub(super) fn of(request: &Request) -> Self {
        match request.header("authorization") {
            Some(_) => Self::Acs3HmacSha256,
            None => Self::HmacSha1,
        }
    }
}

/// The vendor refuses what is further off than this, either way.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// Whether a time stamp is near enough to the server's time.
pub(super) fn check_time(timestamp: &str, now: SystemTime) -> Result<(), Refusal> {
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
fn mismatch(claim: &Claim, scheme: Scheme) -> Refusal {
    let mut message = format!(
        "The signature does not match what the server calculates. server string to sign is:{}",
        claim.string_to_sign
    );
    if scheme == Scheme::Acs3HmacSha256 {
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

/// The access key id of an `Authorization` header, believed or not.
pub(super) fn v3_access_key(authorization: &str) -> Option<String> {
    let (_, rest) = authorization.split_once("Credential=")?;
    Some(rest.split(',').next().unwrap_or_default().to_owned())
}
