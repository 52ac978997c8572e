//! Ed25519 (RFC 8709).

use super::KeyError;
use crate::message::Refusal;
use crate::wire::{Reader, put_string};
use aws_lc_rs::signature::{Ed25519KeyPair, Signature};

pub(super) const ALGORITHM: &str = "ssh-ed25519";

pub(super) struct Ed25519(Ed25519KeyPair);

impl Ed25519 {
    /// Reads the public half, then the seed and the public half once more, and gives the public blob too.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<(Self, Vec<u8>), KeyError> {
        let public = reader.string()?;
        let private = reader.string()?;
        if public.len() != PUBLIC_LENGTH || private.len() != SEED_LENGTH + PUBLIC_LENGTH {
            return Err(KeyError::Malformed);
        }
        let (seed, public_again) = private.split_at(SEED_LENGTH);
        if public != public_again {
            return Err(KeyError::Mismatch);
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| KeyError::Mismatch)?;

        let mut blob = Vec::new();
        put_string(&mut blob, ALGORITHM.as_bytes());
        put_string(&mut blob, public);
        Ok((Self(pair), blob))
    }

    pub(super) fn sign(&self, data: &[u8]) -> Result<Signature, Refusal> {
        self.0.try_sign(data).map_err(|_| Refusal::Signature)
    }
}

const SEED_LENGTH: usize = 32;
pub(super) const PUBLIC_LENGTH: usize = 32;
