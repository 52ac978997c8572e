//! Line e: every value that derives from a secret is blanked before a reply reaches the plugin, and in every message.
//!
//! A provider repeats what it was sent ("server string to sign is: ..."), escaped in its own way. So for each secret,
//! and for each digest and signature that was made of one, the usual ways to write it are looked for, with any of its
//! characters as an escape of JSON. A reply in which one shows only when more escapes are undone is withheld whole.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keyferry_plugin::contract::{Pair, ProviderError};
use keyferry_plugin::manifest::FieldClass;
use zeroize::Zeroizing;

use super::{captures, cleaning};
use crate::recipe::{Fields, percent};
use crate::secret::WipedBuffer;

/// Knows what to blank.
#[derive(Default)]
pub(crate) struct Blanker {
    patterns: Vec<Pattern>,
    /// Patterns by their first two bytes.
    by_start: HashMap<[u8; 2], Vec<usize>>,
    /// One bit for each two bytes with which a pattern starts: most places of a text are told by it.
    starts: Vec<u64>,
}

struct Pattern {
    bytes: Zeroizing<Vec<u8>>,
    blank: String,
}

impl Blanker {
    /// Blanks the secrets among these fields, each as `<name>`.
    pub(crate) fn new(fields: &Fields) -> Self {
        let mut blanker = Self::default();
        for (name, field) in fields {
            if field.class != FieldClass::Public {
                blanker.add_value(field.value.expose(), name);
            }
        }
        blanker
    }

    /// Blanks a secret text in all its forms.
    pub(crate) fn add_value(&mut self, value: &[u8], name: &str) {
        let blank = format!("<{name}>");
        let mut layer = Zeroizing::new(value.to_vec());
        for _ in 0..4 {
            let json = std::str::from_utf8(&layer).map(json_content);
            for form in [Some(layer.clone()), json.ok()].into_iter().flatten() {
                self.add(replaced(&form, b"/", b"\\/"), &blank);
                self.add(form, &blank);
            }
            self.add(lower_escapes(&layer), &blank);
            let mut next = WipedBuffer::default();
            percent(&layer, &mut next);
            layer = next.into_bytes();
        }
        self.add_encoded(value, &blank);
        // Within longer base64 a value begins at one of three places; its first and last characters depend on what
        // is around it.
        for shift in 0..3 {
            let shifted = Zeroizing::new([&[0; 3][..shift], value].concat());
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = Zeroizing::new(engine.encode(&shifted));
                let from = [0, 2, 3][shift];
                let to = shifted.len() * 8 / 6;
                if let Some(inner) = text.as_bytes().get(from..to) {
                    self.add(Zeroizing::new(inner.to_vec()), &blank);
                }
            }
        }
    }

    /// Blanks the written forms of a digest or signature.
    pub(crate) fn add_digest(&mut self, digest: &[u8]) {
        self.add_encoded(digest, "<signature>");
    }

    /// The text without secrets.
    pub(crate) fn blank(&self, text: &[u8]) -> Vec<u8> {
        self.blank_with(text, &str::to_owned)
    }

    /// The same, where what stands for a secret is text of XML.
    pub(crate) fn blank_xml(&self, text: &[u8]) -> Vec<u8> {
        self.blank_with(text, &|blank| blank.replace('<', "&lt;").replace('>', "&gt;"))
    }

    fn blank_with(&self, text: &[u8], written: &dyn Fn(&str) -> String) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match self.pattern_at(&text[at..]) {
                Some((pattern, length)) => {
                    out.extend_from_slice(written(&pattern.blank).as_bytes());
                    at += length;
                }
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// Whether a text without secrets still holds one, when its escapes are undone.
    pub(crate) fn is_seen_below(&self, blanked: &[u8]) -> bool {
        let mut layer = Zeroizing::new(blanked.to_vec());
        for _ in 0..LAYERS {
            let next = captures::unescaped(&layer);
            if next == layer {
                return false;
            }
            if (0..next.len()).any(|at| self.pattern_at(&next[at..]).is_some()) {
                return true;
            }
            layer = next;
        }
        false
    }

    /// The longest pattern with which a text begins, and how many bytes of the text it takes.
    fn pattern_at(&self, text: &[u8]) -> Option<(&Pattern, usize)> {
        if let [first, second, ..] = text
            && ![first, second].into_iter().any(|byte| b"\\&".contains(byte))
            && !self.is_start([*first, *second])
        {
            return None;
        }
        let (first, length) = unit(text)?;
        let (second, _) = unit(&text[length..])?;
        let unescaped = [first, second];
        let written: Option<&[u8; 2]> = text.first_chunk();
        let starts = written
            .into_iter()
            .chain((written != Some(&unescaped)).then_some(&unescaped));
        starts
            .filter_map(|start| self.by_start.get(start))
            .flatten()
            .map(|&index| &self.patterns[index])
            .filter_map(|pattern| Some((pattern, written_length(text, &pattern.bytes)?)))
            .max_by_key(|&(_, length)| length)
    }

    /// A text that is fit to be shown: without secrets, then cleaned and shortened. What is invisible goes first, since it
    /// may stand within a secret.
    pub(crate) fn shown(&self, text: &str, most: usize) -> String {
        cleaning::clean(&self.blank_text(text), most)
    }

    /// The same for all texts of a pair.
    pub(crate) fn shown_pair(&self, pair: Pair) -> Pair {
        let blank = |text: Option<String>| text.map(|text| self.blank_text(&text));
        // The white space of a public key divides its parts.
        let blank_key = |key: String| String::from_utf8_lossy(&self.blank(key.as_bytes())).into_owned();
        cleaning::clean_pair(Pair {
            name: self.blank_text(&pair.name),
            id: blank(pair.id),
            fingerprint: blank(pair.fingerprint),
            public_key: pair.public_key.map(blank_key),
            created_at: blank(pair.created_at),
        })
    }

    /// The same for all texts of an error.
    pub(crate) fn shown_error(&self, error: ProviderError) -> ProviderError {
        let blank = |text: Option<String>| text.map(|text| self.blank_text(&text));
        cleaning::clean_error(ProviderError {
            message: self.blank_text(&error.message),
            code: blank(error.code),
            request_id: blank(error.request_id),
            ..error
        })
    }

    fn blank_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.blank(cleaning::plain(text).as_bytes())).into_owned()
    }

    fn is_start(&self, start: [u8; 2]) -> bool {
        let index = usize::from(u16::from_be_bytes(start));
        self.starts
            .get(index / 64)
            .is_some_and(|bits| bits & (1 << (index % 64)) != 0)
    }

    fn add_encoded(&mut self, bytes: &[u8], blank: &str) {
        for upper in [false, true] {
            let mut hex = Zeroizing::new(Vec::with_capacity(2 * bytes.len()));
            for byte in bytes {
                for digit in [byte >> 4, byte & 0xf] {
                    let digit = char::from_digit(u32::from(digit), 16)
                        .map_or('0', |c| if upper { c.to_ascii_uppercase() } else { c });
                    hex.push(u8::try_from(digit).unwrap_or(b'0'));
                }
            }
            self.add(hex, blank);
        }
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let mut layer = Zeroizing::new(engine.encode(bytes).into_bytes());
            for _ in 0..3 {
                self.add(replaced(&layer, b"/", b"\\/"), blank);
                self.add(layer.clone(), blank);
                let mut next = WipedBuffer::default();
                percent(&layer, &mut next);
                layer = next.into_bytes();
            }
        }
    }

    fn add(&mut self, bytes: Zeroizing<Vec<u8>>, blank: &str) {
        if bytes.len() < SHORTEST {
            return;
        }
        let start = [bytes[0], bytes[1]];
        let same_start = self.by_start.entry(start).or_default();
        if same_start
            .iter()
            .any(|&index| self.patterns[index].bytes == bytes)
        {
            return;
        }
        same_start.push(self.patterns.len());
        let index = usize::from(u16::from_be_bytes(start));
        self.starts.resize(1 << 10, 0);
        self.starts[index / 64] |= 1 << (index % 64);
        self.patterns.push(Pattern {
            bytes,
            blank: blank.to_owned(),
        });
    }
}

