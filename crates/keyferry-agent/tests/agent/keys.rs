//! Which private keys are taken, and that each of them signs.

use crate::harness::*;
use crate::wire::unhex;
use keyferry_agent::{KeyError, SigningKey};
use std::process::Command;
use std::time::Instant;

const KINDS: &[(&str, u32, &str)] = &[
    ("ed25519", 256, "ssh-ed25519"),
    ("ecdsa", 256, "ecdsa-sha2-nistp256"),
    ("ecdsa", 384, "ecdsa-sha2-nistp384"),
    ("ecdsa", 521, "ecdsa-sha2-nistp521"),
    ("rsa", 2048, "ssh-rsa"),
    ("rsa", 3072, "ssh-rsa"),
];

#[track_caller]
fn refused(fields: &[Vec<u8>], expected: KeyError) {
    assert_eq!(
        SigningKey::from_private_blob(&private_of(fields)).unwrap_err(),
        expected
    );
}

#[test]
fn every_type_signs_and_is_described_as_ssh_keygen_does() {
    let running = Running::start();
    let mut client = running.connect();
    for &(kind, bits, algorithm) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let file = keygen(folder.path(), kind, bits);
        let key = TestKey::read(&file);
        let parsed = SigningKey::from_private_blob(&key.private).unwrap();
        assert_eq!(parsed.public_blob(), key.public);
        assert_eq!(parsed.algorithm(), algorithm);
        let printed = run(Command::new("ssh-keygen").arg("-lf").arg(&file), "");
        assert!(
            String::from_utf8(printed.stdout)
                .unwrap()
                .contains(&parsed.fingerprint())
        );

        assert_eq!(client.ask(&add(&key.private, b"")), SUCCESS);
        if algorithm == "ssh-rsa" {
            let by_flags = |flags, client: &mut Client| {
                verified(
                    &key.public,
                    b"data",
                    &client.ask(&sign(&key.public, b"data", flags)),
                )
            };
            assert_eq!(by_flags(2, &mut client), "rsa-sha2-256");
            assert_eq!(by_flags(4, &mut client), "rsa-sha2-512");
            assert_eq!(
                client.ask(&sign(&key.public, b"data", 0)),
                FAILURE,
                "that would be SHA-1"
            );
        } else {
            // Often enough to meet numbers with a high bit set and with leading zeros.
            for round in 0..40_u8 {
                let reply = client.ask(&sign(&key.public, &[round; 33], 0));
                assert_eq!(verified(&key.public, &[round; 33], &reply), algorithm);
            }
        }
    }
}

/// RFC 6979 section A.2.7: the private key on P-521 and the public one that belongs to it.
#[test]
fn the_known_key_on_p521_gives_the_known_point_and_verifies() {
    let x = "0fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa896eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538";
    let ux = "1894550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd371123d46e45db6b5d5370a7f20fb633155d38ffa16d2bd761dcac474b9a2f5023a4";
    let uy = "0493101c962cd4d2fddf782285e64584139c2f91b47f87ff82354d6630f746a28a0db25741b5b34a828008b22acc23f924faafbd4d33f81ea66956dfeaa2bfdfcf5";
    let padded = |digits: &str| unhex(&format!("{digits:0>132}"));
    let name = b"ecdsa-sha2-nistp521".to_vec();
    let point = [&[4][..], &padded(ux), &padded(uy)].concat();
    let fields = vec![name, b"nistp521".to_vec(), point, padded(x)];
    let key = TestKey {
        public: private_of(&fields[..3]),
        private: private_of(&fields),
    };
    let running = Running::start();
    let mut client = running.connect();
    assert_eq!(client.ask(&add(&key.private, b"")), SUCCESS);
    for message in ["sample", "test"] {
        let request = sign(&key.public, message.as_bytes(), 0);
        let (first, second) = (client.ask(&request), client.ask(&request));
        verified(&key.public, message.as_bytes(), &first);
        verified(&key.public, message.as_bytes(), &second);
    }
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    for &(kind, bits, _) in KINDS {
        let mine = TestKey::generate(kind, bits).fields();
        let theirs = TestKey::generate(kind, bits).fields();
        let mut mixed = mine.clone();
        match kind {
            "ed25519" => {
                mixed[1] = theirs[1].clone();
                refused(&mixed, KeyError::Mismatch);
                // The public half is right in both places, the seed is another.
                mixed = mine.clone();
                mixed[2] = [&theirs[2][..32], &mine[2][32..]].concat();
                refused(&mixed, KeyError::Mismatch);
            }
            "ecdsa" => {
                mixed[2] = theirs[2].clone();
                refused(&mixed, KeyError::Mismatch);
            }
            _ => {
                for field in [1, 3, 4, 5, 6] {
                    let mut mixed = mine.clone();
                    mixed[field] = theirs[field].clone();
                    refused(&mixed, KeyError::RsaParameters);
                }
                mixed[1] = theirs[1].clone();
            }
        }
        let running = Running::start();
        let message = add(&private_of(&mixed), b"");
        assert_eq!(running.connect().ask(&message), FAILURE, "{kind} over the socket");
    }
}

