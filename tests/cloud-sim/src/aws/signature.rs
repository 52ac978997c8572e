//! Checks `AWS4-HMAC-SHA256`, from whatever headers the client signed.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use crate::refusal::Refusal;
use crate::vendor::{Claim, Credential};
use crate::wire::{Request, canonical_query, check_compact_time, form_pairs, hex};

/// Where a signature is good, besides its day.
pub(super) struct Scope {
    date: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// Verifies a request against the credentials that the cloud knows.
pub(super) fn verify(request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
    let (claim, scope) = claim(request)?;
    let expired = || Refusal::new(400, "RequestExpired", "Request has expired.");
    if !claim.timestamp.starts_with(&scope.date) || !check_compact_time(&claim.timestamp, now) {
        return Err(expired());
    }
    let not_validated = || {
        let message = "AWS was not able to validate the provided access credentials";
        Refusal::new(401, "AuthFailure", message)
    };
    let known = keyring.iter().find(|known| known.access_key == claim.access_key);
    let credential = known.ok_or_else(not_validated)?;
    if credential.session_token != claim.token {
        return Err(not_validated());
    }
    if credential.expires_at.is_some_and(|end| end <= now) {
        return Err(expired());
    }
    match mac(&credential.secret_key, &scope, &claim.string_to_sign) == claim.signature {
        true => Ok(claim),
        false => Err(Refusal::new(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )),
    }
}

/// The access key id of a request, believed or not.
pub(super) fn access_key(request: &Request) -> Option<String> {
    fields(&request.header("authorization")?).map(|fields| fields.access_key.to_owned())
}

/// The scope of a request, believed or not.
pub(super) fn scope(request: &Request) -> Option<Scope> {
    fields(&request.header("authorization")?).map(|fields| fields.scope)
}

struct Fields<'a> {
    access_key: &'a str,
    scope: Scope,
    signed_headers: &'a str,
    signature: &'a str,
}

fn fields(authorization: &str) -> Option<Fields<'_>> {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
    let (credential, rest) = rest.split_once(", SignedHeaders=")?;
    let (signed_headers, signature) = rest.split_once(", Signature=")?;
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key, date, region, service, "aws4_request"] = *parts else {
        return None;
    };
    Some(Fields {
        access_key,
        scope: Scope {
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        },
        signed_headers,
        signature,
    })
}

fn claim(request: &Request) -> Result<(Claim, Scope), Refusal> {
    let incomplete = |what: &str| {
        let message = format!("The request signature does not conform to AWS standards: {what}.");
        Refusal::new(400, "IncompleteSignature", message)
    };
    let Some(authorization) = request.header("authorization") else {
        let message = "The request must contain a valid AWS access key id.";
        return Err(Refusal::new(403, "MissingAuthenticationToken", message));
    };
    let fields = fields(&authorization).ok_or_else(|| incomplete("Authorization is of another form"))?;
    let names: Vec<&str> = fields.signed_headers.split(';').collect();
    let must_be_signed = |name: &str| matches!(name, "content-type" | "host") || name.starts_with("x-amz-");
    let received = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let unsigned = ["host", "x-amz-date"]
        .map(str::to_owned)
        .into_iter()
        .chain(received)
        .find(|name| must_be_signed(name) && !names.contains(&&**name));
    if let Some(name) = unsigned {
        return Err(incomplete(&format!("{name} must be signed")));
    }
    if !names.is_sorted_by(|left, right| left < right) {
        return Err(incomplete("SignedHeaders is not sorted"));
    }
    let query = form_pairs(request.query())
        .map_err(|error| Refusal::new(400, "InvalidParameterValue", error.to_string()))?;
    let mut headers = String::new();
    for name in names {
        let value = request
            .header(name)
            .ok_or_else(|| incomplete(&format!("the signed header {name} is not there")))?;
        headers.push_str(&format!("{name}:{value}\n"));
    }
    let canonical = [
        &request.method,
        request.path(),
        &canonical_query(query),
        &headers,
        fields.signed_headers,
        &hex(digest(&SHA256, &request.body).as_ref()),
    ]
    .join("\n");
    let timestamp = request.header("x-amz-date").unwrap_or_default();
    let Scope {
        date,
        region,
        service,
    } = &fields.scope;
    let string_to_sign = format!(
        "AWS4-HMAC-SHA256\n{timestamp}\n{date}/{region}/{service}/aws4_request\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let claim = Claim {
        access_key: fields.access_key.to_owned(),
        token: request
            .header("x-amz-security-token")
            .filter(|token| !token.is_empty()),
        timestamp,
        nonce: None,
        signature: fields.signature.to_owned(),
        canonical,
        string_to_sign,
    };
    Ok((claim, fields.scope))
}

/// The signature: its key derives from the secret by day, region and service.
fn mac(secret_key: &str, scope: &Scope, string_to_sign: &str) -> String {
    let sign = |key: &[u8], data: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, data.as_bytes()).as_ref().to_vec()
    };
    let key = [&*scope.date, &scope.region, &scope.service, "aws4_request"]
        .into_iter()
        .fold(format!("AWS4{secret_key}").into_bytes(), |key, part| {
            sign(&key, part)
        });
    hex(&sign(&key, string_to_sign))
}
