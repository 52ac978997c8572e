//! ECDSA on the NIST curves (RFC 5656).

use super::{Effort, KeyError};
use crate::message::Refusal;
use crate::wire::{Malformed, Reader, put_string};
use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED, EcdsaKeyPair,
    EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Signature, UnparsedPublicKey,
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
        if name != curve.name.as_bytes() || !curve.is_point(point) || scalar.len() > curve.length {
            return Err(KeyError::Malformed);
        }
        let mut padded = Zeroizing::new([0; MAX_LENGTH]);
        let padded = &mut padded[..curve.length];
        padded[curve.length - scalar.len()..].copy_from_slice(scalar);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, padded, point)
            .map_err(|_| KeyError::Mismatch)?;

        let mut blob = Vec::new();
        curve.put_blob(point, &mut blob);
        Ok((Self { curve, pair }, blob))
    }

    pub(super) fn curve(&self) -> &'static Curve {
        self.curve
    }

    /// The signature as X.690 and RFC 3279 §2.2.3 write it. To hash first and to leave the numbers as they
    /// come saves a tenth of a signature.
    pub(super) fn sign(&self, data: &[u8]) -> Result<Signature, Refusal> {
        self.pair
            .sign_digest(&digest(self.curve.hash, data))
            .map_err(|_| Refusal::Signature)
    }

    /// Both numbers of a signature, as RFC 5656 §3.1.2 has them.
    pub(super) fn put_signature(signature: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let (r, s) = integers(signature).ok_or(Refusal::Signature)?;
        put_string(out, r);
        put_string(out, s);
        Ok(())
    }
}

/// The contents of the two integers. What DER says of an integer's octets is what RFC 4251 §5 says of an
/// mpint's.
fn integers(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let both = match signature {
        [SEQUENCE, LONG, length, both @ ..] if usize::from(*length) == both.len() => both,
        [SEQUENCE, length, both @ ..] if usize::from(*length) == both.len() => both,
        _ => return None,
    };
    let (r, rest) = integer(both)?;
    let (s, rest) = integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    match der {
        [INTEGER, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// One octet of length follows: only a signature of P-521 is as long.
const LONG: u8 = 0x81;

/// One curve, with its own hash.
pub(super) struct Curve {
    pub(super) algorithm: &'static str,
    pub(super) effort: Effort,
    name: &'static str,
    /// The length of a coordinate and of a scalar, in bytes.
    length: usize,
    hash: &'static digest::Algorithm,
    signing: &'static EcdsaSigningAlgorithm,
    verifying: &'static EcdsaVerificationAlgorithm,
}

impl Curve {
    pub(super) fn named(algorithm: &[u8]) -> Option<&'static Self> {
        CURVES
            .iter()
            .find(|curve| curve.algorithm.as_bytes() == algorithm)
    }

    /// Reads the curve's name and the point of a public half.
    pub(super) fn read_point<'a>(&self, reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        let name = reader.string()?;
        let point = reader.string()?;
        if name == self.name.as_bytes() && self.is_point(point) {
            Ok(point)
        } else {
            Err(Malformed)
        }
    }

    /// The blob of a public half.
    pub(super) fn put_blob(&self, point: &[u8], out: &mut Vec<u8>) {
        put_string(out, self.algorithm.as_bytes());
        put_string(out, self.name.as_bytes());
        put_string(out, point);
    }

    /// Whether these two numbers, as RFC 5656 §3.1.2 has them, are the signature of the point's private half.
    pub(super) fn verify(&self, point: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(signature);
        let mut both = [0; 2 * MAX_LENGTH];
        let both = &mut both[..2 * self.length];
        for place in both.chunks_mut(self.length) {
            let number = reader.mpint()?;
            let start = self.length.checked_sub(number.len()).ok_or(Malformed)?;
            place[start..].copy_from_slice(number);
        }
        reader.end()?;
        UnparsedPublicKey::new(self.verifying, point)
            .verify(data, both)
            .map_err(|_| Malformed)
    }

    /// The point uncompressed, which is the only form that OpenSSH writes or reads.
    fn is_point(&self, point: &[u8]) -> bool {
        point.len() == 1 + 2 * self.length && point[0] == 4
    }
}

static CURVES: [Curve; 3] = [
    Curve {
        algorithm: "ecdsa-sha2-nistp256",
        effort: Effort::Little,
        name: "nistp256",
        length: 32,
        hash: &digest::SHA256,
        signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
        verifying: &ECDSA_P256_SHA256_FIXED,
    },
    Curve {
        algorithm: "ecdsa-sha2-nistp384",
        effort: Effort::Little,
        name: "nistp384",
        length: 48,
        hash: &digest::SHA384,
        signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
        verifying: &ECDSA_P384_SHA384_FIXED,
    },
    Curve {
        algorithm: "ecdsa-sha2-nistp521",
        effort: Effort::Moderate,
        name: "nistp521",
        length: MAX_LENGTH,
        hash: &digest::SHA512,
        signing: &ECDSA_P521_SHA512_ASN1_SIGNING,
        verifying: &ECDSA_P521_SHA512_FIXED,
    },
];

const MAX_LENGTH: usize = 66;
