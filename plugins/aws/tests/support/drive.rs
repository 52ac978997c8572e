//! What AWS's plugins are asked, and what they send.

use std::collections::BTreeMap;

use keyferry_plugin::contract::Context;
use keyferry_plugin::recipe::{Expr, HttpRequest};
use serde_json::Value;

#[path = "../../../../crates/keyferry-plugin/tests/support/ask.rs"]
mod ask;

pub(crate) use ask::*;

pub(crate) fn context() -> Context {
    Context {
        time: "2026-11-22T01:38:18Z".to_owned(),
        nonce: "322e8873805d0b98ce5c2a4966601f34".to_owned(),
        idempotency_token: "00".repeat(16),
        credential_fields: vec!["access_key_id".to_owned(), "secret_access_key".to_owned()],
        region: Some("us-east-1".to_owned()),
        endpoint: None,
        settings: BTreeMap::new(),
        session: Value::Null,
    }
}

/// The fields of a request's form, as the courier would send them; a secret stands as its name in angle brackets.
pub(crate) fn form(request: &HttpRequest) -> Vec<(String, String)> {
    let body = shown(&request.body);
    body.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').expect("a field has a value");
            (decoded(name), decoded(value))
        })
        .collect()
}

/// A header, as [`form`] shows values.
pub(crate) fn header(request: &HttpRequest, name: &str) -> Option<String> {
    let (_, value) = request.headers.iter().find(|(other, _)| other == name)?;
    Some(shown(value))
}

fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Text(text) => text.clone(),
        Expr::Secret(name) => format!("<{name}>"),
        Expr::Concat(parts) => parts.iter().map(shown).collect(),
        Expr::Percent(inner) => keyferry_plugin::signing::percent_encode(&shown(inner)),
        Expr::Base64(inner) => base64(shown(inner).as_bytes()),
        Expr::Hex(inner) => format!("hex({})", shown(inner)),
        Expr::HmacSha256(parts) => format!("hmac({}, {})", shown(&parts.key), shown(&parts.data)),
        Expr::Sha256(inner) => format!("sha256({} bytes)", shown(inner).len()),
        other => panic!("{other:?} is in no request here"),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let bits =
                chunk.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
            (0..4).map(move |place| {
                if place > chunk.len() {
                    return '=';
                }
                char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63])
            })
        })
        .collect()
}

/// Form decoding: `+` is a space, then percent-decoding.
pub(crate) fn decoded(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.expect("two digits follow"));
                let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
                u8::from_str_radix(digits, 16).expect("digits are hexadecimal")
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).expect("forms are UTF-8")
}
