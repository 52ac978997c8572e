//! Public halves of other keys, from a line or from a `.pub` file that lies somewhere else.
//!
//! Files outside the config directory are not watched. Each is read again at every reading of the directory, and what
//! names it is checked again when it has changed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_ownership::{OpenError, open_regular};
use zeroize::Zeroizing;

use super::table::shown;
use crate::private_key::PublicKey;

/// What a `.pub` file held when it was last read: the public half, or why there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Outside {
    path: PathBuf,
    /// `TYPE BASE64`.
    pub(super) found: Result<String, String>,
}

impl Outside {
    pub(super) fn read(path: PathBuf) -> Self {
        let found = read(&path).map_err(|problem| format!("{} {problem}", path.display()));
        Self { path, found }
    }

    pub(super) fn has_changed(&self) -> bool {
        Self::read(self.path.clone()) != *self
    }
}

fn read(path: &Path) -> Result<String, String> {
    // A private half is not even opened: it has no such name.
    if path.extension().is_none_or(|extension| extension != "pub") {
        return Err("does not end in `.pub`: name the file of the public half".to_owned());
    }
    let (file, _) = open_regular(path).map_err(|error| match error {
        OpenError::NotAFile => "is not a regular file".to_owned(),
        OpenError::Io(error) => format!("cannot be read: {error}"),
    })?;
    keyferry_ownership::check(path).map_err(|distrust| format!("is not believed: {distrust}"))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SIZE + 1));
    file.take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > MAX_SIZE {
        return Err(format!(
            "is larger than {} KiB, which no public key is",
            MAX_SIZE / 1024
        ));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| NO_PUBLIC_KEY.to_owned())?;
    public_key(text)
}

/// The one public key of a text, as `TYPE BASE64`: rebuilt from its blob, without comment.
///
/// # Errors
/// What is wrong, in words that quote nothing of the text but a key's type: it may be a private key.
pub fn public_key(text: &str) -> Result<String, String> {
    if text.contains("PRIVATE KEY") || text.contains("PuTTY-User-Key-File") {
        return Err("holds a private key, which belongs in no such place: name the public half, and keep the private one where it is".to_owned());
    }
    if text.contains("BEGIN SSH2 PUBLIC KEY") {
        return Err(
            "is in the form of RFC 4716: write it as OpenSSH does, with `ssh-keygen -i -f FILE`".to_owned(),
        );
    }
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or(NO_PUBLIC_KEY)?;
    if lines.next().is_some() {
        return Err("holds more than one line: keep one public key".to_owned());
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(key_type), encoded) = (words.next(), words.next()) else {
        return Err(NO_PUBLIC_KEY.to_owned());
    };
    if !TYPES.contains(&key_type) {
        return Err(match key_type {
            "ssh-dss" => "is a DSA key, which OpenSSH does not take any more".to_owned(),
            _ if key_type.ends_with("-cert-v01@openssh.com") => {
                "is a certificate: name the public key that it is for".to_owned()
            }
            _ if line.split_ascii_whitespace().any(|word| TYPES.contains(&word)) => {
                "has something in front of the key's type: take the options out".to_owned()
            }
            _ => NO_PUBLIC_KEY.to_owned(),
        });
    }
    let broken = || {
        format!(
            "has a {} key that is cut or changed: copy it once more",
            shown(key_type)
        )
    };
    let blob = encoded
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .filter(|blob| is_sound(key_type, blob))
        .ok_or_else(broken)?;
    Ok(format!("{key_type} {}", STANDARD.encode(blob)))
}

/// Whether a blob is a key of the type. Keys of hardware (`sk-`, PROTOCOL.u2f) are another key's blob and an application.
fn is_sound(key_type: &str, blob: &[u8]) -> bool {
    let Some(fields) = fields(blob) else {
        return false;
    };
    match (key_type, fields.as_slice()) {
        ("sk-ssh-ed25519@openssh.com", [named, point, application]) => {
            *named == key_type.as_bytes() && point.len() == 32 && !application.is_empty()
        }
        ("sk-ecdsa-sha2-nistp256@openssh.com", [named, curve, point, application]) => {
            *named == key_type.as_bytes()
                && *curve == b"nistp256"
                && point.len() == 65
                && point.first() == Some(&4)
                && !application.is_empty()
        }
        (_, [named, ..]) => *named == key_type.as_bytes() && PublicKey::from_blob(blob).is_some(),
        (_, []) => false,
    }
}

/// The `string`s (RFC 4251 §5) that a blob is made of.
fn fields(blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    let mut rest = blob;
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, behind) = behind.split_at_checked(length)?;
        fields.push(field);
        rest = behind;
    }
    Some(fields)
}

/// Whether a word begins a public key's line.
pub(super) fn is_key_type(word: &str) -> bool {
    TYPES.contains(&word) || word == "ssh-dss" || word.ends_with("-cert-v01@openssh.com")
}

/// The types that sshd(8) takes, but for DSA.
const TYPES: &[&str] = &[
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "ssh-ed25519",
    "ssh-rsa",
];

const NO_PUBLIC_KEY: &str = "holds no public key: one line is wanted, as in `ssh-ed25519 AAAA... comment`";

/// Many times the longest key.
const MAX_SIZE: usize = 64 * 1024;

#[cfg(test)]
mod tests;
