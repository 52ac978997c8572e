//! The secret numbers of private keys.

use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};

use crate::needles::Needles;

/// Adds the numbers of an RSA key (RFC 8017): primes, exponent, and what the Chinese remainder theorem needs.
pub(crate) fn add_rsa(needles: &mut Needles, name: &str, key: &RsaPrivateKey) {
    let (p, q) = (&key.primes()[0], &key.primes()[1]);
    let one = BigUint::from(1_u8);
    let (p1, q1) = (p - &one, q - &one);
    // Two exponents are in use: modulo the least common multiple of p-1 and q-1, and modulo their product.
    let product = &p1 * &q1;
    let multiple = &product / greatest_common_divisor(p1.clone(), q1.clone());
    let least = key.d() % &multiple;
    let mut greater = least.clone();
    while key.e() * &greater % &product != one {
        greater += &multiple;
    }
    for (number, value) in [
        ("p", p),
        ("q", q),
        ("d", &least),
        ("d modulo the product", &greater),
        ("d modulo p-1", &(&least % &p1)),
        ("d modulo q-1", &(&least % &q1)),
    ] {
        needles.add(&format!("{number} of {name}"), &value.to_bytes_be());
    }
    // By Fermat: the inverse of q modulo p, and of p modulo q.
    for (number, value, modulus) in [("1/q", q, p), ("1/p", p, q)] {
        let inverse = value.modpow(&(modulus - BigUint::from(2_u8)), modulus);
        needles.add(&format!("{number} of {name}"), &inverse.to_bytes_be());
    }
}

/// Reads a PKCS#1 PEM.
pub(crate) fn rsa(pem: &str) -> RsaPrivateKey {
    RsaPrivateKey::from_pkcs1_pem(pem).expect("the loopback cloud makes sound keys")
}

/// An RSA key from its modulus and one of its primes.
pub(crate) fn rsa_of(modulus: &BigUint, exponent: &BigUint, prime: BigUint) -> RsaPrivateKey {
    let other = modulus / &prime;
    RsaPrivateKey::from_p_q(prime, other, exponent.clone()).expect("the prime divides the modulus")
}

fn greatest_common_divisor(mut one: BigUint, mut other: BigUint) -> BigUint {
    let zero = BigUint::from(0_u8);
    while other != zero {
        let rest = &one % &other;
        one = std::mem::replace(&mut other, rest);
    }
    one
}
