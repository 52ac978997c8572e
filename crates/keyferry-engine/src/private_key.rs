//! Private keys on their way from where they are made to the agent.

use std::fmt;

use keyferry_plugin::contract::Algorithm;
use zeroize::Zeroizing;

mod armour;
mod curves;
mod generation_pool;
mod openssh;
mod public_key;
mod rsa_key;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use generation_pool::GenerationPool;
pub(crate) use public_key::Parts;
pub use public_key::PublicKey;

/// The longest text that is looked at, in octets.
pub const MAX_LENGTH: usize = 64 * 1024;

/// One private key: wiped on drop, never shown, never copied by accident.
///
/// Whichever way it came, both halves were found to belong together.
pub struct PrivateKey {
    public: PublicKey,
    /// As in the agent protocol's `add identity`, without the comment (RFC 9987 §3.2).
    blob: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Reads what a provider answered: PKCS#1, PKCS#8, SEC 1 or OpenSSH, told apart by content and not by label;
    /// with armour or as bare base64; with real line ends, `\r\n`, or the two characters `\` and `n` instead.
    ///
    /// # Errors
    /// [`PrivateKeyError`] says what is wrong in words. No error holds any part of the text.
    pub fn parse(text: &[u8]) -> Result<Self, PrivateKeyError> {
        if text.len() > MAX_LENGTH {
            return Err(PrivateKeyError::TooLong);
        }
        let content = armour::strip(text)?;
        if content.starts_with(openssh::MAGIC) {
            return openssh::parse(&content);
        }
        curves::parse_der(&content)
    }

    /// Makes a new key. RSA takes from a tenth of a second to many seconds: see [`GenerationPool`].
    ///
    /// # Errors
    /// [`PrivateKeyError::Generation`] when the system gives no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, PrivateKeyError> {
        match algorithm {
            Algorithm::Ed25519 => curves::generate_ed25519(),
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::EcdsaP521 => {
                curves::generate_ecdsa(algorithm)
            }
            Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => rsa_key::generate(algorithm),
        }
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The key as in an agent's `add identity` message after the message number and without the comment: key type,
    /// then the type's fields.
    pub fn into_blob(self) -> Zeroizing<Vec<u8>> {
        self.blob
    }

    /// A copy of [`Self::into_blob`]'s bytes, for a hand-over that may fail and be tried again.
    pub fn copy_blob(&self) -> Zeroizing<Vec<u8>> {
        self.blob.clone()
    }

    /// SHA-1 of the PKCS#8 form in lower-case hex, as one vendor fingerprints RSA pairs it created.
    pub(crate) fn pkcs8_sha1(&self) -> Option<String> {
        rsa_key::pkcs8_sha1(&self.blob)
    }

    fn from_parts(blob: Zeroizing<Vec<u8>>, public: &[u8]) -> Result<Self, PrivateKeyError> {
        let public = PublicKey::from_blob(public).ok_or(PrivateKeyError::Inconsistent)?;
        Ok(Self { public, blob })
    }
}

/// The public half that stands in front of an encrypted one, as OpenSSH's own format has it; none: the text tells none.
pub fn public_half(text: &[u8]) -> Option<Vec<u8>> {
    let content = armour::strip(text).ok()?;
    openssh::public_half(&content)
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.fingerprint())
    }
}

/// Why a private key cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PrivateKeyError {
    /// There is nothing in it.
    #[error("the private key is empty")]
    Empty,
    /// It is protected by a passphrase.
    #[error("the private key is encrypted with a passphrase ({0})")]
    Encrypted(&'static str),
    /// No new key could be made.
    #[error("no private key could be generated: the system gives no randomness")]
    Generation,
    /// The halves, or the numbers of an RSA key, do not belong together.
    #[error("the parts of the private key do not belong together")]
    Inconsistent,
    /// It cannot be read.
    #[error("the private key is malformed: {0}")]
    Malformed(&'static str),
    /// An RSA modulus out of bounds.
    #[error("the RSA key has {0} bits; 2048 to 8192 are taken")]
    RsaSize(usize),
    /// Longer than [`MAX_LENGTH`].
    #[error("the private key is longer than 64 KiB")]
    TooLong,
    /// A kind of key that this version does not take.
    #[error("the private key is of a kind that is not taken: {0}")]
    Unsupported(&'static str),
}
