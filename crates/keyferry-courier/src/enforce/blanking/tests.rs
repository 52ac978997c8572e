use keyferry_plugin::contract::ErrorKind;

use super::*;
use crate::recipe::Field;
use crate::secret::Secret;

const KEY: &str = "wJalr/XUtn+FEMI=\"bPx";
const TOKEN: &str = "CAIS/token+with==";

fn blanker() -> Blanker {
    let field = |class, value| Field {
        of: None,
        class,
        value: Secret::from_text(value),
    };
    Blanker::new(&Fields::from([
        (
            "access_key_id".to_owned(),
            field(FieldClass::Public, "AKIDEXAMPLE"),
        ),
        ("access_key_secret".to_owned(), field(FieldClass::HmacKey, KEY)),
        ("security_token".to_owned(), field(FieldClass::Bearer, TOKEN)),
    ]))
}

fn percented(text: &str) -> String {
    let mut out = WipedBuffer::default();
    percent(text.as_bytes(), &mut out);
    String::from_utf8(out.into_bytes().to_vec()).unwrap()
}

fn hex(text: &[u8]) -> String {
    text.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_form_of_a_secret_is_blanked() {
    let blanker = blanker();
    for (secret, blank) in [(KEY, "<access_key_secret>"), (TOKEN, "<security_token>")] {
        let json = serde_json::to_string(secret).unwrap();
        for form in [
            secret.to_owned(),
            json[1..json.len() - 1].to_owned(),
            json[1..json.len() - 1].replace('/', "\\/"),
            percented(secret),
            percented(&percented(secret)),
            percented(&percented(&percented(secret))),
            percented(secret)
                .replace("%2F", "%2f")
                .replace("%2B", "%2b")
                .replace("%3D", "%3d"),
            hex(secret.as_bytes()),
            hex(secret.as_bytes()).to_uppercase(),
            STANDARD.encode(secret),
            STANDARD.encode(secret).replace('/', "\\/"),
            URL_SAFE_NO_PAD.encode(secret),
            percented(&STANDARD.encode(secret)),
        ] {
            let said = blanker.blank_text(&format!("before {form} after"));
            assert!(said.starts_with(&format!("before {blank}")), "{form}: {said}");
            assert!(said.ends_with(" after"), "{form}: {said}");
        }
    }
}

#[test]
fn escapes_of_json_are_seen_through() {
    let blanker = blanker();
    for form in [
        r"CAIS/token+with\u003d\u003d",
        r"CAIS\/token\u002Bwith\u003D=",
        r"\u0043\u0041IS\u002ftoken+with==",
        r"CAIS\\\/token+with\\u003d\\u003d",
    ] {
        assert_eq!(
            blanker.blank_text(&format!("before {form}\\n after\\\\")),
            "before <security_token>\\n after\\\\",
            "{form}"
        );
    }
    for form in [
        "CAIS&#x2F;token&#43;with&#61;&#x3D;",
        "&#67;&#x00041;IS/token+with==",
    ] {
        assert_eq!(blanker.blank_text(form), "<security_token>", "{form}");
    }
    let quoted = KEY.replace('"', "&quot;");
    assert_eq!(
        blanker.blank_xml(format!("<Key>{quoted}</Key>&amp;&lt;").as_bytes()),
        b"<Key>&lt;access_key_secret&gt;</Key>&amp;&lt;"
    );
    for other in [
        "CAIS&#x2F;token&#43;with&#61;&#x3E;",
        r"CAIS/token+with\u003d\u003",
        r"CAIS/token+with\u003d\u013d",
        r"CA\",
    ] {
        assert_eq!(blanker.blank_text(other), other);
    }
}

#[test]
fn a_secret_within_longer_base64_is_blanked() {
    let blanker = blanker();
    for before in ["", "a", "ab", "abc"] {
        let text = STANDARD.encode(format!("{before}{TOKEN}xyz"));
        assert!(blanker.blank_text(&text).contains("<security_token>"), "{before}");
    }
}

#[test]
fn nothing_is_cut_before_it_is_blanked() {
    let blanker = blanker();
    // The cut is within the secret, wherever that begins.
    for most in 1..TOKEN.len() {
        let shown = blanker.shown(&format!("{}{TOKEN}", "x".repeat(20)), 20 + most);
        assert!(!shown.contains("CAI"), "{shown}");
    }
    let long = format!("{}{TOKEN}", "x".repeat(250));
    let pair = blanker.shown_pair(Pair {
        name: long.clone(),
        id: Some(long.clone()),
        ..Pair::default()
    });
    let mut error = ProviderError::new(ErrorKind::Internal, format!("{}{TOKEN}", "x".repeat(590)));
    error.code = Some(long);
    let error = blanker.shown_error(error);
    for shown in [
        &pair.name,
        &pair.id.unwrap(),
        &error.message,
        &error.code.unwrap(),
    ] {
        assert!(shown.contains("x<") && !shown.contains("CAI"), "{shown}");
    }
}

#[test]
fn a_secret_with_invisible_characters_in_it_is_blanked() {
    let torn = TOKEN.replace('/', "\u{200b}/\n");
    assert_eq!(blanker().shown(&torn, 100), "<security_token>");
}

#[test]
fn a_secret_that_looks_escaped_is_blanked_as_it_is_and_escaped() {
    let field = Field {
        class: FieldClass::Bearer,
        of: None,
        value: Secret::from_text("a&amp;b<c>"),
    };
    let blanker = Blanker::new(&Fields::from([("password".to_owned(), field)]));
    for form in ["a&amp;b<c>", "a&amp;amp;b&lt;c&gt;", "a&#38;amp;b&#x3c;c&#62;"] {
        assert_eq!(blanker.blank_text(form), "<password>", "{form}");
    }
}

#[test]
fn public_fields_and_other_text_stay() {
    let text = "AKIDEXAMPLE wJalr ünïcode \u{1f511}";
    assert_eq!(blanker().blank_text(text), text);
    assert_eq!(Blanker::default().blank(b"\xff\x00"), b"\xff\x00");
}

#[test]
fn signatures_are_blanked() {
    let mut blanker = blanker();
    let digest = [0xfb, 0xff, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80];
    blanker.add_digest(&digest);
    for form in [
        hex(&digest),
        hex(&digest).to_uppercase(),
        STANDARD.encode(digest),
        percented(&STANDARD.encode(digest)),
    ] {
        assert_eq!(blanker.blank_text(&form), "<signature>");
    }
}

#[test]
fn a_tiny_secret_does_not_blank_every_letter() {
    let field = Field {
        of: None,
        class: FieldClass::HmacKey,
        value: Secret::from_text("S"),
    };
    let blanker = Blanker::new(&Fields::from([("key".to_owned(), field)]));
    assert_eq!(blanker.blank_text("{\"Status\":\"S\"}"), "{\"Status\":\"S\"}");
}
