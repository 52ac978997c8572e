//! `HMAC-SHA256`: Volcengine's signature of requests.
//!
//! Signed are `host`, `content-type`, `content-md5` and every header that begins with `x-`. The vendor wants `x-date`
//! (`20261122T013749Z`) and `x-content-sha256` among them, and with a temporary access key `x-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{
    SigningKey, canonical_headers, header_lines, header_names, header_text, percent, percent_encode,
};

/// The scheme's name.
pub const ALGORITHM: &str = "HMAC-SHA256";

/// What a signature is good for, besides its day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scope<'a> {
    /// The region: `cn-beijing`.
    pub region: &'a str,
    /// The service's code: `ecs`.
    pub service: &'a str,
}

/// The request with an `authorization` header that signs it.
pub fn sign(request: HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> HttpRequest {
    let authorization = Expr::concat([
        format!("{ALGORITHM} Credential=").into(),
        key.id(),
        format!(
            "/{}, SignedHeaders={}, Signature=",
            credential_scope(&request, scope),
            header_names(&signed_headers(&request))
        )
        .into(),
        signature(&request, key, scope),
    ]);
    request.with_header("authorization", authorization)
}

/// The signature, in hexadecimal. Its key derives from the secret by day, region and service.
pub fn signature(request: &HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> Expr {
    let signing_key = [date(request), scope.region, scope.service, "request"]
        .into_iter()
        .fold(key.secret(), |key, part| Expr::hmac_sha256(key, part.into()));
    Expr::hmac_sha256(signing_key, string_to_sign(request, scope)).hex()
}

/// What the HMAC is made of.
pub fn string_to_sign(request: &HttpRequest, scope: Scope<'_>) -> Expr {
    let time = header_text(request, "x-date");
    Expr::concat([
        format!("{ALGORITHM}\n{time}\n{}\n", credential_scope(request, scope)).into(),
        canonical_request(request).sha256().hex(),
    ])
}

/// The request in the form that both sides hash.
pub fn canonical_request(request: &HttpRequest) -> Expr {
    let headers = signed_headers(request);
    Expr::concat([
        Expr::Text(format!("{}\n{}\n", request.method, request.path)),
        canonical_query(&request.query),
        Expr::text("\n"),
        header_lines(&headers),
        Expr::Text(format!("\n{}\n", header_names(&headers))),
        content_sha256(&request.body),
    ])
}

/// The value of `x-content-sha256`: SHA-256 of the body, in hexadecimal.
pub fn content_sha256(body: &Expr) -> Expr {
    body.clone().sha256().hex()
}

fn credential_scope(request: &HttpRequest, scope: Scope<'_>) -> String {
    format!("{}/{}/{}/request", date(request), scope.region, scope.service)
}

/// The day: the eight digits that `x-date` begins with.
fn date(request: &HttpRequest) -> &str {
    let time = header_text(request, "x-date");
    time.split_once('T').map_or(time, |(date, _)| date)
}

fn signed_headers(request: &HttpRequest) -> Vec<(String, Expr)> {
    let mut headers = canonical_headers(request);
    headers.retain(|(name, _)| {
        matches!(&**name, "content-md5" | "content-type" | "host") || name.starts_with("x-")
    });
    for (name, value) in &mut headers {
        if let Expr::Text(host) = value
            && name == "host"
        {
            // Of either scheme: the vendor's rule does not ask which one it is.
            let bare = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443"));
            *value = Expr::text(bare.unwrap_or(host));
        }
    }
    headers
}

/// Unlike other schemes', sorted by the encoded name.
fn canonical_query(parameters: &[(String, Expr)]) -> Expr {
    let mut parameters: Vec<(String, &Expr)> = parameters
        .iter()
        .map(|(name, value)| (percent_encode(name), value))
        .collect();
    parameters.sort_by(|(left, _), (right, _)| left.cmp(right));
    let pairs = parameters
        .into_iter()
        .enumerate()
        .flat_map(|(index, (name, value))| {
            let separator = if index == 0 { "" } else { "&" };
            [Expr::Text(format!("{separator}{name}=")), percent(value.clone())]
        });
    Expr::concat(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_port_is_not_signed() {
        let canonical = |origin: &str| match canonical_request(&HttpRequest::new("GET", origin, "/")) {
            Expr::Concat(parts) => parts,
            other => panic!("{other:?}"),
        };
        let bare = canonical("https://open.volcengineapi.com");
        assert_eq!(bare, canonical("https://open.volcengineapi.com:80"));
        assert_eq!(bare, canonical("http://open.volcengineapi.com:443"));
        assert_ne!(bare, canonical("https://open.volcengineapi.com:8080"));
    }

    #[test]
    fn parameters_are_sorted_by_their_encoded_names() {
        let parameters = [
            ("a\u{e9}".to_owned(), Expr::text("1")),
            ("aZ".to_owned(), Expr::text("2")),
        ];
        assert_eq!(canonical_query(&parameters), Expr::text("a%C3%A9=1&aZ=2"));
    }

    #[test]
    fn other_headers_are_not_signed() {
        let request = HttpRequest::new("GET", "https://open.volcengineapi.com", "/")
            .with_header("accept", "*/*")
            .with_header("x-date", "20261122T013749Z");
        assert_eq!(header_names(&signed_headers(&request)), "host;x-date");
        assert_eq!(date(&request), "20261122");
    }
}
