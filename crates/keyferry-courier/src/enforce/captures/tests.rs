use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

/// The first bytes of keys, made of the formats' own headers and no key.
fn pkcs1() -> Vec<u8> {
    [
        &[0x30, 0x82, 0x02, 0x5c, 0x02, 0x01, 0x00, 0x02, 0x81, 0x81, 0x00][..],
        &[0xa5; 600],
    ]
    .concat()
}

fn pkcs8_ed25519() -> Vec<u8> {
    [
        &[
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ][..],
        &[7; 32],
    ]
    .concat()
}

fn sec1() -> Vec<u8> {
    [&[0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20][..], &[7; 112]].concat()
}

fn openssh() -> Vec<u8> {
    [OPENSSH, &[0, 0, 0, 4], b"none", &[7; 100]].concat()
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let lines: Vec<String> = STANDARD
        .encode(bytes)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn capture(name: &str, place: Place) -> Capture {
    Capture {
        name: name.to_owned(),
        place,
    }
}

fn pointer(text: &str) -> Place {
    Place::JsonPointer(text.to_owned())
}

fn judge(captures: &[Capture], kind: OperationKind) -> Result<(), Refusal> {
    let field = |class| CredentialField {
        class,
        optional: false,
        places: Vec::new(),
    };
    let credentials = BTreeMap::from([
        ("user".to_owned(), field(FieldClass::Public)),
        ("secret_key".to_owned(), field(FieldClass::HmacKey)),
        ("token".to_owned(), field(FieldClass::Bearer)),
    ]);
    check(captures, kind, &credentials)
}

#[test]
fn create_alone_captures_one_private_key() {
    let captures = [capture("private_key", pointer("/PrivateKeyBody"))];
    judge(&captures, OperationKind::Create).unwrap();
    judge(&[], OperationKind::List).unwrap();
    for kind in OperationKind::ALL
        .into_iter()
        .filter(|&kind| kind != OperationKind::Create)
    {
        let refusal = judge(&captures, kind).unwrap_err();
        assert_eq!(refusal.rule, Rule::Capture);
        assert_eq!(
            refusal.message,
            format!("wanted to capture a private key during {kind}, which create alone may")
        );
    }
    let twice = [captures[0].clone(), capture("private_key", pointer("/Other"))];
    assert_eq!(
        judge(&twice, OperationKind::Create).unwrap_err().rule,
        Rule::Capture
    );
    let many = vec![captures[0].clone(); 5];
    assert_eq!(judge(&many, OperationKind::Create).unwrap_err().rule, Rule::Limit);
}

#[test]
fn credentials_alone_capture_secret_fields() {
    let token = || capture("token", Place::Header("x-subject-token".to_owned()));
    let key = || capture("secret_key", Place::XmlPath("A/B".to_owned()));
    judge(&[token(), key()], OperationKind::Credentials).unwrap();
    for (captures, kind, expected) in [
        (
            vec![token()],
            OperationKind::List,
            "`token` during list, which credentials alone may",
        ),
        (
            vec![token()],
            OperationKind::Create,
            "`token` during create, which credentials alone may",
        ),
        (
            vec![capture("user", pointer("/User"))],
            OperationKind::Credentials,
            "`user`, which is a public field",
        ),
        (
            vec![capture("other", pointer("/Other"))],
            OperationKind::Credentials,
            "`other`, which is not one of its credential fields",
        ),
        (
            vec![token(), token()],
            OperationKind::Credentials,
            "`token` twice",
        ),
    ] {
        let refusal = judge(&captures, kind).unwrap_err();
        assert_eq!(refusal.rule, Rule::Capture);
        assert_eq!(refusal.message, format!("wanted to capture {expected}"));
    }
}

#[test]
fn places_are_well_formed() {
    for place in [
        pointer("Token"),
        pointer(""),
        Place::XmlPath(String::new()),
        Place::XmlPath("/A".to_owned()),
        Place::XmlPath("A//B".to_owned()),
        Place::Header("X-Token".to_owned()),
        Place::Header(String::new()),
    ] {
        let refusal = judge(&[capture("token", place)], OperationKind::Credentials).unwrap_err();
        assert!(
            refusal.message.starts_with("wanted to capture at what is not a"),
            "{}",
            refusal.message
        );
    }
}

#[track_caller]
fn found(text: impl AsRef<[u8]>) {
    assert!(
        holds_private_key(text.as_ref()),
        "{}",
        String::from_utf8_lossy(text.as_ref())
    );
}

#[test]
fn a_private_key_is_found_in_every_dress() {
    for (label, bytes) in [
        ("RSA PRIVATE KEY", pkcs1()),
        ("PRIVATE KEY", pkcs8_ed25519()),
        ("EC PRIVATE KEY", sec1()),
        ("OPENSSH PRIVATE KEY", openssh()),
    ] {
        let armoured = pem(label, &bytes);
        let json = serde_json::to_string(&armoured).unwrap();
        found(&armoured);
        found(armoured.to_lowercase());
        found(armoured.replace(' ', "\\u0020"));
        found(armoured.replace(' ', "%20"));
        found(format!("{{\"Body\":{json}}}"));
        found(serde_json::to_string(&json).unwrap());
        found(serde_json::to_string(&serde_json::to_string(&json).unwrap()).unwrap());
        found(
            armoured
                .replace('\n', "&#xA;")
                .replace('-', "&#45;")
                .replace(' ', "&#x20;"),
        );
        found(format!("<Body><![CDATA[{armoured}]]></Body>"));
        let wide: Vec<u8> = armoured.encode_utf16().flat_map(u16::to_be_bytes).collect();
        found([b"\xfe\xff".as_slice(), &wide].concat());
        found(STANDARD.encode(&armoured));
        for bare in [
            STANDARD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
            format!("x{}", STANDARD.encode(&bytes)),
        ] {
            found(format!("{{\"Body\":\"{bare}\"}}"));
            found(bare.replace('/', "\\/").replace('+', "\\u002b"));
            found(bare.replace('/', "%2F").replace('+', "%2B"));
        }
        found(STANDARD.encode([b"padding".as_slice(), &bytes].concat()));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        found(format!("\"{hex}\""));
        found(format!("a{}", hex.to_uppercase()));
        found(&bytes);
    }
    found("PuTTY-User-Key-File-3: ssh-ed25519");
}

#[test]
fn what_is_public_is_not_taken_for_private() {
    let spki = [&[0x30, 0x59, 0x30, 0x13, 0x06, 0x07][..], &[0xa5; 85]].concat();
    let rsa_public = [
        &[0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00][..],
        &[0xa5; 257],
    ]
    .concat();
    for text in [
        pem("PUBLIC KEY", &spki),
        pem("RSA PUBLIC KEY", &rsa_public),
        pem(
            "CERTIFICATE",
            &[0x30, 0x82, 0x03, 0x00, 0x30, 0x82, 0x02, 0x00, 0xa0],
        ),
        format!(
            "ssh-rsa {}",
            STANDARD.encode([&[0, 0, 0, 7][..], b"ssh-rsa", &[0xa5; 270]].concat())
        ),
        "{\"PrivateKeyBody\":\"<private_key>\"}".to_owned(),
        "the private key is shown only once; begin again".to_owned(),
        "{\"KeyPairFingerPrint\":\"7880c1ad4687fdbf7a6da2131abcdef0\"}".to_owned(),
        String::new(),
    ] {
        assert!(!holds_private_key(text.as_bytes()), "{text}");
    }
}
