//! One call: `POST /`, the parameters in the query, no body.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{HttpStep, Pair, Step};
use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::signing::acs3;
use serde_json::Value;

use crate::{ACCESS_KEY, PRIVATE_KEY, Product, SECURITY_TOKEN};

/// A call in the making. Parameters are sent in the order of their names.
#[derive(Clone, Debug)]
pub struct Call {
    request: HttpRequest,
    captures_private_key: bool,
    emit: Vec<Pair>,
    state: Value,
}

impl Product {
    /// A call of this action at the account's endpoint, else at this host.
    pub fn call(&self, turn: &Turn<'_>, host: &str, action: &str) -> Call {
        let context = turn.context;
        let request = HttpRequest::new("POST", turn.origin(host), "/");
        let content_sha256 = acs3::content_sha256(&request.body);
        let mut request = request
            .with_header("accept", "application/json")
            .with_header("x-acs-action", action)
            .with_header("x-acs-version", self.version)
            .with_header("x-acs-date", &*context.time)
            .with_header("x-acs-signature-nonce", &*context.nonce)
            .with_header("x-acs-content-sha256", content_sha256);
        if turn.has_credential(SECURITY_TOKEN) {
            request = request
                .with_header("x-acs-accesskey-id", Expr::secret(ACCESS_KEY.id))
                .with_header("x-acs-security-token", Expr::secret(SECURITY_TOKEN));
        }
        Call {
            request,
            captures_private_key: false,
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

    /// The same; the private key is lifted out of the answer.
    pub fn capturing_private_key(self) -> Self {
        Self {
            captures_private_key: true,
            ..self
        }
    }

    pub(crate) fn emitting(self, emit: Vec<Pair>) -> Self {
        Self { emit, ..self }
    }

    pub(crate) fn with_state(self, state: Value) -> Self {
        Self { state, ..self }
    }

    /// The step that sends it, signed.
    pub fn send(mut self) -> Step {
        self.request
            .query
            .sort_by(|(left, _), (right, _)| left.cmp(right));
        let step = HttpStep::new(acs3::sign(self.request, &ACCESS_KEY))
            .emitting(self.emit)
            .with_state(self.state);
        if self.captures_private_key {
            step.capturing(PRIVATE_KEY, "/PrivateKeyBody")
        } else {
            step
        }
        .into()
    }
}
