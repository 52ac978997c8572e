//! Checks `SDK-HMAC-SHA256`, from whatever headers the client signed.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use super::fault;
use crate::refusal::Refusal;
use crate::vendor::{Claim, Credential};
use crate::wire::{
    Request, canonical_query, check_compact_time, decode_path, form_pairs, hex, percent_encode,
};

/// Verifies a request against the credentials that the cloud knows.
pub(super) fn verify(request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
    let claim = claim(request)?;
    if !check_compact_time(&claim.timestamp, now) {
        return Err(refused("request expired"));
    }
    let known = keyring.iter().find(|known| known.access_key == claim.access_key);
    let credential = known.ok_or_else(|| refused("ak not exist"))?;
    let is_over = credential.expires_at.is_some_and(|end| end <= now);
    if credential.session_token != claim.token || is_over {
        return Err(refused("the security token is missing, wrong or expired"));
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, credential.secret_key.as_bytes());
    match hex(hmac::sign(&key, claim.string_to_sign.as_bytes()).as_ref()) == claim.signature {
        true => Ok(claim),
        false => Err(refused("verify aksk signature fail")),
    }
}

/// The access key id of a request, believed or not.
pub(super) fn access_key(request: &Request) -> Option<String> {
    fields(&request.header("authorization")?).map(|(access_key, ..)| access_key.to_owned())
}

/// The gateway's one code for whatever is wrong with who sends.
pub(super) fn refused(why: &str) -> Refusal {
    let message = format!("Incorrect IAM authentication information: {why}");
    fault(401, "APIGW.0301", &message)
}

/// Access key id, signed headers and signature.
fn fields(authorization: &str) -> Option<(&str, &str, &str)> {
    let rest = authorization.strip_prefix("SDK-HMAC-SHA256 Access=")?;
    let (access_key, rest) = rest.split_once(", SignedHeaders=")?;
    let (signed_headers, signature) = rest.split_once(", Signature=")?;
    Some((access_key, signed_headers, signature))
}

fn claim(request: &Request) -> Result<Claim, Refusal> {
    let authorization = request.header("authorization").unwrap_or_default();
    let (access_key, signed_headers, signature) =
        fields(&authorization).ok_or_else(|| refused("there is no signature in the vendor's form"))?;
    let names: Vec<&str> = signed_headers.split(';').collect();
    let must_be_signed = |name: &str| matches!(name, "content-type" | "host") || name.starts_with("x-");
    let received = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let unsigned = ["host", "x-sdk-date"]
        .map(str::to_owned)
        .into_iter()
        .chain(received)
        .find(|name| must_be_signed(name) && !names.contains(&&**name));
    if unsigned.is_some() || !names.is_sorted() {
        return Err(refused("a header is not signed"));
    }
    let mut headers = String::new();
    for name in names {
        let value = request
            .header(name)
            .ok_or_else(|| refused("a signed header is missing"))?;
        headers.push_str(&format!("{name}:{value}\n"));
    }
    let bad_text = |_| fault(400, "badRequest", "The request is not UTF-8.");
    let query = form_pairs(request.query()).map_err(bad_text)?;
    let path = decode_path(request.path()).map_err(bad_text)?;
    let segments: Vec<String> = path.split('/').map(percent_encode).collect();
    let mut path = segments.join("/");
    if !path.ends_with('/') {
        path.push('/');
    }
    let canonical = [
        &request.method,
        &path,
        &canonical_query(query),
        &headers,
        signed_headers,
        &hex(digest(&SHA256, &request.body).as_ref()),
    ]
    .join("\n");
    let timestamp = request.header("x-sdk-date").unwrap_or_default();
    Ok(Claim {
        access_key: access_key.to_owned(),
        token: request
            .header("x-security-token")
            .filter(|token| !token.is_empty()),
        nonce: None,
        signature: signature.to_owned(),
        string_to_sign: format!(
            "SDK-HMAC-SHA256\n{timestamp}\n{}",
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        ),
        timestamp,
        canonical,
    })
}
