use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_plugin::contract::{Algorithm, Pair};
use keyferry_plugin::manifest::FingerprintForm;
use proptest::prelude::*;

use super::wire::{Field, Reader, encode};
use super::{MAX_LENGTH, PrivateKey, PrivateKeyError, openssh};
use crate::fingerprint::{Comparison, compare};

#[path = "../../../../tests/vectors/folder.rs"]
mod folder;

/// A throw-away key of the captured requests, as DER: of our own, whatever directory is named, since those who ask want a
/// key and nothing of a request.
fn captured_rsa() -> Vec<u8> {
    let (_, text) = &captured_private_keys(&folder::own())[0];
    super::armour::strip(text.as_bytes()).unwrap().to_vec()
}

/// What the vendors' SDKs were served for a create: the pair, and the private key as it stands after JSON.
fn captured_private_keys(directory: &Path) -> Vec<(Pair, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let vector: serde_json::Value = serde_json::from_str(&text).unwrap();
        let Some(body) = vector["served_response"]["body"].as_str() else {
            continue;
        };
        let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else {
            continue;
        };
        let Some(private_key) = body["PrivateKeyBody"].as_str() else {
            continue;
        };
        let pair = Pair {
            fingerprint: body["KeyPairFingerPrint"].as_str().map(str::to_owned),
            ..Pair::default()
        };
        found.push((pair, private_key.to_owned()));
    }
    found
}

fn armour(label: &str, content: &[u8], line_end: &str) -> String {
    let encoded = STANDARD.encode(content);
    let lines: Vec<_> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----{line_end}{}{line_end}-----END {label}-----{line_end}",
        lines.join(line_end)
    )
}

/// OpenSSH's file of a blob.
pub(crate) fn openssh_file(blob: &[u8], public: &[u8], cipher: &[u8]) -> Vec<u8> {
    let comment = encode(&[Field::String(b"comment")]);
    let mut private = [&[7; 8], blob, &comment].concat();
    let padding = private.len().next_multiple_of(8) - private.len();
    private.extend((1..).take(padding));
    let header = encode(&[Field::String(cipher), Field::String(b"none"), Field::String(b"")]);
    let body = encode(&[Field::String(public), Field::String(&private)]);
    [openssh::MAGIC, &header, &[0, 0, 0, 1], &body].concat()
}

#[track_caller]
fn check(text: &[u8], expected: &PrivateKey) {
    let parsed = PrivateKey::parse(text).unwrap();
    assert_eq!(parsed.public, expected.public);
    assert_eq!(parsed.blob, expected.blob);
}

#[track_caller]
fn refuse(text: &[u8], expected: PrivateKeyError) {
    assert_eq!(PrivateKey::parse(text).map(|_| ()), Err(expected));
}

#[test]
fn captured_answers_parse_and_fit_their_fingerprints() {
    let captured = captured_private_keys(&folder::named());
    let compared = captured
        .iter()
        .filter(|(pair, _)| pair.fingerprint.is_some())
        .count();
    assert!(
        compared >= 4 || !folder::are_our_own(),
        "only {compared} captured creates"
    );
    for (pair, text) in captured {
        let key = PrivateKey::parse(text.as_bytes()).unwrap();
        assert_eq!(key.public_key().algorithm(), Some(Algorithm::Rsa2048));
        // Not every vendor reports one.
        let expected = if pair.fingerprint.is_some() {
            Comparison::Match
        } else {
            Comparison::Unknown
        };
        let compared = compare(&pair, &[FingerprintForm::Md5], key.public_key(), Some(&key));
        assert_eq!(compared, expected, "{pair:?}");
    }
}

