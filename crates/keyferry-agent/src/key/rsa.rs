//! RSA with PKCS #1 v1.5 padding over SHA-2 (RFC 8332).

use super::{Effort, KeyError};
use crate::message::Refusal;
use crate::wire::{Malformed, Reader, put_mpint, put_string};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding,
    RsaKeyPair, RsaParameters,
};
use zeroize::Zeroizing;

mod remainder;

use remainder::remainder;

/// The name of the key's type. As a signature's name it means SHA-1, which is refused.
pub(super) const ALGORITHM: &str = "ssh-rsa";

pub(super) struct Rsa(RsaKeyPair);

impl Rsa {
    /// Reads n, e, d, iqmp, p and q, and gives the public blob too. Lengths are checked before anything is
    /// computed.
    ///
    /// aws-lc checks how the numbers fit each other, but not that p and q are primes; a signature made and
    /// verified here does, far faster than a primality test: with a composite factor it does not verify.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<(Self, Vec<u8>), KeyError> {
        let [n, e, d, iqmp, p, q] = [(); 6].map(|()| reader.mpint());
        let (n, e, d, iqmp, p, q) = (n?, e?, d?, iqmp?, p?, q?);

        let bits = bit_length(n);
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::RsaModulus { bits });
        }
        if e.len() > MAX_EXPONENT_LENGTH || !is_odd(e) || e == [1] {
            return Err(KeyError::RsaExponent);
        }
        let is_factor = |factor: &[u8]| {
            let bits_of_factor = bit_length(factor);
            is_odd(factor) && bits_of_factor >= bits / 3 && bits_of_factor < bits
        };
        if d.len() > n.len() || iqmp.len() > n.len() || !is_factor(p) || !is_factor(q) {
            return Err(KeyError::RsaParameters);
        }

        let components = KeyPairComponents {
            public_key: PublicKeyComponents { n, e },
            d,
            p,
            q,
            dP: &remainder(d, &less_one(p)),
            dQ: &remainder(d, &less_one(q)),
            qInv: iqmp,
        };
        let key = Self(RsaKeyPair::from_components(&components).map_err(|_| KeyError::RsaParameters)?);
        let trial = key.sign(&SHA2_256, TRIAL).map_err(|_| KeyError::RsaParameters)?;
        components
            .public_key
            .verify(&RSA_PKCS1_2048_8192_SHA256, TRIAL, &trial)
            .map_err(|_| KeyError::RsaParameters)?;

        let mut blob = Vec::new();
        put_string(&mut blob, ALGORITHM.as_bytes());
        put_mpint(&mut blob, e);
        put_mpint(&mut blob, n);
        Ok((key, blob))
    }

    pub(super) fn effort(&self) -> Effort {
        if self.0.public_modulus_len() <= MAX_MODERATE_LENGTH {
            Effort::Moderate
        } else {
            Effort::Much
        }
    }

    pub(super) fn sign(&self, algorithm: &Algorithm, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(algorithm.encoding, &SystemRandom::new(), data, &mut signature)
            .map_err(|_| Refusal::Signature)?;
        Ok(signature)
    }
}

/// One way to sign with an RSA key.
pub(super) struct Algorithm {
    pub(super) name: &'static str,
    encoding: &'static dyn RsaEncoding,
    parameters: &'static RsaParameters,
}

impl Algorithm {
    pub(super) fn named(name: &[u8]) -> Option<&'static Self> {
        [&SHA2_256, &SHA2_512]
            .into_iter()
            .find(|algorithm| algorithm.name.as_bytes() == name)
    }

    /// Whether these bytes are the signature of the private half of `e` and `n`. Leading zero bytes may lack, as
    /// RFC 8332 has it.
    pub(super) fn verify(&self, e: &[u8], n: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Malformed> {
        let missing = n.len().checked_sub(signature.len()).ok_or(Malformed)?;
        if e.len() > MAX_EXPONENT_LENGTH || !(MIN_BITS..=MAX_BITS).contains(&bit_length(n)) {
            return Err(Malformed);
        }
        let padded = [&vec![0; missing], signature].concat();
        PublicKeyComponents { n, e }
            .verify(self.parameters, data, &padded)
            .map_err(|_| Malformed)
    }
}

pub(super) static SHA2_256: Algorithm = Algorithm {
    name: "rsa-sha2-256",
    encoding: &RSA_PKCS1_SHA256,
    parameters: &RSA_PKCS1_2048_8192_SHA256,
};
pub(super) static SHA2_512: Algorithm = Algorithm {
    name: "rsa-sha2-512",
    encoding: &RSA_PKCS1_SHA512,
    parameters: &RSA_PKCS1_2048_8192_SHA512,
};

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// The length of a number that has no leading zero bytes.
fn bit_length(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| 8 * number.len() - first.leading_zeros() as usize)
}

/// An odd number less one.
fn less_one(odd: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut even = Zeroizing::new(odd.to_vec());
    if let Some(last) = even.last_mut() {
        *last &= !1;
    }
    even
}

const MIN_BITS: usize = 2048;
/// What aws-lc-rs takes. OpenSSH takes 16384; nobody else in this crate may sign.
const MAX_BITS: usize = 8192;
/// A modulus of 3072 bits, in bytes.
const MAX_MODERATE_LENGTH: usize = 384;
const MAX_EXPONENT_LENGTH: usize = 4;
const TRIAL: &[u8] = b"is the signature of this one that verifies?";
