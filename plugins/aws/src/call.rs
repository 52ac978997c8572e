//! One call of the query protocol: `POST /`, everything in a form, version and action among it.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{HttpStep, ProviderError};
use keyferry_plugin::recipe::{Capture, Expr, HttpRequest, Place};
use keyferry_plugin::signing::{Scope, SigningKey, aws4, compact_time, form};
use serde_json::Value;

use crate::{ACCESS_KEY, SESSION_TOKEN, Service, host};

/// A call in the making. Parameters are sent in the order they are given.
#[derive(Clone, Debug)]
pub struct Call {
    service: &'static str,
    region: String,
    /// As `x-amz-date`.
    time: String,
    origin: String,
    parameters: Vec<(String, Expr)>,
    captures: Vec<Capture>,
    state: Value,
}

impl Service {
    /// A call of this action at the account's endpoint, else at the region's host.
    ///
    /// # Errors
    /// There is no region, or its host is not known.
    pub fn call(&self, turn: &Turn<'_>, action: &str) -> Result<Call, ProviderError> {
        let region = turn.region()?;
        let origin = match &turn.context.endpoint {
            Some(_) => turn.origin(""),
            None => turn.origin(&host(self.name, region)?),
        };
        let call = Call {
            service: self.name,
            region: region.to_owned(),
            time: compact_time(&turn.context.time),
            origin,
            parameters: Vec::new(),
            captures: Vec::new(),
            state: Value::Null,
        };
        Ok(call
            .parameter("Action", action)
            .parameter("Version", self.version))
    }
}

impl Call {
    /// The same with one more parameter.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Expr>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The same with one more parameter, where there is a value.
    pub fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.parameter(name, value),
            None => self,
        }
    }

    /// The same with tags for what is made: `resource` is the vendor's name for its type.
    pub fn tagged<'a>(self, resource: &str, tags: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        tags.enumerate().fold(self, |call, (index, (key, value))| {
            let call = match index {
                0 => call.parameter("TagSpecification.1.ResourceType", resource),
                _ => call,
            };
            let number = index + 1;
            call.parameter(format!("TagSpecification.1.Tag.{number}.Key"), key)
                .parameter(format!("TagSpecification.1.Tag.{number}.Value"), value)
        })
    }

    /// The same; the text of this element (`CreateKeyPairResponse/keyMaterial`) is lifted out of the answer.
    pub fn capturing(mut self, name: &str, path: &str) -> Self {
        self.captures.push(Capture {
            name: name.to_owned(),
            place: Place::XmlPath(path.to_owned()),
        });
        self
    }

    /// The same, with what must be given back at the next step.
    pub fn with_state(self, state: impl Into<Value>) -> Self {
        Self {
            state: state.into(),
            ..self
        }
    }

    /// The step that sends it, signed with the account's credentials.
    pub fn send(self, turn: &Turn<'_>) -> HttpStep {
        let token = turn
            .has_credential(SESSION_TOKEN)
            .then(|| Expr::secret(SESSION_TOKEN));
        self.send_with(&ACCESS_KEY, token)
    }

    /// The step that sends it, signed with another key and its token.
    pub(crate) fn send_with(self, key: &impl SigningKey, token: Option<Expr>) -> HttpStep {
        let mut request = self.request().with_header("x-amz-date", &*self.time);
        if let Some(token) = token {
            request = request.with_header("x-amz-security-token", token);
        }
        let scope = Scope {
            region: &self.region,
            service: self.service,
        };
        let request = aws4::sign(request, key, scope);
        self.step(request)
    }

    /// The step that sends it without a signature.
    pub(crate) fn send_unsigned(self) -> HttpStep {
        let request = self.request();
        self.step(request)
    }

    fn request(&self) -> HttpRequest {
        HttpRequest::new("POST", &*self.origin, "/")
            .with_header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .with_body(form(&self.parameters))
    }

    fn step(self, request: HttpRequest) -> HttpStep {
        HttpStep {
            capture: self.captures,
            ..HttpStep::new(request).with_state(self.state)
        }
    }
}

/// The tags of the account's setting `tags`, sorted by key.
pub fn tags<'a>(turn: &Turn<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let tags = turn.context.settings.get("tags").and_then(Value::as_object);
    let mut tags: Vec<_> = tags
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect();
    tags.sort_unstable();
    tags.into_iter()
}
