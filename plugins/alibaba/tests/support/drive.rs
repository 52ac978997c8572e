//! What Alibaba Cloud's and Volcengine's plugins are asked, and what they send.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{Context, HttpStep, Reply};
use keyferry_plugin::recipe::Expr;
use serde_json::Value;

#[path = "../../../../crates/keyferry-plugin/tests/support/ask.rs"]
mod ask;

pub(crate) use ask::*;

pub(crate) fn context() -> Context {
    Context {
        time: "2026-11-22T01:36:49Z".to_owned(),
        nonce: "322e8873805d0b98ce5c2a4966601f34".to_owned(),
        idempotency_token: "00".repeat(16),
        credential_fields: vec!["access_key_id".to_owned(), "access_key_secret".to_owned()],
        region: Some("cn-hangzhou".to_owned()),
        endpoint: None,
        settings: BTreeMap::new(),
        session: Value::Null,
    }
}

pub(crate) fn captured(status: u16, body: impl ToString) -> Reply {
    replied(status, body, &["private_key"])
}

/// The query parameters, sorted; all are plain texts.
#[track_caller]
pub(crate) fn parameters(step: &HttpStep) -> Vec<(String, String)> {
    let mut parameters: Vec<_> = step
        .request
        .query
        .iter()
        .map(|(name, value)| match value {
            Expr::Text(text) => (name.clone(), text.clone()),
            other => panic!("parameter {name} is {other:?}"),
        })
        .collect();
    parameters.sort();
    parameters
}
