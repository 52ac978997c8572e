//! OpenSSH's own file format (PROTOCOL.key of OpenSSH).

use super::public_key::{ECDSA, ecdsa_names};
use super::wire::Reader;
use super::{PrivateKey, PrivateKeyError, curves, rsa_key};

/// How the content begins.
pub(super) const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Reads the content of an unencrypted file with one key.
pub(super) fn parse(content: &[u8]) -> Result<PrivateKey, PrivateKeyError> {
    let mut reader = Reader(content.strip_prefix(MAGIC).unwrap_or(content));
    let header = (|| {
        Some((
            reader.string()?,
            reader.string()?,
            reader.string()?,
            reader.u32()?,
        ))
    })();
    let Some((cipher, _, _, keys)) = header else {
        return Err(TRUNCATED);
    };
    if cipher != b"none" {
        return Err(PrivateKeyError::Encrypted("OpenSSH format"));
    }
    if keys != 1 {
        return Err(PrivateKeyError::Unsupported("an OpenSSH file with several keys"));
    }
    let public = reader.string().ok_or(TRUNCATED)?;
    let mut private = Reader(reader.string().ok_or(TRUNCATED)?);
    if private.u32().ok_or(TRUNCATED)? != private.u32().ok_or(TRUNCATED)? {
        return Err(PrivateKeyError::Malformed("the check numbers differ"));
    }
    let key = parse_fields(&mut private)?;
    let _comment = private.string().ok_or(TRUNCATED)?;
    if private
        .0
        .iter()
        .zip(1u8..)
        .any(|(&octet, expected)| octet != expected)
    {
        return Err(PrivateKeyError::Malformed("the padding"));
    }
    if key.public_key().blob() != public {
        return Err(PrivateKeyError::Inconsistent);
    }
    Ok(key)
}

/// The public half of a file with one key, encrypted or not.
pub(super) fn public_half(content: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(content.strip_prefix(MAGIC)?);
    let (_cipher, _derivation, _options) = (reader.string()?, reader.string()?, reader.string()?);
    if reader.u32()? != 1 {
        return None;
    }
    reader.string().map(<[u8]>::to_vec)
}

const TRUNCATED: PrivateKeyError = PrivateKeyError::Malformed("the OpenSSH structure is cut short");

/// Reads key type and fields, as they also stand in an agent's `add identity`.
fn parse_fields(private: &mut Reader<'_>) -> Result<PrivateKey, PrivateKeyError> {
    let key_type = private.string().ok_or(TRUNCATED)?;
    match key_type {
        b"ssh-rsa" => rsa_key::parse_fields(private),
        b"ssh-ed25519" => {
            let (public, both) = (
                private.string().ok_or(TRUNCATED)?,
                private.string().ok_or(TRUNCATED)?,
            );
            let (seed, again) = both
                .split_at_checked(32)
                .ok_or(PrivateKeyError::Malformed("the Ed25519 seed"))?;
            if again != public {
                return Err(PrivateKeyError::Inconsistent);
            }
            curves::ed25519(seed, Some(public))
        }
        _ => {
            let of_type = |&algorithm: &_| {
                ecdsa_names(algorithm).is_some_and(|(name, _, _)| name.as_bytes() == key_type)
            };
            let Some(algorithm) = ECDSA.into_iter().find(of_type) else {
                return Err(PrivateKeyError::Unsupported(
                    "an OpenSSH key that is not RSA, ECDSA or Ed25519",
                ));
            };
            let _curve = private.string().ok_or(TRUNCATED)?;
            let point = private.string().ok_or(TRUNCATED)?;
            let scalar = private.mpint().ok_or(TRUNCATED)?;
            curves::ecdsa(algorithm, scalar, point)
        }
    }
}
