//! One call: `POST /` or `GET /`, the parameters in the query, no body.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{HttpStep, Pair, Step};
use keyferry_plugin::recipe::{Expr, HttpRequest, PRIVATE_KEY};
use keyferry_plugin::signing::{SigningKey, acs3, content_sha256};
use serde_json::{Value, json};

use crate::{ACCESS_KEY, Product, SECURITY_TOKEN};

/// A call in the making. Parameters are sent in the order of their names.
#[derive(Clone, Debug)]
pub struct Call {
    request: HttpRequest,
    signer: Signer,
    captures: Vec<(&'static str, &'static str)>,
    emit: Vec<Pair>,
    state: Value,
}

/// What a call is signed with.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) id: Expr,
    pub(crate) secret: Expr,
    /// Of a temporary access key.
    pub(crate) token: Option<Expr>,
}

impl Signer {
    /// The account's own access key.
    fn account(turn: &Turn<'_>) -> Self {
        Self {
            id: ACCESS_KEY.id(),
            secret: ACCESS_KEY.secret(),
            token: turn
                .has_credential(SECURITY_TOKEN)
                .then(|| Expr::secret(SECURITY_TOKEN)),
        }
    }
}

impl SigningKey for Signer {
    fn id(&self) -> Expr {
        self.id.clone()
    }

    fn secret(&self) -> Expr {
        self.secret.clone()
    }
}

impl Product {
    /// A call of this action at the account's endpoint, else at this host.
    pub fn call(&self, turn: &Turn<'_>, host: &str, action: &str) -> Call {
        self.call_as(Signer::account(turn), turn, host, action)
    }

    pub(crate) fn call_as(&self, signer: Signer, turn: &Turn<'_>, host: &str, action: &str) -> Call {
        let context = turn.context;
        let request = HttpRequest::new("POST", turn.origin(host), "/");
        let content_sha256 = content_sha256(&request.body);
        let mut request = request
            .with_header("accept", "application/json")
            .with_header("x-acs-action", action)
            .with_header("x-acs-version", self.version)
            .with_header("x-acs-date", &*context.time)
            .with_header("x-acs-signature-nonce", &*context.nonce)
            .with_header("x-acs-content-sha256", content_sha256);
        if let Some(token) = &signer.token {
            request = request
                .with_header("x-acs-accesskey-id", signer.id())
                .with_header("x-acs-security-token", token.clone());
        }
        Call {
            request,
            signer,
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

    /// The same with a list of values: `Name.1`, `Name.2` and so on.
    pub fn numbered<'a>(self, name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        values.into_iter().zip(1..).fold(self, |call, (value, number)| {
            call.parameter(&format!("{name}.{number}"), value)
        })
    }

    /// The same with a list of values as JSON text.
    pub fn listed(self, name: &str, values: &[String]) -> Self {
        self.parameter(name, json!(values).to_string())
    }

    /// The same with the token by which the vendor recognises a request that it has had already.
    pub fn client_token(self, turn: &Turn<'_>) -> Self {
        self.parameter("ClientToken", &*turn.context.idempotency_token)
    }

    /// The same, sent as `GET`.
    pub fn by_get(mut self) -> Self {
        self.request.method = "GET".to_owned();
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
        self.capturing(PRIVATE_KEY, "/PrivateKeyBody")
    }

    /// The same; what is at this JSON pointer is lifted out of the answer.
    pub(crate) fn capturing(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.captures.push((name, pointer));
        self
    }

    pub(crate) fn emitting(self, emit: Vec<Pair>) -> Self {
        Self { emit, ..self }
    }

    /// The same; the state is given back with the answer.
    pub fn with_state(self, state: Value) -> Self {
        Self { state, ..self }
    }

    /// The step that sends it, signed.
    pub fn send(mut self) -> Step {
        self.request
            .query
            .sort_by(|(left, _), (right, _)| left.cmp(right));
        let step = HttpStep::new(acs3::sign(self.request, &self.signer))
            .emitting(self.emit)
            .with_state(self.state);
        self.captures
            .into_iter()
            .fold(step, |step, (name, pointer)| step.capturing(name, pointer))
            .into()
    }
}
