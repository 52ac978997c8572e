//! Evaluates recipes with the vectors' invented credentials: the smallest thing that can judge a signature.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyferry_plugin::recipe::{Expr, Hmac};

/// The bytes that an expression stands for.
pub(crate) fn evaluate(expr: &Expr, secrets: &BTreeMap<&str, String>) -> Vec<u8> {
    let bytes = |expr: &Expr| evaluate(expr, secrets);
    let hmac = |algorithm, Hmac { key, data }: &Hmac| {
        hmac::sign(&hmac::Key::new(algorithm, &bytes(key)), &bytes(data))
            .as_ref()
            .to_vec()
    };
    match expr {
        Expr::Text(text) => text.clone().into_bytes(),
        Expr::Secret(name) => secrets[name.as_str()].clone().into_bytes(),
        Expr::Concat(parts) => parts.iter().flat_map(bytes).collect(),
        Expr::Hex(inner) => bytes(inner)
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        Expr::Base64(inner) => STANDARD.encode(bytes(inner)).into_bytes(),
        Expr::Percent(inner) => bytes(inner).into_iter().flat_map(percent).collect(),
        Expr::Sha256(inner) => digest::digest(&digest::SHA256, &bytes(inner)).as_ref().to_vec(),
        Expr::HmacSha256(parts) => hmac(hmac::HMAC_SHA256, parts),
        Expr::HmacSha1(parts) => hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, parts),
        Expr::JsonString(_) | Expr::HmacSha512(_) | Expr::RsaSha256(_) => panic!("no vector needs {expr:?}"),
    }
}

fn percent(byte: u8) -> Vec<u8> {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        vec![byte]
    } else {
        format!("%{byte:02X}").into_bytes()
    }
}
