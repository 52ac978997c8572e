//! Comparing the fingerprint that a provider reports with a key of ours.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use keyferry_plugin::contract::{Algorithm, Pair};
use keyferry_plugin::fingerprint::Fingerprint;
use keyferry_plugin::manifest::FingerprintForm;
use md5::{Digest as _, Md5};

use crate::private_key::{PrivateKey, PublicKey};

/// What a comparison found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// It is this key.
    Match,
    /// It is another key.
    Mismatch,
    /// The provider reported nothing that can be compared.
    Unknown,
}

/// Compares a pair as the provider describes it with a key of ours.
///
/// The public key decides where the provider reports one. Otherwise the fingerprint decides, if it is as long as one
/// of the manifest's `forms` would be: any form that fits makes a match, none that fits a mismatch. A length that no
/// form has is [`Comparison::Unknown`] and not a mismatch, since a vendor's own documents show such
/// fingerprints (twenty octets where its text says MD5); the key is then known by our own half alone.
///
/// `private` is needed for [`FingerprintForm::Sha1Pkcs8`], which is unknown without it.
pub fn compare(
    pair: &Pair,
    forms: &[FingerprintForm],
    public: &PublicKey,
    private: Option<&PrivateKey>,
) -> Comparison {
    if let Some(reported) = pair.public_key.as_deref().and_then(PublicKey::from_line) {
        return if reported == *public {
            Comparison::Match
        } else {
            Comparison::Mismatch
        };
    }
    let Some(reported) = pair.fingerprint.as_deref().map(Fingerprint::read) else {
        return Comparison::Unknown;
    };
    let mut result = Comparison::Unknown;
    let mut undecided = false;
    for form in forms {
        let ours = match (form, &reported) {
            (FingerprintForm::Md5, Fingerprint::Hex(text)) if text.len() == 32 => {
                Some(md5_hex(public.blob()))
            }
            (FingerprintForm::Md5Spki, Fingerprint::Hex(text)) if text.len() == 32 => {
                subject_public_key_info(public).map(|der| md5_hex(&der))
            }
            (FingerprintForm::Sha1Pkcs8, Fingerprint::Hex(text)) if text.len() == 40 => {
                let ours = private.and_then(PrivateKey::pkcs8_sha1);
                undecided |= private.is_none();
                ours
            }
            (FingerprintForm::Sha1Spki, Fingerprint::Hex(text)) if text.len() == 40 => {
                subject_public_key_info(public).map(|der| sha1_hex(&der))
            }
            (FingerprintForm::Sha256, Fingerprint::Base64(_)) => {
                Some(public.fingerprint().trim_start_matches("SHA256:").to_owned())
            }
            _ => None,
        };
        match ours {
            Some(ours) if ours == reported.text() => return Comparison::Match,
            Some(_) => result = Comparison::Mismatch,
            None => {}
        }
    }
    match result {
        // It may be a sum of the private half, which is not here.
        Comparison::Mismatch if undecided => Comparison::Unknown,
        result => result,
    }
}

