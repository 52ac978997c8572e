//! ECDSA on the NIST curves (RFC 5656).

use super::{Effort, KeyError};
use crate::message::Refusal;
use crate::wire::{Reader, put_mpint, put_string};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Signature,
};
use zeroize::Zeroizing;

pub(super) struct Ecdsa {
    curve: &'static Curve,
    pair: EcdsaKeyPair,
}

impl Ecdsa {
    /// Reads the curve's name, the point and the scalar, and gives the public blob too.
    pub(super) fn read(curve: &'static Curve, reader: &mut Reader<'_>) -> Result<(Self, Vec<u8>), KeyError> {
        let name = reader.string()?;
        let point = reader.string()?;
        let scalar = reader.mpint()?;
        // The point uncompressed, which is the only form that OpenSSH writes or reads.
        let is_point = point.len() == 1 + 2 * curve.length && point[0] == 4;
        if name != curve.name.as_bytes() || !is_point || scalar.len() > curve.length {
            return Err(KeyError::Malformed);
        }
        let mut padded = Zeroizing::new([0; MAX_LENGTH]);
        let padded = &mut padded[..curve.length];
        padded[curve.length - scalar.len()..].copy_from_slice(scalar);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, padded, point)
            .map_err(|_| KeyError::Mismatch)?;

        let mut blob = Vec::new();
        put_string(&mut blob, curve.algorithm.as_bytes());
        put_string(&mut blob, name);
        put_string(&mut blob, point);
        Ok((Self { curve, pair }, blob))
    }

    pub(super) fn curve(&self) -> &'static Curve {
        self.curve
    }

    /// Both numbers of the signature, each as long as the curve's order.
    pub(super) fn sign(&self, data: &[u8]) -> Result<Signature, Refusal> {
        self.pair
            .sign(&SystemRandom::new(), data)
            .map_err(|_| Refusal::Signature)
    }

    pub(super) fn put_signature(&self, signature: &[u8], out: &mut Vec<u8>) {
        let (r, s) = signature.split_at(signature.len() / 2);
        put_mpint(out, r);
        put_mpint(out, s);
    }
}

/// One curve, with its own hash.
pub(super) struct Curve {
    pub(super) algorithm: &'static str,
    pub(super) effort: Effort,
    name: &'static str,
    /// The length of a coordinate and of a scalar, in bytes.
    length: usize,
    signing: &'static EcdsaSigningAlgorithm,
}

impl Curve {
    pub(super) fn named(algorithm: &[u8]) -> Option<&'static Self> {
        CURVES
            .iter()
            .find(|curve| curve.algorithm.as_bytes() == algorithm)
    }
}

static CURVES: [Curve; 3] = [
    Curve {
        algorithm: "ecdsa-sha2-nistp256",
        effort: Effort::Little,
        name: "nistp256",
        length: 32,
        signing: &ECDSA_P256_SHA256_FIXED_SIGNING,
    },
    Curve {
        algorithm: "ecdsa-sha2-nistp384",
        effort: Effort::Little,
        name: "nistp384",
        length: 48,
        signing: &ECDSA_P384_SHA384_FIXED_SIGNING,
    },
    Curve {
        algorithm: "ecdsa-sha2-nistp521",
        effort: Effort::Moderate,
        name: "nistp521",
        length: MAX_LENGTH,
        signing: &ECDSA_P521_SHA512_FIXED_SIGNING,
    },
];

const MAX_LENGTH: usize = 66;
