//! What the agent keeps of the passphrase it was locked with.

use crate::message::Refusal;
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::rand;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// A salted hash, never the passphrase. It may be any bytes, or none.
pub(super) struct Passphrase {
    salt: [u8; 16],
    hash: Zeroizing<[u8; 32]>,
}

impl Passphrase {
    pub(super) fn new(passphrase: &[u8]) -> Result<Self, Refusal> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| Refusal::WorkLost)?;
        let mut hash = Zeroizing::new([0; 32]);
        pbkdf2::derive(PBKDF2_HMAC_SHA512, ROUNDS, &salt, passphrase, &mut *hash);
        Ok(Self { salt, hash })
    }

    /// Takes the same time whatever the answer.
    pub(super) fn matches(&self, attempt: &[u8]) -> bool {
        pbkdf2::verify(PBKDF2_HMAC_SHA512, ROUNDS, &self.salt, attempt, &*self.hash).is_ok()
    }
}

/// Some tens of milliseconds. The hash lives in this process only, and guessing over the socket is slowed
/// besides.
const ROUNDS: NonZeroU32 = NonZeroU32::new(50_000).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_match() {
        let passphrase = Passphrase::new(b"\xff\x00caf\xe9").unwrap();
        assert!(passphrase.matches(b"\xff\x00caf\xe9"));
        assert!(!passphrase.matches(b"\xff\x00caf"));
        assert!(!passphrase.matches(b""));
        assert!(Passphrase::new(b"").unwrap().matches(b""));
        let again = Passphrase::new(b"\xff\x00caf\xe9").unwrap();
        assert_ne!(
            passphrase.hash, again.hash,
            "two hashes of one passphrase are salted apart"
        );
    }
}
