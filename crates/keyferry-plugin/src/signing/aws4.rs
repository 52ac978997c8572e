//! `AWS4-HMAC-SHA256`: AWS Signature Version 4, for services whose paths are signed as they are sent.
//!
//! Every header of the request is signed, and `host`. The vendor wants `x-amz-date` (`20261122T013818Z`) and
//! `content-type` among them, and with a temporary access key `x-amz-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{
    SigningKey, canonical_headers, canonical_query, header_lines, header_names, header_text,
};

/// The scheme's name.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature is good for, besides its day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scope<'a> {
    /// The region: `us-east-1`.
    pub region: &'a str,
    /// The service's code: `ec2`.
    pub service: &'a str,
}

/// The request with an `authorization` header that signs all of it.
pub fn sign(request: HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> HttpRequest {
    let authorization = Expr::concat([
        format!("{ALGORITHM} Credential=").into(),
        key.id(),
        format!(
            "/{}, SignedHeaders={}, Signature=",
            credential_scope(&request, scope),
            header_names(&canonical_headers(&request))
        )
        .into(),
        signature(&request, key, scope),
    ]);
    request.with_header("authorization", authorization)
}

/// The signature, in hexadecimal. Its key derives from the secret by day, region and service.
pub fn signature(request: &HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> Expr {
    let secret = Expr::concat([Expr::text("AWS4"), key.secret()]);
    let signing_key = [date(request), scope.region, scope.service, TERMINATOR]
        .into_iter()
        .fold(secret, |key, part| Expr::hmac_sha256(key, part.into()));
    Expr::hmac_sha256(signing_key, string_to_sign(request, scope)).hex()
}

/// What the HMAC is made of.
pub fn string_to_sign(request: &HttpRequest, scope: Scope<'_>) -> Expr {
    let time = header_text(request, "x-amz-date");
    Expr::concat([
        format!("{ALGORITHM}\n{time}\n{}\n", credential_scope(request, scope)).into(),
        canonical_request(request).sha256().hex(),
    ])
}

/// The request in the form that both sides hash.
pub fn canonical_request(request: &HttpRequest) -> Expr {
    let headers = canonical_headers(request);
    Expr::concat([
        Expr::Text(format!("{}\n{}\n", request.method, request.path)),
        canonical_query(&request.query),
        Expr::text("\n"),
        header_lines(&headers),
        Expr::Text(format!("\n{}\n", header_names(&headers))),
        request.body.clone().sha256().hex(),
    ])
}

fn credential_scope(request: &HttpRequest, scope: Scope<'_>) -> String {
    let Scope { region, service } = scope;
    format!("{}/{region}/{service}/{TERMINATOR}", date(request))
}

/// The day: what `x-amz-date` has before its `T`.
fn date(request: &HttpRequest) -> &str {
    let time = header_text(request, "x-amz-date");
    time.split_once('T').map_or(time, |(date, _)| date)
}

/// The last part of every scope.
const TERMINATOR: &str = "aws4_request";
