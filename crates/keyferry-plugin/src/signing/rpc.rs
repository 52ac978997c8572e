//! `HMAC-SHA1`: Alibaba Cloud's signature of RPC requests, version 1.
//!
//! Every query parameter is signed, empty ones too; no header is. The vendor wants `Action`, `Version`, `Format`,
//! `AccessKeyId`, `SignatureMethod`, `SignatureVersion`, `SignatureNonce` and `Timestamp` among them, and with a
//! temporary access key `SecurityToken`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{SigningKey, canonical_query, percent, percent_encode};

/// The value of `SignatureMethod`.
pub const METHOD: &str = "HMAC-SHA1";

/// The value of `SignatureVersion`.
pub const VERSION: &str = "1.0";

/// The request with a query parameter `Signature` that signs all others.
pub fn sign(request: HttpRequest, key: &impl SigningKey) -> HttpRequest {
    let signature = signature(&request, key);
    request.with_query("Signature", signature)
}

/// The signature, in base64.
pub fn signature(request: &HttpRequest, key: &impl SigningKey) -> Expr {
    let key = Expr::concat([key.secret(), Expr::text("&")]);
    Expr::hmac_sha1(key, string_to_sign(request)).base64()
}

/// What the HMAC is made of: names and values are encoded twice.
pub fn string_to_sign(request: &HttpRequest) -> Expr {
    let prefix = format!("{}&{}&", request.method, percent_encode(&request.path));
    Expr::concat([prefix.into(), percent(canonical_parameters(request))])
}

/// The parameters in the form that both sides sign.
pub fn canonical_parameters(request: &HttpRequest) -> Expr {
    canonical_query(&request.query)
}
