use super::*;
use crate::binding::Bindings;
use crate::key::PublicKey;
use crate::wire::put_string;
use proptest::prelude::*;

#[test]
fn constraints_that_are_not_enforced_are_refused() {
    let key = {
        let mut key = Vec::new();
        put_string(&mut key, b"ssh-ed25519");
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref();
        put_string(&mut key, public);
        put_string(&mut key, &[&[7; 32], public].concat());
        put_string(&mut key, b"comment");
        key
    };
    let with = |constraints: &[u8]| Addition::parse(&[&key[..], constraints].concat(), true);

    assert_eq!(with(&[]).unwrap().lifetime, None);
    assert_eq!(
        with(&[1, 0, 0, 1, 0]).unwrap().lifetime,
        Some(Duration::from_secs(256))
    );
    assert!(matches!(
        with(&[1, 0, 0, 1, 0, 1, 0, 0, 1, 0]),
        Err(Refusal::Constraint(1))
    ));
    assert!(matches!(with(&[2]), Err(Refusal::Constraint(2))));
    assert!(matches!(with(&[3, 0, 0, 0, 1]), Err(Refusal::Constraint(3))));
    assert!(matches!(
        with(&[255, 0, 0, 0, 1, b'x']),
        Err(Refusal::Constraint(255))
    ));
    assert!(matches!(with(&[1, 0, 0, 1]), Err(Refusal::Malformed(_))));
    assert!(
        matches!(
            Addition::parse(&[&key[..], &[1, 0, 0, 1, 0]].concat(), false),
            Err(Refusal::Malformed(_))
        ),
        "constraints after an unconstrained add"
    );
}

#[test]
fn sign_flags_are_known_or_refused() {
    assert_eq!(SignFlags::parse(0).unwrap(), SignFlags::None);
    assert_eq!(SignFlags::parse(2).unwrap(), SignFlags::RsaSha256);
    assert_eq!(SignFlags::parse(4).unwrap(), SignFlags::RsaSha512);
    assert_eq!(SignFlags::parse(6).unwrap(), SignFlags::RsaSha256);
    for flags in [1, 8, 0x8000_0002] {
        assert!(
            matches!(SignFlags::parse(flags), Err(Refusal::UnknownFlags(_))),
            "{flags}"
        );
    }
}

/// Byte strings that look like messages: a plausible number, then strings of plausible lengths, then
/// anything.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        &b"ssh-ed25519"[..],
        b"ssh-rsa",
        b"ecdsa-sha2-nistp256",
        b"ecdsa-sha2-nistp521",
        b"nistp256",
        b"nistp521",
    ]);
    let string = prop_oneof![
        names.prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..300)
    ];
    let strings = prop::collection::vec(string, 0..8);
    (0..30_u8, strings, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(number, strings, rest)| {
        let mut message = vec![number];
        for string in strings {
            put_string(&mut message, &string);
        }
        message.extend(rest);
        message
    })
}

proptest! {
    #[test]
    fn parsing_never_panics(message in prop_oneof![message(), prop::collection::vec(any::<u8>(), 0..2000)]) {
        if let Ok(Request::AddIdentity { body, constrained }) = Request::parse(&message) {
            let _ = Addition::parse(body, constrained);
        }
        let _ = SigningKey::from_private_blob(&message);
        let _ = PublicKey::parse(&message);
        let _ = Bindings::default().bind(&message);
    }
}
