//! Keys on curves, and the DER forms.

use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use keyferry_plugin::contract::Algorithm;
use rsa::pkcs8::PrivateKeyInfo;
use rsa::pkcs8::der::Decode as _;
use zeroize::Zeroizing;

use super::public_key::{ECDSA, ecdsa_names};
use super::wire::{Field, encode};
use super::{PrivateKey, PrivateKeyError, rsa_key};

/// Reads PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 A.1.2) or SEC 1 (RFC 5915).
pub(super) fn parse_der(der: &[u8]) -> Result<PrivateKey, PrivateKeyError> {
    if let Ok(info) = PrivateKeyInfo::from_der(der) {
        return match info.algorithm.oid.to_string().as_str() {
            RSA_OID => rsa_key::parse_pkcs1(info.private_key),
            EC_OID => parse_ecdsa(der),
            // CurvePrivateKey (RFC 8410 §7): an OCTET STRING of 32 octets in an OCTET STRING.
            ED25519_OID => match info.private_key {
                [0x04, 0x20, seed @ ..] => ed25519(seed, None),
                _ => Err(PrivateKeyError::Malformed("the Ed25519 seed is not 32 octets")),
            },
            _ => Err(PrivateKeyError::Unsupported(
                "PKCS#8 with another algorithm than RSA, ECDSA, Ed25519",
            )),
        };
    }
    match after_sequence(der) {
        // EncryptedPrivateKeyInfo (RFC 5958 §3) begins with an AlgorithmIdentifier instead of a version.
        Some([0x30, ..]) => Err(PrivateKeyError::Encrypted("PKCS#8")),
        Some([0x02, 1, 0, 0x02, ..]) => rsa_key::parse_pkcs1(der),
        Some([0x02, 1, 1, 0x04, ..]) => parse_ecdsa(der),
        _ => Err(PrivateKeyError::Malformed(
            "neither PKCS#1, PKCS#8, SEC 1 nor OpenSSH",
        )),
    }
}

/// Makes an Ed25519 key.
pub(super) fn generate_ed25519() -> Result<PrivateKey, PrivateKeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *seed).map_err(|_| PrivateKeyError::Generation)?;
    ed25519(&*seed, None)
}

/// Makes an ECDSA key.
pub(super) fn generate_ecdsa(algorithm: Algorithm) -> Result<PrivateKey, PrivateKeyError> {
    let signing = signing_algorithm(algorithm).ok_or(PrivateKeyError::Generation)?;
    let pair = EcdsaKeyPair::generate(signing).map_err(|_| PrivateKeyError::Generation)?;
    from_ecdsa_pair(algorithm, &pair)
}

/// The key of a seed (RFC 8032 §5.1.5), checked against a public half where one came along.
pub(super) fn ed25519(seed: &[u8], public: Option<&[u8]>) -> Result<PrivateKey, PrivateKeyError> {
    if seed.len() != 32 {
        return Err(PrivateKeyError::Malformed("the Ed25519 seed is not 32 octets"));
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| PrivateKeyError::Inconsistent)?;
    let point = pair.public_key().as_ref();
    if public.is_some_and(|public| public != point) {
        return Err(PrivateKeyError::Inconsistent);
    }
    let mut both = Zeroizing::new([0; 64]);
    both[..32].copy_from_slice(seed);
    both[32..].copy_from_slice(point);
    let key_type = Field::String(b"ssh-ed25519");
    let blob = encode(&[key_type, Field::String(point), Field::String(&*both)]);
    let public = encode(&[Field::String(b"ssh-ed25519"), Field::String(point)]);
    PrivateKey::from_parts(blob, &public)
}

/// The key of a scalar, checked against the point.
pub(super) fn ecdsa(
    algorithm: Algorithm,
    scalar: &[u8],
    point: &[u8],
) -> Result<PrivateKey, PrivateKeyError> {
    let signing = signing_algorithm(algorithm).ok_or(PrivateKeyError::Inconsistent)?;
    // SEC 1's fixed length: as long as a coordinate.
    let length = point.len().saturating_sub(1) / 2;
    let start = length
        .checked_sub(scalar.len())
        .ok_or(PrivateKeyError::Inconsistent)?;
    let mut padded = Zeroizing::new(vec![0; length]);
    padded[start..].copy_from_slice(scalar);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &padded, point)
        .map_err(|_| PrivateKeyError::Inconsistent)?;
    from_ecdsa_pair(algorithm, &pair)
}

const RSA_OID: &str = "1.2.840.113549.1.1.1";
const EC_OID: &str = "1.2.840.10045.2.1";
const ED25519_OID: &str = "1.3.101.112";

fn parse_ecdsa(der: &[u8]) -> Result<PrivateKey, PrivateKeyError> {
    for algorithm in ECDSA {
        let Some(signing) = signing_algorithm(algorithm) else {
            continue;
        };
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(signing, der) {
            return from_ecdsa_pair(algorithm, &pair);
        }
    }
    Err(PrivateKeyError::Unsupported(
        "ECDSA that is unsound, or not on P-256, P-384 or P-521",
    ))
}

fn from_ecdsa_pair(algorithm: Algorithm, pair: &EcdsaKeyPair) -> Result<PrivateKey, PrivateKeyError> {
    let (key_type, curve, _) = ecdsa_names(algorithm).ok_or(PrivateKeyError::Inconsistent)?;
    let scalar: EcPrivateKeyBin<'_> = pair
        .private_key()
        .as_be_bytes()
        .map_err(|_| PrivateKeyError::Inconsistent)?;
    let named = || {
        [
            Field::String(key_type.as_bytes()),
            Field::String(curve.as_bytes()),
        ]
    };
    let [key_type_field, curve_field] = named();
    let point = pair.public_key().as_ref();
    let blob = encode(&[
        key_type_field,
        curve_field,
        Field::String(point),
        Field::Mpint(scalar.as_ref()),
    ]);
    let [key_type_field, curve_field] = named();
    let public = encode(&[key_type_field, curve_field, Field::String(point)]);
    PrivateKey::from_parts(blob, &public)
}

fn signing_algorithm(algorithm: Algorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        Algorithm::EcdsaP256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Algorithm::EcdsaP384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        Algorithm::EcdsaP521 => Some(&ECDSA_P521_SHA512_ASN1_SIGNING),
        Algorithm::Ed25519 | Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => None,
    }
}

/// What follows the header of a DER SEQUENCE.
fn after_sequence(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x30, length, rest @ ..] if *length < 0x80 => Some(rest),
        [0x30, length, rest @ ..] => rest.get(usize::from(*length & 0x7f)..),
        _ => None,
    }
}