#[test]
fn malformed_keys_are_refused() {
    let ed25519 = TestKey::ed25519(1).fields();
    let with = |fields: &[Vec<u8>], place: usize, value: &[u8]| {
        let mut fields = fields.to_vec();
        fields[place] = value.to_vec();
        fields
    };
    refused(&with(&ed25519, 1, &[1; 31]), KeyError::Malformed);
    refused(&with(&ed25519, 2, &[1; 63]), KeyError::Malformed);
    refused(&with(&ed25519, 0, b"ssh-dss"), KeyError::UnknownType);
    refused(&ed25519[..2], KeyError::Malformed);
    refused(&[&ed25519[..], &[vec![]]].concat(), KeyError::Malformed);
    refused(&[], KeyError::Malformed);

    let ecdsa = TestKey::generate("ecdsa", 256).fields();
    refused(&with(&ecdsa, 1, b"nistp384"), KeyError::Malformed);
    refused(&with(&ecdsa, 3, &[1; 33]), KeyError::Malformed);
    refused(&with(&ecdsa, 3, &[0x80; 32]), KeyError::Malformed);
    refused(&with(&ecdsa, 3, &[]), KeyError::Mismatch);
    refused(&with(&ecdsa, 3, &[1]), KeyError::Mismatch);
    let order = unhex("00 ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    refused(&with(&ecdsa, 3, &order), KeyError::Mismatch);
    let mut point = ecdsa[2].clone();
    *point.last_mut().unwrap() ^= 1;
    refused(&with(&ecdsa, 2, &point), KeyError::Mismatch);
    refused(&with(&ecdsa, 2, &[2; 33]), KeyError::Malformed);
    refused(&with(&ecdsa, 2, &[0]), KeyError::Malformed);
    refused(&with(&ecdsa, 2, &[]), KeyError::Malformed);
}

#[test]
fn unsound_rsa_numbers_are_refused() {
    let key = TestKey::generate("rsa", 2048).fields();
    let with = |place: usize, value: &[u8]| {
        let mut fields = key.clone();
        fields[place] = value.to_vec();
        fields
    };
    for exponent in [&[][..], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        refused(&with(2, exponent), KeyError::RsaExponent);
    }
    refused(&with(2, &[3]), KeyError::RsaParameters);
    refused(&with(3, &[]), KeyError::RsaParameters);
    refused(&with(4, &[1]), KeyError::RsaParameters);
    for factor in [&[][..], &[1], &[0x7f; 128], &[0x7e; 128], &key[1]] {
        refused(&with(5, factor), KeyError::RsaParameters);
        refused(&with(6, factor), KeyError::RsaParameters);
    }
    refused(&with(6, &key[5]), KeyError::RsaParameters);
    let swapped: Vec<_> = [0, 1, 2, 3, 4, 6, 5]
        .iter()
        .map(|&place| key[place].clone())
        .collect();
    refused(&swapped, KeyError::RsaParameters);
    refused(
        &with(1, &key[1][1..].iter().map(|byte| byte | 0x80).collect::<Vec<_>>()),
        KeyError::Malformed,
    );

    // Made for this test: consistent in every relation that involves no primality. One has a factor that is
    // itself the product of two primes of 512 bits, the other a prime factor of 64 bits.
    for text in [
        include_str!("rsa/composite_factor.hex"),
        include_str!("rsa/short_factor.hex"),
    ] {
        let blob = unhex(text);
        assert_eq!(
            SigningKey::from_private_blob(&blob).unwrap_err(),
            KeyError::RsaParameters
        );
    }
}

#[test]
fn the_length_of_an_rsa_key_is_bounded_before_anything_is_computed() {
    refused(
        &TestKey::generate("rsa", 1024).fields(),
        KeyError::RsaModulus { bits: 1024 },
    );
    let key = TestKey::generate("rsa", 2048).fields();
    let running = Running::start();
    let mut client = running.connect();
    for length in [1025, 200_000] {
        let mut fields = key.clone();
        fields[1] = vec![0x7f; length];
        refused(&fields, KeyError::RsaModulus { bits: 8 * length - 1 });
        let start = Instant::now();
        assert_eq!(client.ask(&add(&private_of(&fields), b"")), FAILURE);
        assert!(start.elapsed() < DEADLINE / 4, "took {:?}", start.elapsed());
    }
    for place in 3..7 {
        let mut fields = key.clone();
        fields[place] = vec![0x7f; 200_000];
        refused(&fields, KeyError::RsaParameters);
    }
}

#[test]
fn neither_debug_nor_an_error_shows_the_secret() {
    let key = TestKey::generate("rsa", 2048);
    let parsed = SigningKey::from_private_blob(&key.private).unwrap();
    let shown = format!("{parsed:?}");
    assert_eq!(
        shown,
        format!(
            "SigningKey {{ algorithm: \"ssh-rsa\", fingerprint: {:?}, .. }}",
            parsed.fingerprint()
        )
    );
    // A blob of another form begins with the secret where the type's name should be.
    let error = SigningKey::from_private_blob(&string(b"hunter2")).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}
