//! Vendors' request signatures, as functions from a request to the same request with its signature: recipes that
//! the courier evaluates, since the secrets are there.
//!
//! Each scheme signs the whole request it is given: set every header and parameter first.

pub mod acs3;
pub mod aws4;
pub mod huawei;
pub mod rpc;
mod scoped;
pub mod volcengine;

use std::fmt::Write as _;

use crate::recipe::{Expr, HttpRequest};

/// What a request is signed with.
pub trait SigningKey {
    /// The access key id.
    fn id(&self) -> Expr;
    /// The access key secret, which goes nowhere but into the key of an HMAC.
    fn secret(&self) -> Expr;
}

/// The account's own access key: names of the credential fields that a signature uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccessKey {
    /// The access key id, a `public` field.
    pub id: &'static str,
    /// The access key secret, an `hmac_key` field.
    pub secret: &'static str,
}

impl SigningKey for AccessKey {
    fn id(&self) -> Expr {
        Expr::secret(self.id)
    }

    fn secret(&self) -> Expr {
        Expr::secret(self.secret)
    }
}

/// An access key that a document holds, for the requests of `credentials`: a profile's own key, say, with which a role is
/// assumed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DocumentKey<'a> {
    /// The access key id itself.
    pub id: &'a str,
    /// The handle that stands for the access key secret.
    pub secret: &'a str,
}

impl SigningKey for DocumentKey<'_> {
    fn id(&self) -> Expr {
        Expr::text(self.id)
    }

    fn secret(&self) -> Expr {
        Expr::secret(self.secret)
    }
}

/// What a signature is good for, besides its day, where a scheme says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scope<'a> {
    /// The region: `us-east-1`.
    pub region: &'a str,
    /// The service's code: `ec2`.
    pub service: &'a str,
}

/// SHA-256 of a body, in hexadecimal: what several schemes want in a header (`x-acs-content-sha256`, `x-content-sha256`).
pub fn content_sha256(body: &Expr) -> Expr {
    body.clone().sha256().hex()
}

/// Percent-encodes everything but `A-Z a-z 0-9 - _ . ~` (RFC 3986 §2.3), with upper-case hex.
pub fn percent_encode(text: &str) -> String {
    percent_encode_bytes(text.as_bytes())
}

/// A time of RFC 3339 without its punctuation, as several schemes write it: `20261122T013649Z`.
pub fn compact_time(rfc3339: &str) -> String {
    rfc3339.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

fn percent_encode_bytes(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02X}").expect("writing to a string never fails"),
        }
    }
    encoded
}

/// Percent-encoding of an expression; texts in it are encoded here, the rest by the courier.
fn percent(expr: Expr) -> Expr {
    match expr {
        Expr::Text(text) => Expr::Text(percent_encode(&text)),
        Expr::Concat(parts) => Expr::concat(parts.into_iter().map(percent)),
        other => other.percent(),
    }
}

/// A request in the form that both sides hash: method, path, parameters, signed headers, their names, hash of the body.
fn canonical_request(
    request: &HttpRequest,
    path: &str,
    query: Expr,
    headers: &[(String, Expr)],
    content_sha256: Expr,
) -> Expr {
    Expr::concat([
        Expr::Text(format!("{}\n{path}\n", request.method)),
        query,
        Expr::text("\n"),
        header_lines(headers),
        Expr::Text(format!("\n{}\n", header_names(headers))),
        content_sha256,
    ])
}

/// `name=value` for each parameter, percent-encoded, sorted by the bare name, joined by `&`.
fn canonical_query<'a>(parameters: impl IntoIterator<Item = &'a (String, Expr)>) -> Expr {
    let mut parameters: Vec<_> = parameters.into_iter().collect();
    parameters.sort_by_key(|(name, _)| name.as_str());
    form(parameters)
}

/// The body of a form (`application/x-www-form-urlencoded`): `name=value` for each parameter, percent-encoded, in this
/// order, joined by `&`.
pub fn form<'a>(parameters: impl IntoIterator<Item = &'a (String, Expr)>) -> Expr {
    let pairs = parameters
        .into_iter()
        .enumerate()
        .flat_map(|(index, (name, value))| {
            let separator = if index == 0 { "" } else { "&" };
            [
                Expr::Text(format!("{separator}{}=", percent_encode(name))),
                percent(value.clone()),
            ]
        });
    Expr::concat(pairs)
}

/// All headers of the request and `host`: lower-case names and trimmed values, sorted by name.
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

/// `name:value` for each header, with a line end after each.
fn header_lines(headers: &[(String, Expr)]) -> Expr {
    let lines = headers
        .iter()
        .flat_map(|(name, value)| [Expr::Text(format!("{name}:")), value.clone(), Expr::text("\n")]);
    Expr::concat(lines)
}

/// The names of the headers, joined by `;`.
fn header_names(headers: &[(String, Expr)]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.join(";")
}

/// The value of a header that is plain text; empty where there is none.
fn header_text<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    let value = request
        .headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name));
    match value {
        Some((_, Expr::Text(text))) => text,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(percent_encode("aZ09-_.~ +*%/é"), "aZ09-_.~%20%2B%2A%25%2F%C3%A9");
    }

    #[test]
    fn a_time_loses_its_punctuation() {
        assert_eq!(compact_time("2026-11-22T01:36:49Z"), "20261122T013649Z");
    }

    #[test]
    fn a_canonical_request_has_six_parts() {
        let request = HttpRequest::new("GET", "https://c.example", "/a").with_header("X-B", " 1 ");
        let headers = canonical_headers(&request);
        let canonical = canonical_request(&request, "/a/", Expr::text("q="), &headers, Expr::text("hash"));
        let expected = "GET\n/a/\nq=\nhost:c.example\nx-b:1\n\nhost;x-b\nhash";
        assert_eq!(canonical, Expr::text(expected));
    }

    #[test]
    fn parameters_are_sorted_by_their_bare_names() {
        let parameters = [
            (
                "b".to_owned(),
                Expr::concat([Expr::text("x y"), Expr::secret("token")]),
            ),
            ("a~".to_owned(), Expr::text("")),
            ("a".to_owned(), Expr::text("&")),
        ];
        let expected = Expr::Concat(vec![
            Expr::text("a=%26&a~=&b=x%20y"),
            Expr::secret("token").percent(),
        ]);
        assert_eq!(canonical_query(&parameters), expected);
    }
}
