//! Vendors' request signatures, as functions from a request to the same request with its signature: recipes that
//! the courier evaluates, since the secrets are there.
//!
//! Each scheme signs the whole request it is given: set every header and parameter first.

pub mod acs3;
pub mod rpc;

use std::fmt::Write as _;

use crate::recipe::Expr;

/// Names of the credential fields that a signature uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccessKey {
    /// The access key id, a `public` field.
    pub id: &'static str,
    /// The access key secret, an `hmac_key` field.
    pub secret: &'static str,
}

/// Percent-encodes everything but `A-Z a-z 0-9 - _ . ~` (RFC 3986 §2.3), with upper-case hex.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
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

/// `name=value` for each parameter, percent-encoded, sorted by the bare name, joined by `&`.
fn canonical_query<'a>(parameters: impl IntoIterator<Item = &'a (String, Expr)>) -> Expr {
    let mut parameters: Vec<_> = parameters.into_iter().collect();
    parameters.sort_by_key(|(name, _)| name.as_str());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(percent_encode("aZ09-_.~ +*%/é"), "aZ09-_.~%20%2B%2A%25%2F%C3%A9");
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
