//! Checks `HMAC-SHA256`, from whatever headers the client signed.

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
    let time_matches = claim.timestamp.starts_with(&scope.date);
    if !time_matches || !check_compact_time(&claim.timestamp, now) {
        return Err(Refusal::new(
            400,
            "InvalidTimestamp",
            "The time stamp is too far from the server's time.",
        ));
    }
    let known = keyring.iter().find(|known| known.access_key == claim.access_key);
    let credential =
        known.ok_or_else(|| Refusal::new(401, "InvalidAccessKey", "The access key does not exist."))?;
    let is_over = credential.expires_at.is_some_and(|end| end <= now);
    if credential.session_token != claim.token || is_over {
        // The vendor does not publish a code for this.
        let message = "The security token is missing, wrong or has expired.";
        return Err(Refusal::new(401, "InvalidSecurityToken", message));
    }
    match mac(&credential.secret_key, &scope, &claim.string_to_sign) == claim.signature {
        true => Ok(claim),
        false => Err(Refusal::new(
            401,
            "SignatureDoesNotMatch",
            "The signature does not match what the server calculates.",
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
    let rest = authorization.strip_prefix("HMAC-SHA256 Credential=")?;
    let (credential, rest) = rest.split_once(", SignedHeaders=")?;
    let (signed_headers, signature) = rest.split_once(", Signature=")?;
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key, date, region, service, "request"] = *parts else {
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
    let missing = |what: &str| Refusal::new(401, "MissingSignature", format!("There is no {what}."));
    let authorization = request.header("authorization").unwrap_or_default();
    let fields = fields(&authorization).ok_or_else(|| missing("signature in the vendor's form"))?;
    let names: Vec<&str> = fields.signed_headers.split(';').collect();
    let must_be_signed =
        |name: &str| matches!(name, "content-md5" | "content-type" | "host") || name.starts_with("x-");
    let received = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let unsigned = ["host", "x-content-sha256", "x-date"]
        .map(str::to_owned)
        .into_iter()
        .chain(received)
        .find(|name| must_be_signed(name) && !names.contains(&&**name));
    if let Some(name) = unsigned.or_else(|| (!names.is_sorted()).then(|| "order".to_owned())) {
        return Err(missing(&format!("signed header {name}")));
    }
    let query = form_pairs(request.query())
        .map_err(|error| Refusal::new(400, "InvalidParameter", error.to_string()))?;
    let mut headers = String::new();
    for name in names {
        let value = request.header(name).ok_or_else(|| missing(name))?;
        let bare = value.strip_suffix(":80").or_else(|| value.strip_suffix(":443"));
        let value = bare.filter(|_| name == "host").unwrap_or(&value);
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
    let timestamp = request.header("x-date").ok_or_else(|| missing("x-date"))?;
    let Scope {
        date,
        region,
        service,
    } = &fields.scope;
    let string_to_sign = format!(
        "HMAC-SHA256\n{timestamp}\n{date}/{region}/{service}/request\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let claim = Claim {
        access_key: fields.access_key.to_owned(),
        token: request
            .header("x-security-token")
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
    let key = [&*scope.date, &scope.region, &scope.service, "request"]
        .into_iter()
        .fold(secret_key.as_bytes().to_vec(), |key, part| sign(&key, part));
    hex(&sign(&key, string_to_sign))
}
