//! Lines of `authorized_keys`, sshd(8), "AUTHORIZED_KEYS FILE FORMAT".

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::contract::{Line, Marker};
use crate::destination::shown;
use crate::ssh::host_key::fingerprint;

/// The line as it stands in the file, without its end.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.options.is_empty() {
            write!(f, "{} ", self.options)?;
        }
        write!(f, "{} {}", self.public_key, self.marker)
    }
}

impl Line {
    /// Whether the line would be read as it is meant.
    ///
    /// # Errors
    /// What is wrong with its options or its key.
    pub fn check(&self) -> Result<(), LineError> {
        check_options(&self.options)?;
        public_blob(&self.public_key).ok_or_else(|| LineError::PublicKey(self.public_key.clone()))?;
        let text = self.to_string();
        match Parsed::of(text.as_bytes()) {
            Some(parsed) if parsed.options == self.options.as_bytes() => Ok(()),
            _ => Err(LineError::Options {
                problem: "they would be read as something else",
            }),
        }
    }
}

/// A line of ours that would not be read as it is meant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LineError {
    /// The options.
    #[error("the options of the line are wrong: {problem}")]
    Options {
        /// In words.
        problem: &'static str,
    },
    /// The public half.
    #[error("`{0}` is no public key (TYPE BASE64)")]
    PublicKey(String),
}

/// Whether options may stand before a key: one line, quotes closed, no blank outside of quotes.
///
/// # Errors
/// What is wrong with them.
pub fn check_options(options: &str) -> Result<(), LineError> {
    let wrong = |problem| Err(LineError::Options { problem });
    if options.chars().any(char::is_control) {
        return wrong("they hold a line end or another control character");
    }
    if options.starts_with('#') {
        return wrong("they begin with `#`, so that the line would be a comment");
    }
    match end_of_options(options.as_bytes()) {
        None => wrong("a quote is not closed"),
        Some(end) if end < options.len() => wrong("they hold a blank outside of quotes"),
        Some(_) => Ok(()),
    }
}

/// The blob of a public half `TYPE BASE64`; none: it is not well-formed.
pub fn public_blob(public_key: &str) -> Option<Vec<u8>> {
    let (kind, base64) = public_key.split_once(' ')?;
    key_of(kind.as_bytes(), base64.as_bytes())
}

/// A public blob as `TYPE BASE64`; none: it names no type.
pub fn public_key(blob: &[u8]) -> Option<String> {
    let kind = std::str::from_utf8(first_string(blob)?).ok()?;
    let is_plain = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then(|| format!("{kind} {}", STANDARD.encode(blob)))
}

/// A line of the file for a log: whose key it lets in, and its comment. Its options are another's, and may hold secrets.
pub fn described(line: &str) -> String {
    match Parsed::of(line.as_bytes()) {
        Some(parsed) => {
            let comment = String::from_utf8_lossy(parsed.comment);
            format!("{} {}", fingerprint(&parsed.blob), shown(&comment))
                .trim_end()
                .to_owned()
        }
        None => "a line without a key".to_owned(),
    }
}

/// A line that lets a key in.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Parsed<'a> {
    /// As they stand; empty: none.
    pub(crate) options: &'a [u8],
    /// `TYPE BASE64`, as it stands, the blanks between included.
    pub(crate) public_key: &'a [u8],
    /// The public blob.
    pub(crate) blob: Vec<u8>,
    /// What follows, without blanks around it.
    pub(crate) comment: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// Reads a line, with or without its end, as sshd does; none: a comment, an empty line, or no key.
    pub(crate) fn of(line: &'a [u8]) -> Option<Self> {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            return None;
        }
        if let Some(parsed) = Self::without_options(line) {
            return Some(parsed);
        }
        let end = end_of_options(line)?;
        let (options, rest) = line.split_at(end);
        Some(Self {
            options,
            ..Self::without_options(rest.trim_ascii_start())?
        })
    }

    fn without_options(line: &'a [u8]) -> Option<Self> {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let kind_end = line.iter().position(is_blank)?;
        let blanks = line[kind_end..].iter().take_while(|byte| is_blank(byte)).count();
        let start = kind_end + blanks;
        let end = line[start..]
            .iter()
            .position(is_blank)
            .map_or(line.len(), |length| start + length);
        Some(Self {
            options: &[],
            public_key: &line[..end],
            blob: key_of(&line[..kind_end], &line[start..end])?,
            comment: line[end..].trim_ascii(),
        })
    }

    /// Whose line it is; none: not keyferry's.
    pub(crate) fn marker(&self) -> Option<Marker> {
        std::str::from_utf8(self.comment).ok()?.parse().ok()
    }

    /// Whether the key lets other keys in, those that it certified, and not itself.
    pub(crate) fn is_authority(&self) -> bool {
        let mut rest = self.options;
        loop {
            let end = end_of_option(rest);
            if rest[..end].eq_ignore_ascii_case(b"cert-authority") {
                return true;
            }
            match rest.get(end + 1..) {
                Some(further) => rest = further,
                None => return false,
            }
        }
    }
}

/// Where the options end: at the first blank outside of quotes; none: a quote is not closed.
fn end_of_options(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = text.iter().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            // sshd(8): the only character that a backslash protects is a quote.
            b'\\' if text.get(index + 1) == Some(&b'"') => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Some(index),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

/// Where the first option ends: at a comma outside of quotes.
fn end_of_option(options: &[u8]) -> usize {
    let mut quoted = false;
    let mut bytes = options.iter().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'\\' if options.get(index + 1) == Some(&b'"') => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            b',' if !quoted => return index,
            _ => {}
        }
    }
    options.len()
}

/// The blob, if its own first string is the type.
fn key_of(kind: &[u8], base64: &[u8]) -> Option<Vec<u8>> {
    let blob = STANDARD.decode(base64).ok()?;
    let inner = first_string(&blob)?;
    (inner == kind && !kind.is_empty() && blob.len() > 4 + kind.len()).then_some(blob)
}

/// The first `string` of RFC 4251 section 5.
pub(crate) fn first_string(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests;
