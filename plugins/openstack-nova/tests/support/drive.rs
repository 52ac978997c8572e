//! Asks the plugin as keyferry does, through JSON, and evaluates its recipes with given secrets.

use std::collections::BTreeMap;

use keyferry_openstack_nova::OpenstackNova;
use keyferry_plugin::contract::{
    Context, Credentials, FailStep, HttpStep, Operation, ProviderError, Reply, Response, Session, Step,
    StepRequest,
};
use keyferry_plugin::export;
use keyferry_plugin::recipe::Expr;
use serde_json::{Value, json};

pub(crate) const AUTH_URL: &str = "http://127.0.0.1:5000/v3";

/// One step. It is asked for twice: the same question has the same answer.
pub(crate) fn step(operation: &Operation, context: &Context, state: Value, reply: Option<Reply>) -> Step {
    let request = StepRequest {
        operation: operation.clone(),
        context: context.clone(),
        state,
        reply,
    };
    let request = serde_json::to_vec(&request).expect("requests have a JSON form");
    let answer = export::answer(|| OpenstackNova, &request);
    assert_eq!(answer, export::answer(|| OpenstackNova, &request));
    serde_json::from_slice(&answer).expect("an answer is a step")
}

#[track_caller]
pub(crate) fn http(step: Step) -> HttpStep {
    match step {
        Step::Http(step) => *step,
        other => panic!("no request: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn failure(step: Step) -> ProviderError {
    match step {
        Step::Fail(FailStep { error }) => error,
        other => panic!("no failure: {other:?}"),
    }
}

/// An account that gave these credential fields, with Keystone at [`AUTH_URL`].
pub(crate) fn account(fields: &[&str]) -> Context {
    Context {
        time: "2026-11-22T01:36:49Z".to_owned(),
        nonce: "00".repeat(16),
        idempotency_token: "00".repeat(16),
        credential_fields: fields.iter().map(|&field| field.to_owned()).collect(),
        settings: [("auth_url".to_owned(), json!(AUTH_URL))].into(),
        ..Context::default()
    }
}

pub(crate) fn response(status: u16, body: impl ToString, captured: &[&str]) -> Reply {
    Reply::Response(Response {
        status,
        headers: vec![("x-openstack-request-id".to_owned(), "req-7".to_owned())],
        body: body.to_string(),
        captured: captured.iter().map(|&name| name.to_owned()).collect(),
    })
}

/// Keystone's answer, with a compute service in these regions.
pub(crate) fn token(regions: &[(&str, &str)]) -> Value {
    let endpoint = |(region, url): &(&str, &str)| {
        ["public", "internal"].map(
            |interface| json!({"interface": interface, "region_id": region, "region": region, "url": url}),
        )
    };
    let endpoints: Vec<Value> = regions.iter().flat_map(endpoint).collect();
    json!({"token": {
        "expires_at": "2026-11-22T02:36:49.000000Z",
        "user": {"id": "u1", "name": "demo"},
        "project": {"id": "p1", "name": "demo"},
        "catalog": [{"type": "identity", "endpoints": []}, {"type": "compute", "endpoints": endpoints}],
    }})
}

pub(crate) fn versions(least: &str, greatest: &str) -> Value {
    json!({"version": {"id": "v2.1", "min_version": least, "version": greatest}})
}

pub(crate) fn credentials() -> Operation {
    Operation::Credentials(Credentials::default())
}

/// The session of an account after a login that these two answers were given to.
#[track_caller]
pub(crate) fn log_in(context: &Context, token: Value, versions: Value) -> Result<Session, ProviderError> {
    let asked = http(step(&credentials(), context, Value::Null, None));
    let ask = match step(
        &credentials(),
        context,
        asked.state,
        Some(response(201, token, &["token"])),
    ) {
        Step::Http(step) => *step,
        other => return Err(failure(other)),
    };
    match step(
        &credentials(),
        context,
        ask.state,
        Some(response(200, versions, &[])),
    ) {
        Step::Done(done) => Ok(done.session.expect("a login has a session")),
        other => Err(failure(other)),
    }
}

/// The context of an operation after a login to a Nova with these microversions at `/v2.1`.
pub(crate) fn logged_in(settings: &[(&str, &str)], least: &str, greatest: &str) -> Context {
    let mut context = account(&["username", "user_domain_id", "project_id", "password"]);
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)));
    context.settings.extend(settings);
    let token = token(&[("RegionOne", "http://127.0.0.1:8774/v2.1")]);
    let session = log_in(&context, token, versions(least, greatest))
        .unwrap_or_else(|error| panic!("{}", error.message));
    after(context, session)
}

/// The context of the operations after a login.
pub(crate) fn after(context: Context, session: Session) -> Context {
    Context {
        credential_fields: vec!["token".to_owned()],
        session: session.public,
        ..context
    }
}

/// A recipe's text, with these secrets.
pub(crate) fn evaluate(expr: &Expr, secrets: &BTreeMap<String, String>) -> String {
    match expr {
        Expr::Text(text) => text.clone(),
        Expr::Secret(name) => secrets
            .get(name)
            .unwrap_or_else(|| panic!("no secret {name}"))
            .clone(),
        Expr::Concat(parts) => parts.iter().map(|part| evaluate(part, secrets)).collect(),
        Expr::JsonString(inner) => json!(evaluate(inner, secrets)).to_string(),
        other => panic!("{other:?} in a request"),
    }
}

/// A header's text, with secrets as `<name>`.
pub(crate) fn header(step: &HttpStep, name: &str) -> Option<String> {
    let names = ["token"].map(|name| (name.to_owned(), format!("<{name}>")));
    let (_, value) = step.request.headers.iter().find(|(other, _)| other == name)?;
    Some(evaluate(value, &BTreeMap::from(names)))
}
