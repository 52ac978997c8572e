//! Messages byte for byte (RFC 9987 section 5).

use crate::harness::*;

/// RFC 8032 section 7.1, test 1, whose message is empty.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn known_key() -> TestKey {
    let key = TestKey::ed25519_of(unhex(SEED).try_into().unwrap());
    assert_eq!(key.public[19..], unhex(PUBLIC));
    key
}

#[test]
fn every_reply_is_the_bytes_of_the_standard() {
    let running = Running::start();
    let key = known_key();
    let mut client = running.connect();
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert_eq!(client.ask(&add(&key.private, b"me@here")), SUCCESS);

    let listed = unhex(&format!(
        "0c 00000001 00000033 0000000b 7373682d65643235353139 00000020 {PUBLIC} 00000007 6d654068657265"
    ));
    assert_eq!(client.ask(LIST), listed);

    let signed = unhex(&format!(
        "0e 00000053 0000000b 7373682d65643235353139 00000040 {SIGNATURE}"
    ));
    assert_eq!(client.ask(&sign(&key.public, b"", 0)), signed);

    assert_eq!(client.ask(&remove(&key.public)), SUCCESS);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert_eq!(client.ask(&remove(&key.public)), FAILURE);
    assert_eq!(client.ask(&sign(&key.public, b"", 0)), FAILURE);
}

#[test]
fn what_is_not_understood_is_refused_and_the_connection_lives() {
    let running = Running::start();
    let key = known_key();
    let mut client = running.connect();
    assert_eq!(client.ask(&add(&key.private, b"")), SUCCESS);
    let other = TestKey::ed25519(3);
    let cases: &[(&str, Vec<u8>)] = &[
        ("an empty message", vec![]),
        ("the first protocol's list", vec![1]),
        ("an unknown number", vec![200, 1, 2, 3]),
        ("a reply", vec![12, 0, 0, 0, 0]),
        ("a list with more behind it", vec![11, 0]),
        (
            "a key on a token",
            [&[20][..], &string(b"/usr/lib/x.so"), &string(b"pin")].concat(),
        ),
        ("an extension", [&[27][..], &string(b"query")].concat()),
        ("a sign request cut short", vec![13, 0, 0]),
        (
            "a sign request without flags",
            sign(&key.public, b"x", 0)[..60].to_vec(),
        ),
        (
            "a sign request with more behind it",
            [&sign(&key.public, b"x", 0)[..], &[0]].concat(),
        ),
        ("unknown sign flags", sign(&key.public, b"x", 8)),
        ("an unknown key", sign(&other.public, b"x", 0)),
        (
            "an unknown key type",
            [
                &[17][..],
                &string(b"ssh-unheard-of"),
                &string(b"abc"),
                &string(b""),
            ]
            .concat(),
        ),
        (
            "a type on a security key",
            [&[17][..], &string(b"sk-ssh-ed25519@openssh.com"), &string(b"abc")].concat(),
        ),
        ("an add cut short", add(&other.private, b"")[..90].to_vec()),
        (
            "an add with more behind it",
            [&add(&other.private, b"")[..], &[1, 0, 0, 0, 9]].concat(),
        ),
        ("a comment with a NUL", add(&other.private, b"a\0b")),
        ("confirmation", add_constrained(&other.private, b"", &[2])),
        (
            "the lost constraint 3",
            add_constrained(&other.private, b"", &[3, 0, 0, 0, 1]),
        ),
        (
            "a named constraint",
            add_constrained(
                &other.private,
                b"",
                &[&[255][..], &string(b"x@y"), &string(b"")].concat(),
            ),
        ),
        (
            "a lifetime, then something else",
            add_constrained(&other.private, b"", &[1, 0, 0, 0, 9, 4]),
        ),
        (
            "a lifetime twice",
            add_constrained(&other.private, b"", &[1, 0, 0, 0, 9, 1, 0, 0, 0, 9]),
        ),
        (
            "an unlock of what is not locked",
            [&[23][..], &string(b"")].concat(),
        ),
    ];
    for (name, message) in cases {
        assert_eq!(client.ask(message), FAILURE, "{name}");
        assert_eq!(client.list().len(), 1, "after {name}");
    }
    // `ssh-add -D` sends this after the modern one.
    assert_eq!(client.ask(&[9]), SUCCESS);
    assert_eq!(client.list().len(), 1);
    assert_eq!(client.ask(REMOVE_ALL), SUCCESS);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
}

