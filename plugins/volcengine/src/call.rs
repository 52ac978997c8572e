//! One call: `GET /`, the action and all parameters in the query, no body.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{HttpStep, Pair, Step};
use keyferry_plugin::recipe::{Expr, HttpRequest, PRIVATE_KEY};
use keyferry_plugin::signing::volcengine::sign;
use keyferry_plugin::signing::{Scope, SigningKey, compact_time, content_sha256};
use serde_json::Value;

use crate::{ACCESS_KEY, SECURITY_TOKEN, Service};

/// A call in the making. Parameters are sent in the order of their names.
#[derive(Clone, Debug)]
pub struct Call {
    service: &'static str,
    region: String,
    request: HttpRequest,
    captures: Vec<(&'static str, &'static str)>,
    emit: Vec<Pair>,
    state: Value,
}

impl Service {
    /// A call of this action at the account's endpoint, else at this host. The region is in the signature only.
    pub fn call(&self, turn: &Turn<'_>, host: &str, region: &str, action: &str) -> Call {
        let request = HttpRequest::new("GET", turn.origin(host), "/");
        let content_sha256 = content_sha256(&request.body);
        let request = request
            .with_query("Action", action)
            .with_query("Version", self.version)
            .with_header("accept", "application/json")
            .with_header("content-type", "text/plain")
            .with_header("x-content-sha256", content_sha256)
            .with_header("x-date", compact_time(&turn.context.time));
        Call {
            service: self.code,
            region: region.to_owned(),
            request,
            captures: Vec::new(),
            emit: Vec::new(),
            state: Value::Null,
        }
    }
}

impl Call {
    /// The same with one more parameter.
    pub fn parameter(mut self, name: &str, value: impl Into<String>) -> Self {
        self.request = self.request.with_query(name, value.into());
        self
    }

    /// The same with one more parameter, where there is a value.
    pub fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.parameter(name, value),
            None => self,
        }
    }

    /// The same with a list: `NAME.1`, `NAME.2` and so on.
    pub fn list<'a>(self, name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let numbered = values.into_iter().zip(1..);
        numbered.fold(self, |call, (value, n)| {
            call.parameter(&format!("{name}.{n}"), value)
        })
    }

    /// The same; the private key is lifted out of the answer.
    pub fn capturing_private_key(self) -> Self {
        self.capturing(PRIVATE_KEY, "/Result/PrivateKey")
    }

    pub(crate) fn capturing(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.captures.push((name, pointer));
        self
    }

    /// The same, with pairs found so far.
    pub fn emitting(self, emit: Vec<Pair>) -> Self {
        Self { emit, ..self }
    }

    /// The same, with what must be given back at the next step.
    pub fn with_state(self, state: Value) -> Self {
        Self { state, ..self }
    }

    /// The step that sends it, signed with the account's access key.
    pub fn send(mut self, turn: &Turn<'_>) -> Step {
        if turn.has_credential(SECURITY_TOKEN) {
            self.request = self
                .request
                .with_header("x-security-token", Expr::secret(SECURITY_TOKEN));
        }
        self.send_signed(&ACCESS_KEY)
    }

    /// The step that sends it, signed with this key.
    pub(crate) fn send_signed(mut self, key: &impl SigningKey) -> Step {
        self.request
            .query
            .sort_by(|(left, _), (right, _)| left.cmp(right));
        let scope = Scope {
            region: &self.region,
            service: self.service,
        };
        let step = HttpStep::new(sign(self.request, key, scope))
            .emitting(self.emit)
            .with_state(self.state);
        self.captures
            .into_iter()
            .fold(step, |step, (name, pointer)| step.capturing(name, pointer))
            .into()
    }
}
