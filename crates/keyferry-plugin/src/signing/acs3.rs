//! `ACS3-HMAC-SHA256`: Alibaba Cloud's signature of requests, version 3.
//!
//! Every header of the request is signed, and `host`. The vendor wants all `x-acs-*` headers among them:
//! `x-acs-action`, `x-acs-version`, `x-acs-date`, `x-acs-signature-nonce`, `x-acs-content-sha256`, and with a
//! temporary access key `x-acs-accesskey-id` and `x-acs-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{AccessKey, canonical_query};

/// The scheme's name.
pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The request with an `authorization` header that signs all of it.
pub fn sign(request: HttpRequest, key: &AccessKey) -> HttpRequest {
    let authorization = Expr::concat([
        format!("{ALGORITHM} Credential=").into(),
        Expr::secret(key.id),
        format!(",SignedHeaders={},Signature=", signed_headers(&request)).into(),
        signature(&request, key),
    ]);
    request.with_header("authorization", authorization)
}

/// The signature, in hexadecimal.
pub fn signature(request: &HttpRequest, key: &AccessKey) -> Expr {
    Expr::hmac_sha256(Expr::secret(key.secret), string_to_sign(request)).hex()
}

/// What the HMAC is made of.
pub fn string_to_sign(request: &HttpRequest) -> Expr {
    Expr::concat([
        format!("{ALGORITHM}\n").into(),
        canonical_request(request).sha256().hex(),
    ])
}

/// The request in the form that both sides hash.
pub fn canonical_request(request: &HttpRequest) -> Expr {
    let headers = canonical_headers(request)
        .into_iter()
        .flat_map(|(name, value)| [Expr::Text(format!("{name}:")), value, Expr::text("\n")]);
    Expr::concat([
        Expr::Text(format!("{}\n{}\n", request.method, request.path)),
        canonical_query(&request.query),
        Expr::text("\n"),
        Expr::concat(headers),
        Expr::Text(format!("\n{}\n", signed_headers(request))),
        content_sha256(&request.body),
    ])
}

/// The value of `x-acs-content-sha256`: SHA-256 of the body, in hexadecimal.
pub fn content_sha256(body: &Expr) -> Expr {
    body.clone().sha256().hex()
}

fn signed_headers(request: &HttpRequest) -> String {
    let names: Vec<String> = canonical_headers(request)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.join(";")
}

/// Lower-case names and trimmed values, sorted by name.
fn canonical_headers(request: &HttpRequest) -> Vec<(String, Expr)> {
    let mut headers = vec![("host".to_owned(), Expr::Text(request.authority()))];
    headers.extend(request.headers.iter().map(|(name, value)| {
        let value = match value {
            Expr::Text(text) => Expr::text(text.trim()),
            other => other.clone(),
        };
        (name.to_ascii_lowercase(), value)
    }));
    headers.sort_by(|(left, _), (right, _)| left.cmp(right));
    headers
}
