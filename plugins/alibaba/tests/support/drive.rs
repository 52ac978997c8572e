//! Asks a provider as keyferry does: through JSON.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    Context, FailStep, HttpStep, Operation, ProviderError, Reply, Response, Step, StepRequest, TransportError,
};
use keyferry_plugin::recipe::Expr;
use keyferry_plugin::{Provider, export};
use serde_json::Value;

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

/// One step. It is asked for twice: the same question has the same answer.
pub(crate) fn step<P: Provider + Copy>(
    provider: P,
    operation: &Operation,
    context: &Context,
    state: Value,
    reply: Option<Reply>,
) -> Step {
    let request = StepRequest {
        operation: operation.clone(),
        context: context.clone(),
        state,
        reply,
    };
    let request = serde_json::to_vec(&request).expect("requests have a JSON form");
    let answer = export::answer(|| provider, &request);
    assert_eq!(
        answer,
        export::answer(|| provider, &request),
        "the answer depends on more than the request"
    );
    serde_json::from_slice(&answer).expect("an answer is a step")
}

/// The first step, which sends a request.
#[track_caller]
pub(crate) fn send<P: Provider + Copy>(provider: P, operation: &Operation, context: &Context) -> HttpStep {
    match step(provider, operation, context, Value::Null, None) {
        Step::Http(step) => *step,
        other => panic!("no request: {other:?}"),
    }
}

/// What comes of a reply to the first step's request.
pub(crate) fn finish<P: Provider + Copy>(provider: P, operation: &Operation, reply: Reply) -> Step {
    let context = context();
    let sent = send(provider, operation, &context);
    step(provider, operation, &context, sent.state, Some(reply))
}

/// The error that comes of a reply to the first step's request.
#[track_caller]
pub(crate) fn fail<P: Provider + Copy>(provider: P, operation: &Operation, reply: Reply) -> ProviderError {
    match finish(provider, operation, reply) {
        Step::Fail(FailStep { error }) => error,
        other => panic!("no failure: {other:?}"),
    }
}

pub(crate) fn response(status: u16, body: impl ToString) -> Reply {
    Reply::Response(Response {
        status,
        headers: Vec::new(),
        body: body.to_string(),
        captured: Vec::new(),
    })
}

pub(crate) fn captured(status: u16, body: impl ToString) -> Reply {
    let captured = vec!["private_key".to_owned()];
    Reply::Response(Response {
        status,
        headers: Vec::new(),
        body: body.to_string(),
        captured,
    })
}

pub(crate) fn lost(sent: bool) -> Reply {
    Reply::TransportError(TransportError {
        sent,
        message: "connection reset".to_owned(),
    })
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
