//! Line d: `create` alone captures a private key, `credentials` alone secret credential fields, and a reply that still
//! holds a private key afterwards never reaches the plugin.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{CredentialField, FieldClass};
use keyferry_plugin::recipe::{Capture, Place};
use zeroize::Zeroizing;

use super::{Refusal, Rule, caps, cleaning};

/// The capture of a create.
pub(crate) const PRIVATE_KEY: &str = "private_key";

/// Checks the captures of a request.
pub(crate) fn check(
    captures: &[Capture],
    kind: OperationKind,
    credentials: &BTreeMap<String, CredentialField>,
) -> Result<(), Refusal> {
    let refuse = |rule, message: String| Err(Refusal::new(rule, message));
    if captures.len() > caps::MAX_CAPTURES {
        let message = format!(
            "wanted {} captures, at most {} are allowed",
            captures.len(),
            caps::MAX_CAPTURES
        );
        return refuse(Rule::Limit, message);
    }
    for (index, capture) in captures.iter().enumerate() {
        let name = cleaning::clean(&capture.name, 60);
        let class = credentials.get(&capture.name).map(|field| field.class);
        let wrong = match (kind, class) {
            _ if capture.name == PRIVATE_KEY && kind != OperationKind::Create => {
                Some(format!("a private key during {kind}, which create alone may"))
            }
            (OperationKind::Create, _) if capture.name == PRIVATE_KEY => None,
            (OperationKind::Credentials, Some(FieldClass::Bearer | FieldClass::HmacKey)) => None,
            (OperationKind::Credentials, Some(FieldClass::Public)) => {
                Some(format!("`{name}`, which is a public field"))
            }
            (OperationKind::Credentials, None) => {
                Some(format!("`{name}`, which is not one of its credential fields"))
            }
            _ => Some(format!("`{name}` during {kind}, which credentials alone may")),
        };
        if let Some(wrong) = wrong {
            return refuse(Rule::Capture, format!("wanted to capture {wrong}"));
        }
        if captures[..index].iter().any(|other| other.name == capture.name) {
            return refuse(Rule::Capture, format!("wanted to capture `{name}` twice"));
        }
        let (good, form) = match &capture.place {
            Place::JsonPointer(text) => (text.starts_with('/'), "a JSON pointer"),
            Place::XmlPath(text) => (
                text.split('/').all(|element| !element.is_empty()),
                "a path of element names",
            ),
            Place::Header(text) => (
                !text.is_empty()
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'),
                "a header's name in lower case",
            ),
        };
        if !good {
            return refuse(Rule::Capture, format!("wanted to capture at what is not {form}"));
        }
    }
    Ok(())
}

/// The place that a manifest's word for it means: `json:POINTER`, `xml:PATH` or `header:NAME`.
pub(crate) fn place(text: &str) -> Option<Place> {
    let (kind, at) = text.split_once(':')?;
    match kind {
        "json" => Some(Place::JsonPointer(at.to_owned())),
        "xml" => Some(Place::XmlPath(at.to_owned())),
        "header" => Some(Place::Header(at.to_owned())),
        _ => None,
    }
}

/// Whether a reply holds a private key: with PEM or PuTTY armour, or as the base64 or hex of PKCS#1, PKCS#8, SEC 1 or
/// OpenSSH's own form; escaped for JSON, XML or a URL, up to three times.
pub(crate) fn holds_private_key(reply: &[u8]) -> bool {
    // In UTF-16, every other byte of ASCII is zero.
    let is_wide = reply.iter().filter(|&&byte| byte == 0).count() > reply.len() / 4;
    let narrow = || {
        Zeroizing::new(
            reply
                .iter()
                .copied()
                .filter(|&byte| byte != 0)
                .collect::<Vec<u8>>(),
        )
    };
    holds_narrow_key(reply) || (is_wide && holds_narrow_key(&narrow()))
}

fn holds_narrow_key(reply: &[u8]) -> bool {
    let mut layer = Zeroizing::new(reply.to_vec());
    for _ in 0..4 {
        if is_armoured(&layer) || is_key_bytes(&layer) || is_encoded(&layer) {
            return true;
        }
        let next = unescaped(&layer);
        if next == layer {
            return false;
        }
        layer = next;
    }
    false
}

/// `BEGIN ... PRIVATE KEY`, whatever the white space and case.
fn is_armoured(text: &[u8]) -> bool {
    positions(text, b"begin").any(|start| {
        let letters: Vec<u8> = text[start..]
            .iter()
            .take(80)
            .filter(|b| b.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .collect();
        letters.windows(10).any(|window| window == b"privatekey")
    }) || positions(text, b"putty-user-key-file").next().is_some()
}

/// Where this lower-case needle begins, in any case.
fn positions<'a>(text: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    text.windows(needle.len())
        .enumerate()
        .filter(move |(_, window)| window.eq_ignore_ascii_case(needle))
        .map(|(start, _)| start)
}

