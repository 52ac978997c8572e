//! `ACS3-HMAC-SHA256`: action, version, time and nonce are headers, the signature is in `Authorization`.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use super::incomplete;
use crate::alibaba::rules::missing;
use crate::refusal::Refusal;
use crate::vendor::Claim;
use crate::wire::{Request, canonical_query, form_pairs, hex};

/// Reads the claim, taking the list of headers from the client as the vendor does.
pub(super) fn claim(request: &Request) -> Result<Claim, Refusal> {
    let authorization = request.header("authorization").unwrap_or_default();
    let fields = authorization
        .strip_prefix("ACS3-HMAC-SHA256 ")
        .ok_or_else(|| incomplete("Authorization does not start with ACS3-HMAC-SHA256"))?;
    let (access_key, signed_headers, signature) = authorization_fields(fields)
        .ok_or_else(|| incomplete("Authorization is not Credential=,SignedHeaders=,Signature="))?;
    check_signed_headers(request, signed_headers)?;

    let query = form_pairs(request.query())
        .map_err(|error| Refusal::new(400, "InvalidParameter", error.to_string()))?;
    let mut headers = String::new();
    for name in signed_headers.split(';') {
        let value = request
            .header(name)
            .ok_or_else(|| incomplete(&format!("the signed header {name} is not there")))?;
        headers.push_str(&format!("{name}:{value}\n"));
    }
    // The digest is of the body that arrived; the header's own value is among the signed headers. So a client
    // that declares another one than it sends fails either way.
    let canonical = [
        &request.method,
        request.path(),
        &canonical_query(query),
        &headers,
        signed_headers,
        &hex(digest(&SHA256, &request.body).as_ref()),
    ]
    .join("\n");
    let required = |name: &str| {
        request
            .header(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| missing(name))
    };
    Ok(Claim {
        access_key: access_key.to_owned(),
        token: request
            .header("x-acs-security-token")
            .filter(|token| !token.is_empty()),
        timestamp: required("x-acs-date")?,
        nonce: Some(required("x-acs-signature-nonce")?),
        signature: signature.to_owned(),
        string_to_sign: format!(
            "ACS3-HMAC-SHA256\n{}",
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        ),
        canonical,
    })
}

/// The signature in lower-case hexadecimal. The secret goes in as it is.
pub(super) fn mac(secret_key: &str, string_to_sign: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret_key.as_bytes());
    hex(hmac::sign(&key, string_to_sign.as_bytes()).as_ref())
}

fn authorization_fields(fields: &str) -> Option<(&str, &str, &str)> {
    let mut fields = fields.split(',');
    let access_key = fields.next()?.strip_prefix("Credential=")?;
    let signed_headers = fields.next()?.strip_prefix("SignedHeaders=")?;
    let signature = fields.next()?.strip_prefix("Signature=")?;
    fields
        .next()
        .is_none()
        .then_some((access_key, signed_headers, signature))
}

/// The least that must be signed: `host`, every `x-acs-*` and, where there is one, `content-type`.
fn check_signed_headers(request: &Request, signed_headers: &str) -> Result<(), Refusal> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    if !names.is_sorted_by(|left, right| left < right) {
        return Err(incomplete("SignedHeaders is not sorted"));
    }
    let must_be_signed = |name: &str| {
        matches!(name, "host" | "content-type" | "x-acs-content-sha256") || name.starts_with("x-acs-")
    };
    let received = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let unsigned = ["host", "x-acs-content-sha256", "x-acs-action", "x-acs-version"]
        .map(str::to_owned)
        .into_iter()
        .chain(received)
        .find(|name| must_be_signed(name) && !names.contains(&&**name));
    match unsigned {
        Some(name) => Err(incomplete(&format!("the header {name} must be signed"))),
        None => Ok(()),
    }
}
