//! `HMAC-SHA256`: Volcengine's signature of requests.
//!
//! Signed are `host`, `content-type`, `content-md5` and every header that begins with `x-`. The vendor wants `x-date`
//! (`20261122T013749Z`) and `x-content-sha256` among them, and with a temporary access key `x-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::scoped::Scheme;
use crate::signing::{Scope, SigningKey, canonical_headers, percent, percent_encode};

/// The scheme's name.
pub const ALGORITHM: &str = "HMAC-SHA256";

/// The request with an `authorization` header that signs it.
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
    time_header: "x-date",
    secret_prefix: "",
    terminator: "request",
    signed_headers,
    canonical_query,
};

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
    use crate::signing::header_names;

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
    }
}