#[test]
fn a_frame_may_be_256_kib_long_and_not_a_byte_longer() {
    const MAX: usize = 256 * 1024;
    let running = Running::start();
    let key = known_key();
    let mut client = running.connect();
    assert_eq!(client.ask(&add(&key.private, b"")), SUCCESS);
    let overhead = sign(&key.public, b"", 0).len();
    let data = vec![7; MAX - overhead];
    let request = sign(&key.public, &data, 0);
    assert_eq!(request.len(), MAX);
    verified(&key.public, &data, &client.ask(&request));

    client.send_bytes(&(MAX as u32 + 1).to_be_bytes());
    assert!(client.is_closed());
    let mut client = running.connect();
    client.send_bytes(&[0xff; 4]);
    assert!(client.is_closed());
    assert_eq!(running.connect().list().len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let running = Running::start();
    let (quick, slow) = (known_key(), TestKey::generate("rsa", 2048));
    let mut client = running.connect();
    let constrained = add_constrained(&quick.private, b"", &[1, 0, 0, 0, 99]);
    client.send_bytes(&[frame(&constrained), frame(LIST), frame(&add(&slow.private, b""))].concat());
    assert_eq!(client.read().unwrap(), SUCCESS);
    assert_eq!(client.read().unwrap()[..5], [12, 0, 0, 0, 1]);
    assert_eq!(client.read().unwrap(), SUCCESS);

    let data = |number: usize| number.to_be_bytes();
    let requests: Vec<u8> = (0..200)
        .flat_map(|number| {
            let (key, flags) = if number % 3 == 0 { (&slow, 4) } else { (&quick, 0) };
            frame(&sign(&key.public, &data(number), flags))
        })
        .collect();
    client.send_bytes(&requests);
    for number in 0..200 {
        let key = if number % 3 == 0 { &slow } else { &quick };
        verified(&key.public, &data(number), &client.read().unwrap());
    }
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let running = Running::start();
    let key = known_key();
    let mut client = running.connect();
    for byte in [frame(&add(&key.private, b"")), frame(LIST)].concat() {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.read().unwrap(), SUCCESS);
    assert_eq!(client.read().unwrap()[..5], [12, 0, 0, 0, 1]);
}

#[test]
fn adding_again_changes_comment_and_lifetime_and_keeps_the_place() {
    let running = Running::start();
    let (first, second) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let mut client = running.connect();
    for (key, comment) in [(&first, &b"one"[..]), (&second, b"two"), (&first, b"uno")] {
        assert_eq!(client.ask(&add(&key.private, comment)), SUCCESS);
    }
    let listed = client.list();
    assert_eq!(
        listed,
        [
            (first.public.clone(), b"uno".to_vec()),
            (second.public.clone(), b"two".to_vec())
        ]
    );

    assert_eq!(
        client.ask(&add_constrained(&first.private, b"", &[1, 0, 0, 0, 0])),
        SUCCESS
    );
    assert_eq!(
        client.ask(&sign(&first.public, b"", 0)),
        FAILURE,
        "its time is over at once"
    );
    assert_eq!(client.list().len(), 1);
}

#[test]
fn a_list_is_never_longer_than_clients_take() {
    let running = Running::start();
    let mut client = running.connect();
    let comment = vec![b'c'; 100 * 1024];
    assert_eq!(client.ask(&add(&TestKey::ed25519(1).private, &comment)), SUCCESS);
    assert_eq!(client.ask(&add(&TestKey::ed25519(2).private, &comment)), SUCCESS);
    assert_eq!(client.ask(&add(&TestKey::ed25519(3).private, &comment)), FAILURE);
    assert_eq!(client.ask(&add(&TestKey::ed25519(3).private, b"short")), SUCCESS);
    assert_eq!(client.list().len(), 3);
}
