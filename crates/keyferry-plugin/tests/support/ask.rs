//! Asks a provider as keyferry does: through JSON. Whoever includes this says `context()` beside it.

use keyferry_plugin::contract::{
    Context, FailStep, HttpStep, Operation, ProviderError, Reply, Response, Step, StepRequest, TransportError,
};
use keyferry_plugin::{Provider, export};
use serde_json::Value;

use super::context;

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

/// A reply in which the values of these names were captured.
pub(crate) fn replied(status: u16, body: impl ToString, captured: &[&str]) -> Reply {
    Reply::Response(Response {
        status,
        headers: Vec::new(),
        body: body.to_string(),
        captured: captured.iter().map(|&name| name.to_owned()).collect(),
    })
}

pub(crate) fn response(status: u16, body: impl ToString) -> Reply {
    replied(status, body, &[])
}

pub(crate) fn lost(sent: bool) -> Reply {
    Reply::TransportError(TransportError {
        sent,
        message: "connection reset".to_owned(),
    })
}