#[test]
fn every_way_of_writing_one_rsa_key_gives_that_key() {
    let der = captured_rsa();
    let key = PrivateKey::parse(&der).unwrap();
    let pkcs8 = {
        let algorithm = rsa::pkcs8::AlgorithmIdentifierRef {
            oid: rsa::pkcs8::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
            parameters: Some(rsa::pkcs8::der::asn1::AnyRef::NULL),
        };
        use rsa::pkcs8::der::Encode as _;
        rsa::pkcs8::PrivateKeyInfo::new(algorithm, &der).to_der().unwrap()
    };
    let file = openssh_file(&key.blob, key.public.blob(), b"none");
    for content in [&der, &pkcs8, &file] {
        check(armour("RSA PRIVATE KEY", content, "\n").as_bytes(), &key);
        check(armour("PRIVATE KEY", content, "\n").as_bytes(), &key);
        check(armour("OPENSSH PRIVATE KEY", content, "\r\n").as_bytes(), &key);
        check(armour("PRIVATE KEY", content, "\\n").as_bytes(), &key);
        check(armour("PRIVATE KEY", content, "\\\\r\\\\n").as_bytes(), &key);
        check(armour("PRIVATE KEY", content, " ").as_bytes(), &key);
        check(
            format!("\n  {}\n", armour("PRIVATE KEY", content, "\n\\n")).as_bytes(),
            &key,
        );
        check(
            format!("explanation: one\n{}after", armour("X", content, "\n")).as_bytes(),
            &key,
        );
        check(STANDARD.encode(content).as_bytes(), &key);
        check(STANDARD.encode(content).trim_end_matches('=').as_bytes(), &key);
        check(
            armour("", content, "\n")
                .replace("-----BEGIN -----", "")
                .replace("-----END -----", "")
                .as_bytes(),
            &key,
        );
    }
    check(&der, &key);
}

#[test]
fn a_made_key_has_the_agents_form_and_survives_openssh() {
    for algorithm in [
        Algorithm::Ed25519,
        Algorithm::EcdsaP256,
        Algorithm::EcdsaP384,
        Algorithm::EcdsaP521,
        Algorithm::Rsa2048,
    ] {
        let key = PrivateKey::generate(algorithm).unwrap();
        assert_eq!(key.public_key().algorithm(), Some(algorithm));
        let file = openssh_file(&key.blob, key.public.blob(), b"none");
        check(armour("OPENSSH PRIVATE KEY", &file, "\n").as_bytes(), &key);

        // A second opinion, which takes no scalar shorter than its field: one in 256.
        match ssh_key::PrivateKey::from_bytes(&file) {
            Ok(parsed) => {
                let public = parsed.public_key();
                assert_eq!(public.to_openssh().unwrap(), key.public_key().line("comment"));
                let fingerprint = public.fingerprint(ssh_key::HashAlg::Sha256).to_string();
                assert_eq!(fingerprint, key.public_key().fingerprint());
            }
            Err(_) => assert!(is_short_scalar(&key), "{algorithm}"),
        }
    }
}

#[test]
fn a_scalar_with_leading_zeros_is_read() {
    let key = std::iter::repeat_with(|| PrivateKey::generate(Algorithm::EcdsaP256).unwrap())
        .take(100_000)
        .find(is_short_scalar)
        .unwrap();
    check(&openssh_base64(&key), &key);
}

fn is_short_scalar(key: &PrivateKey) -> bool {
    let mut reader = Reader(&key.blob);
    let fields = [(); 4].map(|()| reader.string().unwrap_or_default());
    fields[0].starts_with(b"ecdsa") && fields[3].len() < fields[2].len() / 2
}

fn openssh_base64(key: &PrivateKey) -> Vec<u8> {
    STANDARD
        .encode(openssh_file(&key.blob, key.public.blob(), b"none"))
        .into_bytes()
}

