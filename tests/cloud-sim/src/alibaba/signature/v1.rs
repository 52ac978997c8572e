//! RPC `HMAC-SHA1`: everything, the signature too, is a query parameter.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::incomplete;
use crate::alibaba::rules::missing;
use crate::refusal::Refusal;
use crate::vendor::Claim;
use crate::wire::{Request, canonical_query, percent_encode};

/// Reads the claim. Empty parameters are signed like all others.
pub(super) fn claim(request: &Request) -> Result<Claim, Refusal> {
    let mut parameters = request
        .parameters()
        .map_err(|error| Refusal::new(400, "InvalidParameter", error.to_string()))?;
    let find = |wanted: &str| {
        parameters
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
            .filter(|v| !v.is_empty())
    };
    let required = |name: &str| find(name).ok_or_else(|| missing(name));
    let access_key = required("AccessKeyId")?;
    let signature = required("Signature")?;
    if required("SignatureMethod")? != "HMAC-SHA1" {
        return Err(incomplete("SignatureMethod is not HMAC-SHA1"));
    }
    if required("SignatureVersion")? != "1.0" {
        return Err(incomplete("SignatureVersion is not 1.0"));
    }
    let timestamp = required("Timestamp")?;
    let nonce = required("SignatureNonce")?;
    let token = find("SecurityToken");

    parameters.retain(|(name, _)| name != "Signature");
    let canonical = canonical_query(parameters);
    Ok(Claim {
        access_key,
        token,
        timestamp,
        nonce: Some(nonce),
        signature,
        string_to_sign: format!(
            "{}&{}&{}",
            request.method,
            percent_encode(request.path()),
            percent_encode(&canonical)
        ),
        canonical,
    })
}

/// The signature in base64. The key is the secret and an ampersand.
pub(super) fn mac(secret_key: &str, string_to_sign: &str) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        format!("{secret_key}&").as_bytes(),
    );
    STANDARD.encode(hmac::sign(&key, string_to_sign.as_bytes()))
}
