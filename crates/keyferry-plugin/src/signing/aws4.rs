//! `AWS4-HMAC-SHA256`: AWS Signature Version 4, for services whose paths are signed as they are sent.
//!
//! Every header of the request is signed, and `host`. The vendor wants `x-amz-date` (`20261122T013818Z`) and
//! `content-type` among them, and with a temporary access key `x-amz-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::scoped::Scheme;
use crate::signing::{Scope, SigningKey, canonical_headers, canonical_query};

/// The scheme's name.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The request with an `authorization` header that signs all of it.
pub fn sign(request: HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> HttpRequest {
    SCHEME.sign(request, key, scope)
}

/// The signature, in hexadecimal. Its key derives from the secret by day, region and service.
pub fn signature(request: &HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> Expr {
    SCHEME.signature(request, key, scope)
}

/// What the HMAC is made of.
pub fn string_to_sign(request: &HttpRequest, scope: Scope<'_>) -> Expr {
    SCHEME.string_to_sign(request, scope)
}

/// The request in the form that both sides hash.
pub fn canonical_request(request: &HttpRequest) -> Expr {
    SCHEME.canonical_request(request)
}

const SCHEME: Scheme = Scheme {
    algorithm: ALGORITHM,
    time_header: "x-amz-date",
    secret_prefix: "AWS4",
    terminator: "aws4_request",
    signed_headers: canonical_headers,
    canonical_query: |parameters| canonical_query(parameters),
};