#[test]
fn der_of_curves_is_read() {
    let random = SystemRandom::new();
    for (algorithm, signing) in [
        (Algorithm::EcdsaP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        (Algorithm::EcdsaP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        (Algorithm::EcdsaP521, &ECDSA_P521_SHA512_ASN1_SIGNING),
    ] {
        let der = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let key = PrivateKey::parse(armour("PRIVATE KEY", der.as_ref(), "\n").as_bytes()).unwrap();
        assert_eq!(key.public_key().algorithm(), Some(algorithm));
        let pair = EcdsaKeyPair::from_pkcs8(signing, der.as_ref()).unwrap();
        assert!(key.public_key().blob().ends_with(pair.public_key().as_ref()));
    }
    for der in [
        Ed25519KeyPair::generate_pkcs8(&random).unwrap(),
        Ed25519KeyPair::generate_pkcs8v1(&random).unwrap(),
    ] {
        let key = PrivateKey::parse(armour("PRIVATE KEY", der.as_ref(), "\n").as_bytes()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        assert!(key.public_key().blob().ends_with(pair.public_key().as_ref()));
    }
}

#[test]
fn encrypted_keys_are_refused_by_name() {
    let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let file = openssh_file(&key.blob, key.public.blob(), b"aes256-ctr");
    refuse(
        armour("OPENSSH PRIVATE KEY", &file, "\n").as_bytes(),
        PrivateKeyError::Encrypted("OpenSSH format"),
    );
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    refuse(
        pem.as_bytes(),
        PrivateKeyError::Encrypted("PEM with Proc-Type: 4,ENCRYPTED"),
    );
    // EncryptedPrivateKeyInfo: SEQUENCE { SEQUENCE { OID pbes2 }, OCTET STRING }.
    let der = [
        0x30, 0x10, 0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0d, 4, 1, 0,
    ];
    refuse(
        STANDARD.encode(der).as_bytes(),
        PrivateKeyError::Encrypted("PKCS#8"),
    );
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let [one, other] = [(); 2].map(|()| PrivateKey::generate(Algorithm::Ed25519).unwrap());
    let file = openssh_file(&one.blob, other.public.blob(), b"none");
    refuse(STANDARD.encode(file).as_bytes(), PrivateKeyError::Inconsistent);

    let [one, other] = [(); 2].map(|()| PrivateKey::generate(Algorithm::EcdsaP256).unwrap());
    let mut scalar = Reader(&other.blob);
    let scalar = [(); 4].map(|()| scalar.string().unwrap())[3];
    let mut fields = Reader(&one.blob);
    let [key_type, curve, point] = [(); 3].map(|()| fields.string().unwrap());
    let mixed = encode(&[key_type, curve, point, scalar].map(Field::String));
    let file = openssh_file(&mixed, one.public.blob(), b"none");
    refuse(STANDARD.encode(file).as_bytes(), PrivateKeyError::Inconsistent);
}

#[test]
fn unsound_rsa_numbers_are_refused() {
    let key = PrivateKey::parse(&captured_rsa()).unwrap();
    let mut reader = Reader(&key.blob);
    let fields: Vec<Vec<u8>> = std::iter::from_fn(|| reader.string().map(<[u8]>::to_vec)).collect();
    assert_eq!(fields.len(), 7);
    for changed in 1..7 {
        let mut fields = fields.clone();
        // Stays odd, and as long.
        let middle = fields[changed].len() / 2;
        fields[changed][middle] ^= 2;
        let blob = encode(
            &fields
                .iter()
                .map(|field| Field::String(field))
                .collect::<Vec<_>>(),
        );
        let file = openssh_file(&blob, key.public.blob(), b"none");
        let refused = PrivateKey::parse(STANDARD.encode(file).as_bytes());
        assert_eq!(
            refused.map(|_| ()),
            Err(PrivateKeyError::Inconsistent),
            "field {changed}"
        );
    }
}

#[test]
fn rsa_sizes_are_bounded() {
    let small = {
        use rsa::pkcs1::EncodeRsaPrivateKey as _;
        let key = rsa::RsaPrivateKey::from_p_q(
            rsa::BigUint::from(4_294_967_291u64),
            rsa::BigUint::from(4_294_967_279u64),
            rsa::BigUint::from(65_537u32),
        )
        .unwrap();
        key.to_pkcs1_der().unwrap()
    };
    refuse(
        STANDARD.encode(small.as_bytes()).as_bytes(),
        PrivateKeyError::RsaSize(64),
    );
}

#[test]
fn what_is_no_key_is_refused_in_words() {
    refuse(b"", PrivateKeyError::Empty);
    refuse(
        b"-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n",
        PrivateKeyError::Empty,
    );
    refuse(
        b"<html>not today</html>",
        PrivateKeyError::Malformed("it is not base64"),
    );
    refuse(
        b"AAAA",
        PrivateKeyError::Malformed("neither PKCS#1, PKCS#8, SEC 1 nor OpenSSH"),
    );
    refuse(&vec![b'A'; MAX_LENGTH + 1], PrivateKeyError::TooLong);
}

#[test]
fn nothing_secret_is_shown() {
    let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("PrivateKey({})", key.public_key().fingerprint()));
}

proptest! {
    #[test]
    fn no_octets_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PrivateKey::parse(&text);
    }

    #[test]
    fn no_damage_panics(position in 0usize..2000, octet in any::<u8>(), cut in 0usize..2000) {
        let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        let mut file = openssh_file(&key.blob, key.public.blob(), b"none");
        let length = file.len();
        file[position % length] = octet;
        file.truncate(length - cut % 50);
        let _ = PrivateKey::parse(STANDARD.encode(&file).as_bytes());
        let mut der = captured_rsa();
        let length = der.len();
        der[position % length] = octet;
        let _ = PrivateKey::parse(&der);
    }
}