/// Looks into every run of base64 or hex, whatever stands before it without a gap.
fn is_encoded(text: &[u8]) -> bool {
    let mut run = Zeroizing::new(Vec::new());
    for &byte in text.iter().chain(b"\0") {
        match byte {
            b'-' => run.push(b'+'),
            b'_' => run.push(b'/'),
            b'+' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => run.push(byte),
            // Lines of one text.
            b'\r' | b'\n' | b'\t' | b' ' => {}
            _ => {
                if run.len() >= SHORTEST_RUN && run_holds_key(&run) {
                    return true;
                }
                run.clear();
            }
        }
    }
    false
}

fn run_holds_key(run: &[u8]) -> bool {
    let by_base64 = (0..4).any(|offset| {
        let part = &run[offset..];
        // A lone last character carries no byte.
        let part = &part[..part.len() - usize::from(part.len() % 4 == 1)];
        let bytes = LENIENT.decode(part).map(Zeroizing::new).unwrap_or_default();
        is_key_bytes(&bytes) || is_armoured(&bytes)
    });
    by_base64
        || (0..2).any(|offset| {
            let digit = |b: u8| {
                char::from(b)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let mut bytes = Zeroizing::new(Vec::with_capacity(run.len() / 2));
            for pair in run[offset..].chunks_exact(2) {
                // What is not hex stands between two keys, as any byte that fits none.
                bytes.push(
                    digit(pair[0])
                        .zip(digit(pair[1]))
                        .map_or(0xff, |(high, low)| high << 4 | low),
                );
            }
            is_key_bytes(&bytes) || is_armoured(&bytes)
        })
}

/// Whether these bytes hold a private key's DER or OpenSSH's magic.
fn is_key_bytes(bytes: &[u8]) -> bool {
    let is_der = bytes
        .iter()
        .enumerate()
        .filter(|&(_, &byte)| byte == 0x30)
        .any(|(start, _)| {
            let content = match bytes.get(start + 1) {
                Some(0x82) => start + 4,
                Some(0x81) => start + 3,
                Some(0..=0x7f) => start + 2,
                _ => return false,
            };
            let is_long = content > start + 2;
            match bytes.get(content..content + 5) {
                // Version 0: PKCS#1 goes on with the modulus, PKCS#8 with the algorithm.
                Some([0x02, 0x01, 0x00, 0x02, 0x81 | 0x82]) => is_long,
                Some([0x02, 0x01, 0x00 | 0x01, 0x30, _]) => bytes.get(content + 5) == Some(&0x06),
                // Version 1: SEC 1 goes on with the private key, of 32, 48 or 66 bytes.
                Some([0x02, 0x01, 0x01, 0x04, 0x20 | 0x30 | 0x42]) => true,
                _ => false,
            }
        });
    is_der || bytes.windows(OPENSSH.len()).any(|window| window == OPENSSH)
}

/// The byte that a reference of XML (`&#xA;`, `&amp;`) at the beginning of a text stands for, and how long that is; none
/// for characters beyond ASCII.
pub(crate) fn xml_reference(text: &[u8]) -> Option<(u8, usize)> {
    let rest = text.strip_prefix(b"&")?;
    let end = rest
        .iter()
        .take(LONGEST_REFERENCE)
        .position(|&byte| byte == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    let number = name
        .strip_prefix('#')
        .and_then(|number| match number.strip_prefix(['x', 'X']) {
            Some(hex) => u8::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        });
    let byte = match name {
        "amp" => b'&',
        "apos" => b'\'',
        "gt" => b'>',
        "lt" => b'<',
        "quot" => b'"',
        _ => number.filter(u8::is_ascii)?,
    };
    Some((byte, end + 2))
}

/// One layer of JSON, URL and XML escapes less.
pub(crate) fn unescaped(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let hex = |digits: Option<&[u8]>| {
        let digits = std::str::from_utf8(digits?).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, skipped) = match (first, after.first()) {
            (b'\\', Some(b'n' | b'r' | b't')) => (b'\n', 2),
            (b'\\', Some(b'u')) if after.get(1..3) == Some(b"00") => match hex(after.get(3..5)) {
                Some(byte) => (byte, 6),
                None => (first, 1),
            },
            (b'\\', Some(&escaped @ (b'\\' | b'/' | b'"'))) => (escaped, 2),
            (b'&', _) => xml_reference(rest).unwrap_or((first, 1)),
            (b'%', _) => match hex(after.get(..2)) {
                Some(byte) => (byte, 3),
                None => (first, 1),
            },
            _ => (first, 1),
        };
        out.push(byte);
        rest = &rest[skipped..];
    }
    out
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// As many characters of base64 as the beginning of a key needs to be told.
const SHORTEST_RUN: usize = 14;
/// Characters of a reference that is looked at: zeros may lead.
const LONGEST_REFERENCE: usize = 12;
const OPENSSH: &[u8] = b"openssh-key-v1\0";

#[cfg(test)]
mod tests;