fn md5_hex(data: &[u8]) -> String {
    Md5::digest(data)
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

fn sha1_hex(data: &[u8]) -> String {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, data)
        .as_ref()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// The DER SubjectPublicKeyInfo (RFC 5280 §4.1, RFC 5480, RFC 8410).
fn subject_public_key_info(public: &PublicKey) -> Option<Vec<u8>> {
    use crate::private_key::Parts;
    let (header, point): (&[u8], &[u8]) = match public.parts() {
        Parts::Rsa { n, e } => {
            let der: PublicKeyX509Der<'_> = PublicKeyComponents { n, e }.as_der().ok()?;
            return Some(der.as_ref().to_vec());
        }
        Parts::Ed25519(point) => (&ED25519_HEADER, point),
        Parts::Ecdsa {
            algorithm: Algorithm::EcdsaP256,
            point,
        } => (&P256_HEADER, point),
        Parts::Ecdsa {
            algorithm: Algorithm::EcdsaP384,
            point,
        } => (&P384_HEADER, point),
        Parts::Ecdsa { point, .. } => (&P521_HEADER, point),
    };
    Some([header, point].concat())
}

// What stands before the point: SEQUENCE, AlgorithmIdentifier, BIT STRING. Point lengths are fixed by the algorithm.
const ED25519_HEADER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const P256_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384_HEADER: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
const P521_HEADER: [u8; 25] = [
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FingerprintForm; 5] = [
        FingerprintForm::Md5,
        FingerprintForm::Md5Spki,
        FingerprintForm::Sha1Pkcs8,
        FingerprintForm::Sha1Spki,
        FingerprintForm::Sha256,
    ];

    fn reports(fingerprint: &str) -> Pair {
        Pair {
            fingerprint: Some(fingerprint.to_owned()),
            ..Pair::default()
        }
    }

    #[track_caller]
    fn check(fingerprint: &str, forms: &[FingerprintForm], key: &PrivateKey, expected: Comparison) {
        assert_eq!(
            compare(&reports(fingerprint), forms, key.public_key(), Some(key)),
            expected,
            "{fingerprint}"
        );
    }

    fn with_colons(hex: &str) -> String {
        hex.as_bytes()
            .chunks(2)
            .map(|two| std::str::from_utf8(two).unwrap())
            .collect::<Vec<_>>()
            .join(":")
    }

    #[test]
    fn fingerprints_match_however_they_are_written() {
        for algorithm in [
            Algorithm::Ed25519,
            Algorithm::EcdsaP256,
            Algorithm::EcdsaP384,
            Algorithm::EcdsaP521,
            Algorithm::Rsa2048,
        ] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let public = key.public_key();
            let md5 = md5_hex(public.blob());
            check(&md5, &ALL, &key, Comparison::Match);
            check(&md5.to_uppercase(), &ALL, &key, Comparison::Match);
            check(&with_colons(&md5), &ALL, &key, Comparison::Match);
            check(
                &format!("MD5:{}\n", with_colons(&md5)),
                &ALL,
                &key,
                Comparison::Match,
            );
            check(
                &md5_hex(&subject_public_key_info(public).unwrap()),
                &ALL,
                &key,
                Comparison::Match,
            );
            let sha1 = sha1_hex(&subject_public_key_info(public).unwrap());
            check(&with_colons(&sha1), &ALL, &key, Comparison::Match);
            check(&public.fingerprint(), &ALL, &key, Comparison::Match);
            check(
                &format!("{}=", public.fingerprint()),
                &ALL,
                &key,
                Comparison::Match,
            );
            check(
                public.fingerprint().trim_start_matches("SHA256:"),
                &ALL,
                &key,
                Comparison::Match,
            );
            if let Some(sha1) = key.pkcs8_sha1() {
                check(&with_colons(&sha1), &ALL, &key, Comparison::Match);
            }
        }
    }

    /// The SubjectPublicKeyInfo is what another library makes of the same key.
    #[test]
    fn subject_public_key_infos_are_right() {
        use aws_lc_rs::encoding::AsDer as _;
        use aws_lc_rs::signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, ParsedPublicKey,
            VerificationAlgorithm,
        };
        for (algorithm, verification) in [
            (Algorithm::Ed25519, &ED25519 as &'static dyn VerificationAlgorithm),
            (Algorithm::EcdsaP256, &ECDSA_P256_SHA256_ASN1),
            (Algorithm::EcdsaP384, &ECDSA_P384_SHA384_ASN1),
            (Algorithm::EcdsaP521, &ECDSA_P521_SHA512_ASN1),
        ] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let ours = subject_public_key_info(key.public_key()).unwrap();
            let parsed = ParsedPublicKey::new(verification, &ours).unwrap();
            let theirs: PublicKeyX509Der<'_> = parsed.as_der().unwrap();
            assert_eq!(theirs.as_ref(), ours);
            assert!(key.public_key().blob().ends_with(&ours[ours.len() - 32..]));
        }
    }

    #[test]
    fn another_key_is_a_mismatch_and_an_odd_length_is_nothing() {
        let [key, other] = [(); 2].map(|()| PrivateKey::generate(Algorithm::EcdsaP256).unwrap());
        check(
            &md5_hex(other.public_key().blob()),
            &ALL,
            &key,
            Comparison::Mismatch,
        );
        check(
            &other.public_key().fingerprint(),
            &ALL,
            &key,
            Comparison::Mismatch,
        );
        let twenty = "89:f0:ba:62:ac:b8:aa:e1:61:5e:fd:81:69:86:6d:6b:f0:c0:5a:d7";
        check(twenty, &[FingerprintForm::Md5], &key, Comparison::Unknown);
        check("", &ALL, &key, Comparison::Unknown);
        check("not a fingerprint", &ALL, &key, Comparison::Unknown);
        check("é", &ALL, &key, Comparison::Unknown);
        assert_eq!(
            compare(&Pair::default(), &ALL, key.public_key(), None),
            Comparison::Unknown
        );
    }

    #[test]
    fn without_the_private_half_a_sum_of_it_is_nothing() {
        let key = PrivateKey::generate(Algorithm::Rsa2048).unwrap();
        let sum = reports(&key.pkcs8_sha1().unwrap());
        let compared = |private| compare(&sum, &ALL, key.public_key(), private);
        assert_eq!(compared(Some(&key)), Comparison::Match);
        assert_eq!(compared(None), Comparison::Unknown);
        let other = reports(&"89".repeat(20));
        let compared = |private| compare(&other, &ALL, key.public_key(), private);
        assert_eq!(compared(Some(&key)), Comparison::Mismatch);
        assert_eq!(compared(None), Comparison::Unknown);
    }

    #[test]
    fn a_reported_public_key_decides() {
        let [key, other] = [(); 2].map(|()| PrivateKey::generate(Algorithm::EcdsaP256).unwrap());
        let reported = |line: String| Pair {
            public_key: Some(line),
            ..reports(&md5_hex(key.public_key().blob()))
        };
        let compared = |line: String| compare(&reported(line), &ALL, key.public_key(), None);
        assert_eq!(compared(key.public_key().line("theirs")), Comparison::Match);
        assert_eq!(compared(other.public_key().line("theirs")), Comparison::Mismatch);
        assert_eq!(
            compared("ssh-rsa cut".to_owned()),
            Comparison::Match,
            "then the fingerprint decides"
        );
    }
}
