//! Lifts a secret out of a reply, by its place in the text: no parser copies it on the way.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::json::{self, Leaf, Strictness};
use crate::secret::WipedBuffer;

pub(crate) mod xml;

/// Takes the string at a JSON pointer (RFC 6901) out of a body and leaves `"<name>"` in its place.
///
/// None where the body is not JSON or has no string there, or an empty one. Of a member that is there twice, the last
/// counts, and all are taken out.
pub(crate) fn lift(body: &[u8], pointer: &str, name: &str) -> Option<Lifted> {
    let tokens = json::tokens(pointer)?;
    let mut found: Vec<Range<usize>> = Vec::new();
    json::walk(body, Strictness::Lenient, &mut |path, leaf| {
        if let (Leaf::String(content), true) = (leaf, json::is_at(path, &tokens)) {
            found.push(content);
        }
    })?;
    let secret = json::unescape(&body[found.last()?.clone()])?;
    if secret.is_empty() {
        return None;
    }
    let rest = without(body, &found, &format!("<{name}>"));
    Some(Lifted { secret, rest })
}

/// Whether a body is JSON to its end and has no string at a JSON pointer, or an empty one: what [`lift`] did not find there is
/// not in it.
pub(crate) fn is_without(body: &[u8], pointer: &str) -> bool {
    let Some(tokens) = json::tokens(pointer) else {
        return false;
    };
    let mut is_there = false;
    let whole = json::walk(body, Strictness::Lenient, &mut |path, leaf| {
        if let Leaf::String(content) = leaf {
            is_there |= !content.is_empty() && json::is_at(path, &tokens);
        }
    });
    whole.is_some() && !is_there
}

/// A body with this in place of some of its parts.
fn without(body: &[u8], parts: &[Range<usize>], blank: &str) -> Zeroizing<Vec<u8>> {
    let mut rest = WipedBuffer::default();
    let mut end = 0;
    for part in parts {
        rest.push(&body[end..part.start]);
        rest.push(blank.as_bytes());
        end = part.end;
    }
    rest.push(&body[end..]);
    rest.into_bytes()
}

/// Takes the value of a header, and leaves `<name>` in its place; none where there is no such header, or it is empty.
///
/// Of a header that is there twice, the last counts, and all are taken.
pub(crate) fn lift_header(
    headers: &mut [(String, Zeroizing<Vec<u8>>)],
    header: &str,
    name: &str,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut secret = None;
    for (other, value) in headers {
        if other.eq_ignore_ascii_case(header) {
            secret = Some(Zeroizing::new(value.trim_ascii().to_vec()));
            *value = Zeroizing::new(format!("<{name}>").into_bytes());
        }
    }
    secret.filter(|secret| !secret.is_empty() && std::str::from_utf8(secret).is_ok())
}

/// See [`lift`].
pub(crate) struct Lifted {
    /// The string's value as UTF-8.
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// The body without it.
    pub(crate) rest: Zeroizing<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, pointer: &str, secret: &str, rest: &str) {
        let lifted = lift(body.as_bytes(), pointer, "private_key").unwrap();
        assert_eq!(String::from_utf8_lossy(&lifted.secret), secret);
        assert_eq!(String::from_utf8_lossy(&lifted.rest), rest);
    }

    #[test]
    fn a_string_is_lifted_out() {
        check(
            r#"{"A":"x","Key":"se\\ncret"}"#,
            "/Key",
            "se\\ncret",
            r#"{"A":"x","Key":"<private_key>"}"#,
        );
        check(
            r#"{"Key":"a\nb\u00e9\ud83d\udd11\/"}"#,
            "/Key",
            "a\nbé\u{1f511}/",
            r#"{"Key":"<private_key>"}"#,
        );
        check(
            r#" [ 1 , { "a/b" : [ true , "s" ] } ] "#,
            "/1/a~1b/1",
            "s",
            r#" [ 1 , { "a/b" : [ true , "<private_key>" ] } ] "#,
        );
        check(
            r#"{"\u004bey":"s"}"#,
            "/Key",
            "s",
            r#"{"\u004bey":"<private_key>"}"#,
        );
        check(
            r#"{"Key":"one","Key":"two"}"#,
            "/Key",
            "two",
            r#"{"Key":"<private_key>","Key":"<private_key>"}"#,
        );
    }

    #[test]
    fn a_body_that_may_hide_it_is_known() {
        for body in [
            r#"{}"#,
            r#"{"Key":""}"#,
            r#"{"Key":7}"#,
            r#"{"Other":{"Key":"x"}}"#,
            "[]",
        ] {
            assert!(is_without(body.as_bytes(), "/Key"), "{body}");
        }
        for body in [
            "",
            r#"{"Key":"x"}"#,
            r#"{"Key":"\ud83d"}"#,
            r#"{"Other":"x""#,
            r#"{"Other":"x"} trailing"#,
            "<Key>x</Key>",
        ] {
            assert!(!is_without(body.as_bytes(), "/Key"), "{body}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_lifted() {
        for body in [
            "",
            "{}",
            r#"{"Key":""}"#,
            r#"{"Key":7}"#,
            r#"{"Key":{"Key":"x"}}"#,
            r#"{"Other":{"Key":"x"}}"#,
            r#"{"Key":"x""#,
            r#"{"Key":"x"} trailing"#,
            r#"{"Key":"x\q"}"#,
            r#"{"Key":"\ud83d"}"#,
            r#"{"Key":"x\"#,
            "{\"Key\":\"x\ny\"}",
            "{\"Key\":\"\u{0}\"}",
        ] {
            assert!(lift(body.as_bytes(), "/Key", "private_key").is_none(), "{body}");
        }
        assert!(lift(b"{\"Key\":\"\xff\"}", "/Key", "private_key").is_none());
        assert!(lift("[".repeat(100_000).as_bytes(), "/0", "private_key").is_none());
    }
}
