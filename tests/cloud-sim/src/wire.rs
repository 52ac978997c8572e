//! A request as it came off the wire, and the text forms that signatures are made over.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// One HTTP request, byte for byte as the client sent it.
///
/// There is no `Debug`: headers and target carry signatures and security tokens.
#[derive(Clone)]
pub struct Request {
    /// The method, case kept.
    pub method: String,
    /// Path and query as received, not decoded.
    pub target: String,
    /// Names and values in the order received.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The path, not decoded.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&*self.target, |(path, _)| path)
    }

    /// The query, not decoded, without its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A header's value, trimmed; the values of a header that is there more than once are joined by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(received, _)| received.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The decoded parameters of the query and of a form body, in the order received.
    ///
    /// # Errors
    /// [`NotText`] when something decodes to bytes that are not UTF-8.
    pub fn parameters(&self) -> Result<Vec<(String, String)>, NotText> {
        let mut parameters = form_pairs(self.query())?;
        let is_form = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if is_form {
            parameters.extend(form_pairs(std::str::from_utf8(&self.body).map_err(|_| NotText)?)?);
        }
        Ok(parameters)
    }
}

/// A parameter is not UTF-8.
#[derive(Debug, thiserror::Error)]
#[error("a parameter is not UTF-8 text")]
pub struct NotText;

/// Decodes `name=value&...` as a form: `+` is a space, then percent-decoding. Empty values stay.
pub(crate) fn form_pairs(text: &str) -> Result<Vec<(String, String)>, NotText> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((form_decode(name)?, form_decode(value)?))
        })
        .collect()
}

/// Decodes percent-encoding as in a path, where `+` stands for itself.
pub(crate) fn decode_path(text: &str) -> Result<String, NotText> {
    form_decode(&text.replace('+', "%2B"))
}

/// Whether a time stamp (`20260102T030405Z`) is at most 15 minutes off, either way.
pub(crate) fn check_compact_time(timestamp: &str, now: SystemTime) -> bool {
    compact_time(timestamp).is_some_and(|time| {
        let off_by = now.duration_since(time).unwrap_or_else(|ahead| ahead.duration());
        off_by <= Duration::from_secs(15 * 60)
    })
}

/// The time that a time stamp like `20260102T030405Z` says.
pub(crate) fn compact_time(timestamp: &str) -> Option<SystemTime> {
    let is_digit = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if timestamp.len() != 16 || !timestamp.bytes().enumerate().all(is_digit) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| &timestamp[range];
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(9..11),
        part(11..13),
        part(13..15)
    );
    humantime::parse_rfc3339(&rfc3339).ok()
}

/// RFC 3986 percent-encoding: letters, digits and `-_.~` stay, every other byte becomes `%XX` in upper case.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            other => {
                encoded.push('%');
                encoded.push(hex_digit(other >> 4).to_ascii_uppercase());
                encoded.push(hex_digit(other & 0xf).to_ascii_uppercase());
            }
        }
    }
    encoded
}

/// The sorted, encoded parameters joined by `&`: the canonical query of both signature versions.
pub(crate) fn canonical_query(mut parameters: Vec<(String, String)>) -> String {
    parameters.sort();
    let mut text = String::new();
    for (name, value) in parameters {
        let separator = if text.is_empty() { "" } else { "&" };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{separator}{}={}",
            percent_encode(&name),
            percent_encode(&value)
        );
    }
    text
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 0xf)])
        .collect()
}

fn hex_digit(nibble: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(nibble & 0xf)])
}

/// As browsers and form parsers do it: a `%` without two hexadecimal digits after it stands for itself.
fn form_decode(text: &str) -> Result<String, NotText> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| Some((hex_value(*bytes.get(at + 1)?)?, hex_value(*bytes.get(at + 2)?)?)))
            .flatten();
        match (byte, escaped) {
            (_, Some((high, low))) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            (b'+', None) => {
                decoded.push(b' ');
                at += 1;
            }
            (other, None) => {
                decoded.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| NotText)
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Writes a value as XML; an array becomes as many elements of its own name.
pub(crate) fn write_xml(text: &mut String, name: &str, value: &Value) {
    if let Value::Array(items) = value {
        items.iter().for_each(|item| write_xml(text, name, item));
        return;
    }
    text.push_str(&format!("<{name}>"));
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, field)| write_xml(text, name, field)),
        Value::String(words) => {
            text.push_str(
                &words
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;"),
            );
        }
        other => text.push_str(&other.to_string()),
    }
    text.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_and_its_canonical_text() {
        let pairs = form_pairs("b=a%2Bb+%26+c%3Dd~e%2Af%28&a=&c=%zz%4").unwrap();
        assert_eq!(pairs[0], ("b".into(), "a+b & c=d~e*f(".into()));
        assert_eq!(pairs[2], ("c".into(), "%zz%4".into()));
        assert_eq!(
            canonical_query(pairs),
            "a=&b=a%2Bb%20%26%20c%3Dd~e%2Af%28&c=%25zz%254"
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert!(form_pairs("a=%ff").is_err());
    }
}
