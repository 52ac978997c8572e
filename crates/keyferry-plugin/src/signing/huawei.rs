//! `SDK-HMAC-SHA256`: Huawei Cloud's signature of requests.
//!
//! Every header of the request is signed, and `host`, but for names with an underscore. The vendor wants `x-sdk-date`
//! (`20261122T014659Z`) among them, `x-project-id` where a project is meant, and with a temporary access key
//! `x-security-token`.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{
    self, SigningKey, canonical_headers, canonical_query, content_sha256, header_names, header_text,
    percent_encode_bytes,
};

/// The scheme's name.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// The request with an `authorization` header that signs all of it.
pub fn sign(request: HttpRequest, key: &impl SigningKey) -> HttpRequest {
    let authorization = Expr::concat([
        format!("{ALGORITHM} Access=").into(),
        key.id(),
        format!(
            ", SignedHeaders={}, Signature=",
            header_names(&signed_headers(&request))
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
        format!("{ALGORITHM}\n{}\n", header_text(request, "x-sdk-date")).into(),
        canonical_request(request).sha256().hex(),
    ])
}

/// The request in the form that both sides hash.
pub fn canonical_request(request: &HttpRequest) -> Expr {
    let content_sha256 = match header_text(request, "x-sdk-content-sha256") {
        "" => content_sha256(&request.body),
        stated => Expr::text(stated),
    };
    signing::canonical_request(
        request,
        &canonical_path(&request.path),
        canonical_query(&request.query),
        &signed_headers(request),
        content_sha256,
    )
}

fn signed_headers(request: &HttpRequest) -> Vec<(String, Expr)> {
    let mut headers = canonical_headers(request);
    headers.retain(|(name, _)| !name.contains('_'));
    headers
}

/// The path decoded and encoded again, with a slash at its end. A `%2F` becomes a slash: decoding comes first.
fn canonical_path(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let escaped = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => digit(*high).zip(digit(*low)).map(|digits| (digits, after)),
            _ => None,
        };
        match escaped {
            Some(((high, low), after)) => {
                decoded.push(high << 4 | low);
                rest = after;
            }
            None => decoded.push(*byte),
        }
    }
    let segments: Vec<String> = decoded
        .split(|&byte| byte == b'/')
        .map(percent_encode_bytes)
        .collect();
    let path = segments.join("/");
    if path.ends_with('/') { path } else { path + "/" }
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_then_encoded() {
        for (path, canonical) in [
            ("/", "/"),
            ("/v3/projects", "/v3/projects/"),
            ("/a%2Fb%20c%3Fd%23e%2520%2Bf", "/a/b%20c%3Fd%23e%2520%2Bf/"),
            ("/%E6%B5%8B:1/", "/%E6%B5%8B%3A1/"),
            ("/100%/%zz", "/100%25/%25zz/"),
        ] {
            assert_eq!(canonical_path(path), canonical);
        }
    }

    #[test]
    fn a_header_with_an_underscore_is_not_signed() {
        let request = HttpRequest::new("GET", "https://ecs.cn-north-4.myhuaweicloud.com", "/")
            .with_header("x_other", "1")
            .with_header("x-sdk-date", "20261122T014659Z");
        assert_eq!(header_names(&signed_headers(&request)), "host;x-sdk-date");
    }

    #[test]
    fn a_stated_digest_counts() {
        let request = HttpRequest::new("PUT", "https://obs.cn-north-4.myhuaweicloud.com", "/")
            .with_header("x-sdk-content-sha256", "UNSIGNED-PAYLOAD")
            .with_body("x");
        let Expr::Text(text) = canonical_request(&request) else {
            panic!("not plain")
        };
        assert!(text.ends_with("\nUNSIGNED-PAYLOAD"), "{text}");
    }
}
