//! `session-bind@openssh.com`, byte by byte.

use crate::harness::*;
use crate::session::*;
use keyferry_agent::Offer;

const SESSION: &[u8] = &[7; 32];

#[test]
fn every_type_of_host_key_binds_by_its_own_signature_alone() {
    let running = Running::start();
    let key = TestKey::ed25519(1);
    let another = TestKey::ed25519(9);
    for (kind, bits, flags) in [
        ("ed25519", 256, &[0_u32][..]),
        ("ecdsa", 256, &[0]),
        ("ecdsa", 384, &[0]),
        ("ecdsa", 521, &[0]),
        ("rsa", 2048, &[2, 4]),
    ] {
        let host = TestKey::generate(kind, bits);
        running.load_generation("web", 1, &key, Offer::To(vec![host.public.clone()]));
        for &flags in flags {
            let good = signature(&host, SESSION, flags);
            let mut bad = good.clone();
            *bad.last_mut().unwrap() ^= 1;
            let mut cut = good.clone();
            cut.pop();
            let refused = [
                ("another session", bind(&host.public, &[8; 32], &good, false)),
                ("another host", bind(&another.public, SESSION, &good, false)),
                (
                    "another's signature",
                    bind(&host.public, SESSION, &signature(&another, SESSION, 0), false),
                ),
                ("a bit flipped", bind(&host.public, SESSION, &bad, false)),
                ("a byte less", bind(&host.public, SESSION, &cut, false)),
                ("no signature", bind(&host.public, SESSION, b"", false)),
            ];
            let mut client = running.connect();
            for (name, message) in refused {
                assert_eq!(client.ask(&message), FAILURE, "{kind}-{bits}: {name}");
                assert_eq!(client.ask(LIST), EMPTY_LIST);
                client.refuses(&key);
            }
            assert_eq!(client.ask(&bind(&host.public, SESSION, &good, false)), SUCCESS);
            assert_eq!(client.list().len(), 1, "{kind}-{bits}");
            client.signs(&key);
        }
    }
}

#[test]
fn what_is_no_binding_is_refused_and_the_connection_lives() {
    let running = Running::start();
    let host = TestKey::ed25519(1);
    let good = bind_to(&host, SESSION, false);
    let mut client = running.connect();
    let long = [7; 129];
    let mut sha1 = string(b"ssh-rsa");
    sha1.extend(string(&[1; 256]));
    let rsa = TestKey::generate("rsa", 2048);
    let refused = [
        ("nothing", vec![27]),
        ("another extension", [&[27][..], &string(b"query")].concat()),
        ("one cut short", good[..good.len() - 1].to_vec()),
        ("one with more behind it", [&good[..], &[0]].concat()),
        (
            "no host key",
            bind(b"", SESSION, &signature(&host, SESSION, 0), false),
        ),
        ("a session id that is too long", bind_to(&host, &long, false)),
        ("a signature over SHA-1", bind(&rsa.public, SESSION, &sha1, false)),
        (
            "a host key on a token",
            bind(&string(b"sk-ssh-ed25519@openssh.com"), SESSION, b"", false),
        ),
        (
            "a host key that is too long",
            bind(&vec![0; 100_000], SESSION, b"", false),
        ),
    ];
    for (name, message) in refused {
        assert_eq!(client.ask(&message), FAILURE, "{name}");
    }
    assert_eq!(client.ask(&good), SUCCESS);
}

#[test]
fn a_connection_is_bound_as_ssh_agent_has_it() {
    let running = Running::start();
    let (first, second) = (TestKey::ed25519(1), TestKey::ed25519(2));

    let mut client = running.connect();
    assert_eq!(client.ask(&bind_to(&first, &[1], true)), SUCCESS);
    assert_eq!(
        client.ask(&bind_to(&first, &[1], true)),
        SUCCESS,
        "the same once more"
    );
    assert_eq!(
        client.ask(&bind_to(&second, &[1], true)),
        FAILURE,
        "the same session, another host"
    );
    assert_eq!(client.ask(&bind_to(&second, &[2], false)), SUCCESS);
    assert_eq!(
        client.ask(&bind_to(&first, &[3], true)),
        FAILURE,
        "it is bound for a login"
    );

    let mut client = running.connect().bound(&first, &[1]);
    for is_forwarding in [false, true] {
        assert_eq!(client.ask(&bind_to(&first, &[1], is_forwarding)), FAILURE);
        assert_eq!(client.ask(&bind_to(&first, &[2], is_forwarding)), FAILURE);
    }

    let mut client = running.connect();
    for session in 0..16 {
        assert_eq!(
            client.ask(&bind_to(&first, &[session], true)),
            SUCCESS,
            "{session}"
        );
    }
    assert_eq!(client.ask(&bind_to(&first, &[16], true)), FAILURE);
    assert_eq!(client.ask(&bind_to(&first, &[15], true)), SUCCESS, "it is known");
}
