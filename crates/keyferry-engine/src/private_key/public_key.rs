//! Public keys, always rebuilt from their blobs: no text of a plugin or a cloud is reused.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use keyferry_plugin::contract::Algorithm;

use super::wire::{Reader, without_leading_zeros};

/// A public key: the SSH blob (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    blob: Vec<u8>,
    key_type: &'static str,
    algorithm: Option<Algorithm>,
}

impl PublicKey {
    /// The key of a blob; none when it is of no type that keyferry takes, or not well formed.
    pub fn from_blob(blob: &[u8]) -> Option<Self> {
        let (key_type, algorithm) = match Parts::of(blob)? {
            Parts::Ed25519(_) => ("ssh-ed25519", Some(Algorithm::Ed25519)),
            Parts::Ecdsa { algorithm, .. } => (ecdsa_names(algorithm)?.0, Some(algorithm)),
            Parts::Rsa { n, .. } => ("ssh-rsa", rsa_algorithm(n)),
        };
        Some(Self {
            blob: blob.to_vec(),
            key_type,
            algorithm,
        })
    }

    /// The key of an OpenSSH line (`ssh-rsa AAAA... [comment]`); the comment is dropped.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (key_type, encoded) = (words.next()?, words.next()?);
        let key = Self::from_blob(&STANDARD.decode(encoded).ok()?)?;
        (key.key_type == key_type).then_some(key)
    }

    /// The SSH blob.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// keyferry's name for the algorithm; none for an RSA modulus of another size.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// The OpenSSH line with a comment of ours.
    pub fn line(&self, comment: &str) -> String {
        format!("{} {} {comment}", self.key_type, STANDARD.encode(&self.blob))
    }

    /// `SHA256:` and the unpadded base64 of the blob's SHA-256, as OpenSSH shows it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &self.blob)))
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts::of(&self.blob).expect("the blob was checked when the key was made")
    }
}

/// What a blob says.
pub(crate) enum Parts<'a> {
    /// The point.
    Ed25519(&'a [u8]),
    /// Curve and uncompressed point.
    Ecdsa { algorithm: Algorithm, point: &'a [u8] },
    /// Modulus and exponent without leading zeros.
    Rsa { n: &'a [u8], e: &'a [u8] },
}

impl<'a> Parts<'a> {
    fn of(blob: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(blob);
        let parts = match reader.string()? {
            b"ssh-ed25519" => Self::Ed25519(reader.string().filter(|point| point.len() == 32)?),
            b"ssh-rsa" => {
                let (e, n) = (reader.mpint()?, reader.mpint()?);
                Self::Rsa {
                    n: Some(n).filter(|n| !n.is_empty())?,
                    e: Some(e).filter(|e| !e.is_empty())?,
                }
            }
            key_type => {
                let algorithm = ECDSA.into_iter().find(|&candidate| {
                    ecdsa_names(candidate).is_some_and(|(name, _, _)| name.as_bytes() == key_type)
                })?;
                let (_, curve, length) = ecdsa_names(algorithm)?;
                let (named, point) = (reader.string()?, reader.string()?);
                if named != curve.as_bytes() || point.len() != length || point.first() != Some(&4) {
                    return None;
                }
                Self::Ecdsa { algorithm, point }
            }
        };
        reader.is_empty().then_some(parts)
    }
}

/// The curves' algorithms.
pub(super) const ECDSA: [Algorithm; 3] = [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::EcdsaP521];

/// Key type, curve name and length of an uncompressed point (RFC 5656 §10.1).
pub(super) fn ecdsa_names(algorithm: Algorithm) -> Option<(&'static str, &'static str, usize)> {
    match algorithm {
        Algorithm::EcdsaP256 => Some(("ecdsa-sha2-nistp256", "nistp256", 65)),
        Algorithm::EcdsaP384 => Some(("ecdsa-sha2-nistp384", "nistp384", 97)),
        Algorithm::EcdsaP521 => Some(("ecdsa-sha2-nistp521", "nistp521", 133)),
        Algorithm::Ed25519 | Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => None,
    }
}

/// Bits of an unsigned big-endian number.
pub(super) fn bits(number: &[u8]) -> usize {
    let number = without_leading_zeros(number);
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn rsa_algorithm(n: &[u8]) -> Option<Algorithm> {
    match bits(n) {
        2048 => Some(Algorithm::Rsa2048),
        3072 => Some(Algorithm::Rsa3072),
        4096 => Some(Algorithm::Rsa4096),
        _ => None,
    }
}
