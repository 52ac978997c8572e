//! RSA keys (RFC 8017). The numbers are checked by aws-lc-rs, which will sign with them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use keyferry_plugin::contract::Algorithm;
use rsa::BigUint;
use rsa::pkcs1::RsaPrivateKey;
use rsa::pkcs1::UintRef;
use rsa::pkcs1::der::{Decode as _, Encode as _};
use rsa::pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfo};
use zeroize::{Zeroize as _, Zeroizing};

use super::public_key::bits;
use super::wire::{Field, Reader, encode};
use super::{PrivateKey, PrivateKeyError, curves};

/// Makes an RSA key.
pub(super) fn generate(algorithm: Algorithm) -> Result<PrivateKey, PrivateKeyError> {
    let size = match algorithm {
        Algorithm::Rsa2048 => KeySize::Rsa2048,
        Algorithm::Rsa3072 => KeySize::Rsa3072,
        Algorithm::Rsa4096 => KeySize::Rsa4096,
        Algorithm::Ed25519 | Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::EcdsaP521 => {
            return Err(PrivateKeyError::Generation);
        }
    };
    let pair = KeyPair::generate(size).map_err(|_| PrivateKeyError::Generation)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| PrivateKeyError::Generation)?;
    curves::parse_der(der.as_ref())
}

/// Reads an `RSAPrivateKey` and checks that it is sound.
pub(super) fn parse_pkcs1(der: &[u8]) -> Result<PrivateKey, PrivateKeyError> {
    let key = RsaPrivateKey::from_der(der).map_err(|_| PrivateKeyError::Malformed("the PKCS#1 structure"))?;
    if key.other_prime_infos.is_some() {
        return Err(PrivateKeyError::Unsupported("RSA with more than two primes"));
    }
    let size = bits(key.modulus.as_bytes());
    if !(MIN_BITS..=MAX_BITS).contains(&size) {
        return Err(PrivateKeyError::RsaSize(size));
    }
    // Runs RSA_check_key: n = pq, d fits e and both primes, and the three CRT numbers fit.
    KeyPair::from_der(der).map_err(|_| PrivateKeyError::Inconsistent)?;
    let (n, e) = (
        Field::Mpint(key.modulus.as_bytes()),
        Field::Mpint(key.public_exponent.as_bytes()),
    );
    let public = encode(&[Field::String(b"ssh-rsa"), e, n]);
    let blob = encode(&[
        Field::String(b"ssh-rsa"),
        Field::Mpint(key.modulus.as_bytes()),
        Field::Mpint(key.public_exponent.as_bytes()),
        Field::Mpint(key.private_exponent.as_bytes()),
        Field::Mpint(key.coefficient.as_bytes()),
        Field::Mpint(key.prime1.as_bytes()),
        Field::Mpint(key.prime2.as_bytes()),
    ]);
    PrivateKey::from_parts(blob, &public)
}

/// Reads the fields after `ssh-rsa` of a private section: n, e, d, iqmp, p, q.
pub(super) fn parse_fields(reader: &mut Reader<'_>) -> Result<PrivateKey, PrivateKeyError> {
    parse_pkcs1(&pkcs1(reader)?)
}

/// SHA-1 of the PKCS#8 form of a blob as [`PrivateKey`] holds it; none for other keys than RSA.
pub(super) fn pkcs8_sha1(blob: &[u8]) -> Option<String> {
    let mut reader = Reader(blob);
    if reader.string()? != b"ssh-rsa" {
        return None;
    }
    let inner = pkcs1(&mut reader).ok()?;
    let algorithm = AlgorithmIdentifierRef {
        oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
        parameters: Some(rsa::pkcs8::der::asn1::AnyRef::NULL),
    };
    let outer = Zeroizing::new(PrivateKeyInfo::new(algorithm, &inner).to_der().ok()?);
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &outer);
    Some(sum.as_ref().iter().map(|octet| format!("{octet:02x}")).collect())
}

/// The least modulus taken: OpenSSH's own for RSA with SHA-2 is lower, no vendor's is.
const MIN_BITS: usize = 2048;
/// The greatest modulus taken: aws-lc-rs signs with no longer one.
const MAX_BITS: usize = 8192;

/// The `RSAPrivateKey` of OpenSSH's fields, which lack the two CRT exponents.
fn pkcs1(reader: &mut Reader<'_>) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let mut next = || {
        let number = reader.mpint().filter(|number| !number.is_empty());
        let number = number.ok_or(PrivateKeyError::Malformed("an RSA number"))?;
        if bits(number) > MAX_BITS {
            return Err(PrivateKeyError::RsaSize(bits(number)));
        }
        Ok(number)
    };
    let (n, e, d, iqmp, p, q) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let (exponent1, exponent2) = (crt_exponent(d, p)?, crt_exponent(d, q)?);
    let uint = |number| UintRef::new(number).map_err(|_| PrivateKeyError::Malformed("an RSA number"));
    let key = RsaPrivateKey {
        modulus: uint(n)?,
        public_exponent: uint(e)?,
        private_exponent: uint(d)?,
        prime1: uint(p)?,
        prime2: uint(q)?,
        exponent1: uint(&exponent1)?,
        exponent2: uint(&exponent2)?,
        coefficient: uint(iqmp)?,
        other_prime_infos: None,
    };
    let der = key
        .to_der()
        .map_err(|_| PrivateKeyError::Malformed("an RSA number"))?;
    Ok(Zeroizing::new(der))
}

/// `d mod (prime - 1)`.
fn crt_exponent(d: &[u8], prime: &[u8]) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    if bits(prime) < 2 {
        return Err(PrivateKeyError::Inconsistent);
    }
    let mut d = BigUint::from_bytes_be(d);
    let mut modulus = BigUint::from_bytes_be(prime) - 1u8;
    let mut remainder = &d % &modulus;
    let bytes = Zeroizing::new(remainder.to_bytes_be());
    d.zeroize();
    modulus.zeroize();
    remainder.zeroize();
    Ok(bytes)
}
