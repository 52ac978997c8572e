//! The file of a private half that somebody has, and how it is got rid of.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keyferry_engine::private_key::{self, MAX_LENGTH, PrivateKey, PrivateKeyError};
use zeroize::Zeroizing;

use crate::error::Error;

/// What a file holds.
pub(super) enum Found {
    /// A private half that only a passphrase opens, and its public half as far as the file tells it.
    Encrypted(Option<Vec<u8>>),
    /// A private half.
    Plain(PrivateKey),
}

/// Reads a private half.
///
/// # Errors
/// Says what is wrong with the file, and shows nothing of it.
pub(super) fn read(path: &Path) -> Result<Found, Error> {
    let refused = |problem: String| Error::Refused(format!("{} {problem}", path.display()));
    let unread = |error: std::io::Error| refused(format!("cannot be read: {error}"));
    let file = File::open(path).map_err(unread)?;
    // Not its size: a pipe has none, and what follows is no private key.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 2));
    file.take(MAX_LENGTH as u64 + 1)
        .read_to_end(&mut text)
        .map_err(unread)?;
    match PrivateKey::parse(&text) {
        Ok(key) => Ok(Found::Plain(key)),
        Err(PrivateKeyError::Encrypted(_)) => Ok(Found::Encrypted(private_key::public_half(&text))),
        Err(error) => Err(refused(match what_else(&text) {
            Some(what) => what.to_owned(),
            None => format!("cannot be adopted: {error}"),
        })),
    }
}

/// What a file is that is no private key keyferry reads, with the way out.
fn what_else(text: &[u8]) -> Option<&'static str> {
    let start = text.trim_ascii_start();
    let begins = |words: &[&str]| words.iter().any(|word| start.starts_with(word.as_bytes()));
    if begins(&["PuTTY-User-Key-File"]) {
        return Some("is in PuTTY's format\n  convert it: puttygen FILE.ppk -O private-openssh -o FILE");
    }
    let public = [
        "ssh-",
        "ecdsa-sha2-",
        "sk-",
        "-----BEGIN PUBLIC KEY",
        "-----BEGIN RSA PUBLIC KEY",
        "---- BEGIN SSH2 PUBLIC KEY",
    ];
    begins(&public).then_some("holds a public key\n  name the file of the private half, without .pub")
}

/// What is wrong with who may read a file; none: nothing.
pub(super) fn warning(path: &Path) -> Option<String> {
    let facts = path.metadata().ok()?;
    let shown = path.display();
    if facts.mode() & 0o077 != 0 {
        return Some(format!(
            "others may read {shown} (mode {:04o}): whoever did can log in with it until no host lets it in any more",
            facts.mode() & 0o7777
        ));
    }
    None
}

/// The name of the file system that a file lies on, where writing over the file leaves what was there before.
#[cfg(target_os = "linux")]
pub(super) fn copies_on_write(path: &Path) -> Option<&'static str> {
    match rustix::fs::statfs(path).ok()?.f_type {
        0x9123_683e => Some("btrfs"),
        0x2fc1_2fc1 => Some("ZFS"),
        0xca45_1a4e => Some("bcachefs"),
        0x3434 => Some("NILFS"),
        _ => None,
    }
}

/// Not known elsewhere: there is no such call that is the same everywhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn copies_on_write(_: &Path) -> Option<&'static str> {
    cfg!(target_os = "macos").then_some("APFS")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, text).unwrap();
        match read(&path) {
            Ok(_) => panic!("{text} is taken"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        check("", "the private key is empty");
        check(
            "ssh-ed25519 AAAA li@laptop\n",
            "name the file of the private half",
        );
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "holds a public key",
        );
        check("PuTTY-User-Key-File-3: ssh-rsa\n", "puttygen");
        check("some notes\n", "cannot be adopted");
        check(&"x".repeat(MAX_LENGTH + 1), "longer than 64 KiB");
        let error = read(Path::new("/")).err().unwrap().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_file_that_others_may_read_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(warning(&path).is_some_and(|text| text.contains("(mode 0640)")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(warning(&path), None);
    }
}
