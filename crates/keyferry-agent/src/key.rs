//! Private keys: read from the form in which they travel, checked, and made to sign.

mod ecdsa;
mod ed25519;
mod public;
mod rsa;

pub(crate) use public::PublicKey;

use crate::message::{Refusal, SignFlags};
use crate::wire::{Malformed, Reader, put_prefixed, put_string};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::fmt;

/// A private key that can sign, together with its public half. Both are known to belong together.
///
/// It has no `Clone` and shows only its public side in `Debug`. The private half is wiped when it is dropped:
/// it lies in memory of aws-lc, which overwrites what it frees.
pub struct SigningKey {
    secret: Secret,
    public_blob: Box<[u8]>,
}

enum Secret {
    Ecdsa(ecdsa::Ecdsa),
    Ed25519(ed25519::Ed25519),
    Rsa(rsa::Rsa),
}

impl SigningKey {
    /// Reads a key as it stands in an agent's `add identity` message, without the comment: its type, then the
    /// fields of that type (RFC 9987 section 5.2). The caller keeps `blob` in memory that is wiped.
    ///
    /// Takes `ssh-ed25519`, `ecdsa-sha2-nistp256`, `-nistp384`, `-nistp521`, and `ssh-rsa` with a modulus of
    /// 2048 to 8192 bits. Takes milliseconds for an RSA key, so call it where that is no harm.
    ///
    /// # Errors
    /// [`KeyError`] when the type is not one of these, the fields are malformed, the halves do not belong together or
    /// the key would not be safe to use. No error holds a byte of the key.
    pub fn from_private_blob(blob: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(blob);
        let key = Self::read(&mut reader)?;
        reader.end()?;
        Ok(key)
    }

    /// The public half as SSH writes it (RFC 4253 section 6.6): what an `authorized_keys` line holds as
    /// base64.
    #[must_use]
    pub fn public_blob(&self) -> &[u8] {
        &self.public_blob
    }

    /// The name of the key's type in SSH: `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.secret {
            Secret::Ecdsa(key) => key.curve().algorithm,
            Secret::Ed25519(_) => ed25519::ALGORITHM,
            Secret::Rsa(_) => rsa::ALGORITHM,
        }
    }

    /// The fingerprint as `ssh-keygen -l` prints it: `SHA256:` and base64 without padding.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(digest(&SHA256, &self.public_blob))
        )
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        let name = reader.string()?;
        let (secret, public_blob) = if name == ed25519::ALGORITHM.as_bytes() {
            let (key, public) = ed25519::Ed25519::read(reader)?;
            (Secret::Ed25519(key), public)
        } else if name == rsa::ALGORITHM.as_bytes() {
            let (key, public) = rsa::Rsa::read(reader)?;
            (Secret::Rsa(key), public)
        } else if let Some(curve) = ecdsa::Curve::named(name) {
            let (key, public) = ecdsa::Ecdsa::read(curve, reader)?;
            (Secret::Ecdsa(key), public)
        } else {
            return Err(KeyError::UnknownType);
        };
        Ok(Self {
            secret,
            public_blob: public_blob.into_boxed_slice(),
        })
    }

    /// How much work a signature is.
    pub(crate) fn effort(&self) -> Effort {
        match &self.secret {
            Secret::Ecdsa(key) => key.curve().effort,
            Secret::Ed25519(_) => Effort::Little,
            Secret::Rsa(key) => key.effort(),
        }
    }

    /// Appends the signature over `data` as SSH writes it: the name of the signature algorithm, then its
    /// bytes.
    pub(crate) fn sign(&self, data: &[u8], flags: SignFlags, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match &self.secret {
            Secret::Ecdsa(key) => {
                put_string(out, key.curve().algorithm.as_bytes());
                let signature = key.sign(data)?;
                put_prefixed(out, |out| ecdsa::Ecdsa::put_signature(signature.as_ref(), out))?;
            }
            Secret::Ed25519(key) => {
                put_string(out, ed25519::ALGORITHM.as_bytes());
                put_string(out, key.sign(data)?.as_ref());
            }
            Secret::Rsa(key) => {
                let algorithm = match flags {
                    SignFlags::None => return Err(Refusal::Sha1),
                    SignFlags::RsaSha256 => &rsa::SHA2_256,
                    SignFlags::RsaSha512 => &rsa::SHA2_512,
                };
                put_string(out, algorithm.name.as_bytes());
                put_string(out, &key.sign(algorithm, data)?);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The work of a signature, as it concerns the other clients of the thread that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// So little that handing it to another thread would cost more.
    Little,
    /// Up to about a millisecond: nothing to keep others waiting for.
    Moderate,
    /// Several milliseconds.
    Much,
}

/// Why a private key is not taken. Says nothing of the key's bytes, not even of a type's name that is not
/// known: in a blob of another form those bytes may be the secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The fields are truncated, too long, or not what the type calls for.
    #[error("the private key is truncated or malformed")]
    Malformed,
    /// The public half is that of another key.
    #[error("the public half does not belong to the private half")]
    Mismatch,
    /// The public exponent is even, below 3 or longer than 32 bits. Key generators take 65537, older ones 3
    /// to 37; a longer one costs whoever verifies a signature time and gains nobody anything.
    #[error("the public exponent of an RSA key must be odd, at least 3 and at most 32 bits long")]
    RsaExponent,
    /// The modulus is shorter than is safe, or longer than what aws-lc-rs signs with.
    #[error("an RSA key of {bits} bits cannot be used: make one of 2048 to 8192 bits")]
    RsaModulus {
        /// The length of the modulus.
        bits: usize,
    },
    /// The numbers of an RSA key do not fit each other, a factor is far too short or is not prime.
    #[error("the numbers of the RSA key do not fit each other")]
    RsaParameters,
    /// None of the types that this agent signs with.
    #[error(
        "the key's type is not supported: use ssh-ed25519, ecdsa-sha2-nistp256, -nistp384, -nistp521 or ssh-rsa"
    )]
    UnknownType,
}

impl From<Malformed> for KeyError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