/// How many bytes of a text write this pattern at its beginning, each byte as itself, as an escape of JSON or as a
/// reference of XML.
fn written_length(text: &[u8], pattern: &[u8]) -> Option<usize> {
    if text.starts_with(pattern) {
        return Some(pattern.len());
    }
    let mut at = 0;
    for &byte in pattern {
        let rest = text.get(at..)?;
        at += match unit(rest) {
            Some((escaped, length)) if escaped == byte => length,
            _ if rest.first() == Some(&byte) => 1,
            _ => return None,
        };
    }
    Some(at)
}

/// The first byte that a text writes, and in how many bytes: itself, a reference of XML, or an escape of JSON (RFC 8259
/// §7). In a string within a string an escape has more than one backslash.
fn unit(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.first()?;
    let backslashes = text
        .iter()
        .take(MAX_BACKSLASHES)
        .take_while(|&&byte| byte == b'\\')
        .count();
    let escaped = match &text[backslashes..] {
        _ if backslashes == 0 => captures::xml_reference(text),
        [b'u', b'0', b'0', high, low, ..] => hex_digit(*high)
            .zip(hex_digit(*low))
            .map(|(high, low)| (high << 4 | low, backslashes + 5)),
        [byte @ (b'"' | b'/'), ..] => Some((*byte, backslashes + 1)),
        _ => None,
    };
    Some(escaped.unwrap_or((first, 1)))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A JSON string without its quotes.
fn json_content(text: &str) -> Zeroizing<Vec<u8>> {
    let mut json = WipedBuffer::default();
    // Writing text into memory does not fail.
    let _ = serde_json::to_writer(&mut json, text);
    let json = json.into_bytes();
    Zeroizing::new(
        json.get(1..json.len().saturating_sub(1))
            .unwrap_or_default()
            .to_vec(),
    )
}

/// With the hex digits of percent-encoding in lower case.
fn lower_escapes(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(text.to_vec());
    for start in 0..out.len().saturating_sub(2) {
        if out[start] == b'%' {
            out[start + 1..start + 3].make_ascii_lowercase();
        }
    }
    out
}

fn replaced(text: &[u8], from: &[u8; 1], to: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = WipedBuffer::default();
    for byte in text {
        out.push(if *byte == from[0] {
            to
        } else {
            std::slice::from_ref(byte)
        });
    }
    out.into_bytes()
}

/// Bytes below which a form is not looked for: so short, it stands in any text.
const SHORTEST: usize = 4;
/// Backslashes of one escape: a string within a string has twice as many and one.
const MAX_BACKSLASHES: usize = 15;
/// How often escapes are undone to look for what still stands below.
const LAYERS: usize = 3;

#[cfg(test)]
mod tests;
