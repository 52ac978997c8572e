//! One request, and what proves who sends it.

use std::collections::BTreeMap;

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{CredentialValue, HttpStep, Pair, Step};
use keyferry_plugin::recipe::{Expr, HttpRequest, PRIVATE_KEY};
use keyferry_plugin::signing::huawei::sign;
use keyferry_plugin::signing::{AccessKey, SigningKey, compact_time};
use serde_json::Value;

use crate::{ACCESS_KEY_ID, ACCESS_KEY_SECRET, SECURITY_TOKEN, TOKEN};

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Call {
    request: HttpRequest,
    captures_private_key: bool,
    emit: Vec<Pair>,
    state: Value,
}

impl Call {
    /// A request at the account's endpoint, else at this host, in the name of a project.
    pub fn new(turn: &Turn<'_>, method: &str, host: &str, path: &str, project_id: &str) -> Self {
        let content_type = match method {
            "POST" => "application/json;charset=utf-8",
            _ => "application/json",
        };
        let request = HttpRequest::new(method, turn.origin(host), path)
            .with_header("content-type", content_type)
            .with_header("x-project-id", project_id);
        Self {
            request,
            captures_private_key: false,
            emit: Vec::new(),
            state: Value::Null,
        }
    }

    /// The same with one more query parameter.
    pub fn parameter(mut self, name: &str, value: impl Into<String>) -> Self {
        self.request = self.request.with_query(name, value.into());
        self
    }

    /// The same for a microversion; the vendor takes the bare number.
    pub fn microversion(mut self, microversion: &str) -> Self {
        self.request = self.request.with_header("openstack-api-version", microversion);
        self
    }

    /// The same with this body.
    pub fn body(mut self, body: &Value) -> Self {
        self.request = self.request.with_body(body.to_string());
        self
    }

    /// The same; the private key is lifted out of the answer.
    pub fn capturing_private_key(self) -> Self {
        Self {
            captures_private_key: true,
            ..self
        }
    }

    /// The same, with pairs found so far.
    pub fn emitting(self, emit: Vec<Pair>) -> Self {
        Self { emit, ..self }
    }

    /// The same, with what must be given back at the next step.
    pub fn with_state(self, state: Value) -> Self {
        Self { state, ..self }
    }

    /// The step that sends it: with the token of the login where there is one, else signed with the access key.
    pub fn send(self, turn: &Turn<'_>) -> Step {
        let request = match (turn.has_credential(TOKEN), turn.has_credential(SECURITY_TOKEN)) {
            (true, _) => self.request.with_header("x-auth-token", Expr::secret(TOKEN)),
            (false, temporary) => {
                let token = temporary.then(|| Expr::secret(SECURITY_TOKEN));
                let key = AccessKey {
                    id: ACCESS_KEY_ID,
                    secret: ACCESS_KEY_SECRET,
                };
                signed(self.request, &turn.context.time, &key, token)
            }
        };
        let step = HttpStep::new(request).emitting(self.emit).with_state(self.state);
        match self.captures_private_key {
            true => step.capturing(PRIVATE_KEY, "/keypair/private_key"),
            false => step,
        }
        .into()
    }
}

/// The request with a signature.
fn signed(request: HttpRequest, time: &str, key: &impl SigningKey, token: Option<Expr>) -> HttpRequest {
    let mut request = request.with_header("x-sdk-date", compact_time(time));
    if let Some(token) = token {
        request = request.with_header("x-security-token", token);
    }
    sign(request, key)
}

/// The request with what these credentials prove, while they are not yet the account's.
pub(crate) fn authorised(
    request: HttpRequest,
    time: &str,
    fields: &BTreeMap<String, CredentialValue>,
) -> HttpRequest {
    match fields.get(TOKEN) {
        Some(token) => request.with_header("x-auth-token", expression(TOKEN, token)),
        None => {
            let token = fields
                .get(SECURITY_TOKEN)
                .map(|token| expression(SECURITY_TOKEN, token));
            signed(request, time, &FoundKey(fields), token)
        }
    }
}

/// An access key among the fields of credentials.
struct FoundKey<'a>(&'a BTreeMap<String, CredentialValue>);

impl FoundKey<'_> {
    fn field(&self, name: &str) -> Expr {
        self.0
            .get(name)
            .map_or_else(|| Expr::secret(name), |value| expression(name, value))
    }
}

impl SigningKey for FoundKey<'_> {
    fn id(&self) -> Expr {
        self.field(ACCESS_KEY_ID)
    }

    fn secret(&self) -> Expr {
        self.field(ACCESS_KEY_SECRET)
    }
}

fn expression(name: &str, value: &CredentialValue) -> Expr {
    match value {
        CredentialValue::Handle(handle) => Expr::secret(handle),
        CredentialValue::Kept => Expr::secret(name),
        CredentialValue::Text(text) => Expr::text(text),
    }
}
