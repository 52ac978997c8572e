//! `ACS3-HMAC-SHA256`: Alibaba Cloud's signature of requests, version 3.
//!
//! Every header of the request is signed, and `host`. The vendor wants all `x-acs-*` headers among them:
//! `x-acs-action`, `x-acs-version`, `x-acs-date`, `x-acs-signature-nonce`, `x-acs-content-sha256`, and with a
//! temporary access key `x-acs-accesskey-id` and `x-acs-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{self, SigningKey, canonical_headers, canonical_query, content_sha256, header_names};

/// The scheme's name.
pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The request with an `authorization` header that signs all of it.
pub fn sign(request: HttpRequest, key: &impl SigningKey) -> HttpRequest {
    let authorization = Expr::concat([
        format!("{ALGORITHM} Credential=").into(),
        key.id(),
        format!(
            ",SignedHeaders={},Signature=",
            header_names(&canonical_headers(&request))
        )
        .into(),
        signature(&request, key),
    ]);
    request.with_header("authorization", authorization)
}

/// The signature, in hexadecimal.
pub fn signature(request: &HttpRequest, key: &impl SigningKey) -> Expr {
    Expr::hmac_sha256(key.secret(), string_to_sign(request)).hex()
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
    signing::canonical_request(
        request,
        &request.path,
        canonical_query(&request.query),
        &canonical_headers(request),
        content_sha256(&request.body),
    )
}
