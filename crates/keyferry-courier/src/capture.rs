//! Lifts a secret out of a reply, by its place in the text: no parser copies it on the way.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::secret::WipedBuffer;

/// Takes the string at a JSON pointer (RFC 6901) out of a body and leaves `"<name>"` in its place.
///
/// None where the body is not JSON or has no string there, or an empty one. Of a member that is there twice, the last
/// counts, and all are taken out.
pub(crate) fn lift(body: &[u8], pointer: &str, name: &str) -> Option<Lifted> {
    let path: Vec<String> = pointer
        .strip_prefix('/')?
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect();
    let mut scan = Scan {
        text: body,
        at: 0,
        found: Vec::new(),
    };
    scan.white_space();
    scan.value(Some(&path), 0)?;
    scan.white_space();
    if scan.at != body.len() {
        return None;
    }
    let secret = unescape(&body[scan.found.last()?.clone()])?;
    if secret.is_empty() {
        return None;
    }
    let mut rest = WipedBuffer::default();
    let mut end = 0;
    for string in &scan.found {
        rest.push(&body[end..string.start]);
        rest.push(format!("<{name}>").as_bytes());
        end = string.end;
    }
    rest.push(&body[end..]);
    Some(Lifted {
        secret,
        rest: rest.into_bytes(),
    })
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

/// A pass over JSON text (RFC 8259) that remembers where the wanted strings are.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// Contents of strings, without their quotes.
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    /// Passes one value. `path`: what is left of the pointer; none when this value is not on it.
    fn value(&mut self, path: Option<&[String]>, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.text.get(self.at)? {
            b'{' => self.object(path, depth),
            b'[' => self.array(path, depth),
            b'"' => {
                let string = self.string()?;
                if path.is_some_and(<[String]>::is_empty) {
                    self.found.push(string);
                }
                Some(())
            }
            _ => self.word(),
        }
    }

    fn object(&mut self, path: Option<&[String]>, depth: usize) -> Option<()> {
        self.list(b'{', b'}', |scan, _| {
            let key = scan.string()?;
            scan.white_space();
            scan.byte(b':')?;
            scan.white_space();
            let below = path.and_then(<[String]>::split_first).filter(|(wanted, _)| {
                unescape(&scan.text[key.clone()]).is_some_and(|key| *key == wanted.as_bytes())
            });
            scan.value(below.map(|(_, rest)| rest), depth + 1)
        })
    }

    fn array(&mut self, path: Option<&[String]>, depth: usize) -> Option<()> {
        self.list(b'[', b']', |scan, index| {
            let below = path
                .and_then(<[String]>::split_first)
                .filter(|(wanted, _)| **wanted == index.to_string());
            scan.value(below.map(|(_, rest)| rest), depth + 1)
        })
    }

    /// Passes items between brackets.
    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        self.byte(open)?;
        self.white_space();
        if self.byte(close).is_some() {
            return Some(());
        }
        for index in 0.. {
            self.white_space();
            item(self, index)?;
            self.white_space();
            if self.byte(close).is_some() {
                break;
            }
            self.byte(b',')?;
        }
        Some(())
    }

    /// Passes a string; where its content is.
    fn string(&mut self) -> Option<Range<usize>> {
        self.byte(b'"')?;
        let start = self.at;
        loop {
            match self.text.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(start..self.at - 1);
                }
                b'\\' => self.at += 2,
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    /// Passes a number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
            .count();
        self.at += length;
        (length > 0).then_some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn white_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// The value of a JSON string's content, as UTF-8; none where an escape or the text is not valid.
fn unescape(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(content.len()));
    let mut rest = content;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'"' | b'\\' | b'/' => out.push(escape),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut units = vec![unit(rest)?];
                rest = &rest[4..];
                if (0xd800..0xdc00).contains(&units[0]) {
                    rest = rest.strip_prefix(b"\\u")?;
                    units.push(unit(rest)?);
                    rest = &rest[4..];
                }
                for c in char::decode_utf16(units) {
                    out.extend_from_slice(c.ok()?.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            _ => return None,
        }
    }
    std::str::from_utf8(&out).is_ok().then_some(out)
}

fn unit(text: &[u8]) -> Option<u16> {
    let digits = text
        .get(..4)
        .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// As deep as the parsers that come after.
const MAX_DEPTH: usize = 127;

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
