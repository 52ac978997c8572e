//! Lines of authorized_keys, sshd(8).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// A line that lets a key in.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AuthorizedKey {
    /// The options before the key; empty: none.
    pub options: String,
    /// `TYPE BASE64`.
    pub public_key: String,
    /// The comment.
    pub comment: String,
}

impl AuthorizedKey {
    /// Whether keyferry put it there for this key.
    pub fn is_of(&self, key: &str) -> bool {
        self.comment.starts_with("keyferry ") && self.comment.contains(&format!(" key={key} "))
    }
}

/// The lines of a file that let a key in.
pub fn parse(file: &[u8]) -> Vec<AuthorizedKey> {
    let text = String::from_utf8_lossy(file);
    text.lines().filter_map(parse_line).collect()
}

/// Type and base64 of a public half's line; the comment is left out.
///
/// # Panics
/// When it is none.
pub fn public_key(line: &str) -> &str {
    let end = line
        .match_indices(' ')
        .map(|(index, _)| index)
        .chain([line.trim_end().len()])
        .nth(1)
        .expect("TYPE BASE64");
    line[..end].trim_end()
}

/// The fingerprint of a public half, as ssh-keygen writes it: `SHA256:...`.
///
/// # Panics
/// When it is none.
pub fn fingerprint(line: &str) -> String {
    let base64 = line.split_whitespace().nth(1).expect("TYPE BASE64");
    let blob = STANDARD.decode(base64).expect("a public key is base64");
    format!(
        "SHA256:{}",
        STANDARD_NO_PAD.encode(digest(&SHA256, &blob).as_ref())
    )
}

fn parse_line(line: &str) -> Option<AuthorizedKey> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    if let Some(key) = key_and_comment("", line) {
        return Some(key);
    }
    // Options end at the first blank outside of quotes.
    let mut quoted = false;
    let mut escaped = false;
    let end = line.find(|character: char| {
        let ends = !quoted && (character == ' ' || character == '\t');
        if character == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = character == '\\' && !escaped;
        ends
    })?;
    key_and_comment(&line[..end], line[end..].trim_start())
}

fn key_and_comment(options: &str, rest: &str) -> Option<AuthorizedKey> {
    let mut words = rest.splitn(3, [' ', '\t']);
    let (kind, base64) = (words.next()?, words.next()?);
    let blob = STANDARD.decode(base64).ok()?;
    // A key's blob begins with its type.
    let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?);
    let inner = blob.get(4..4 + usize::try_from(length).ok()?)?;
    (inner == kind.as_bytes()).then(|| AuthorizedKey {
        options: options.to_owned(),
        public_key: format!("{kind} {base64}"),
        comment: words.next().unwrap_or_default().trim().to_owned(),
    })
}
