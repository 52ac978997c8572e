//! What the vendor answered. Refusals have many forms: the gateway's `{"error_code", "error_msg", "request_id"}`, Nova's
//! `{"FAULT": {"code", "message"}}`, and `{"error": {"code", "message"}}`.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, ProviderError, Response};
use keyferry_plugin::error::vendor_message;
use serde_json::Value;

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// The body; null where there is none.
    pub body: Value,
    response: &'a Response,
    effect: Effect,
}

/// The answer to a request that needs this permission; none at the first step.
///
/// # Errors
/// What the vendor refused. Of a request that changes something (`effect`), whether it took effect is unknown unless the
/// vendor itself said that it refused.
pub fn answer<'a>(
    turn: &Turn<'a>,
    effect: Effect,
    permission: &str,
) -> Result<Option<Answered<'a>>, ProviderError> {
    let Some(response) = turn.response(effect)? else {
        return Ok(None);
    };
    let body = serde_json::from_str(&response.body).unwrap_or(Value::Null);
    let answered = Answered {
        body,
        response,
        effect,
    };
    match response.status {
        200..=299 if answered.body.is_object() || response.body.trim().is_empty() => Ok(Some(answered)),
        200..=299 => Err(answered.garbled("the answer is not the provider's own form")),
        _ => Err(answered.refusal(turn, permission)),
    }
}

impl Answered<'_> {
    /// Whether this secret was lifted out of the answer.
    pub fn has_captured(&self, name: &str) -> bool {
        self.response.has_captured(name)
    }

    /// An error about an answer that makes no sense: the request may have taken effect.
    pub fn garbled(&self, message: impl Into<String>) -> ProviderError {
        self.annotate(ProviderError::new(ErrorKind::Internal, message).with_effect(self.effect))
    }

    fn refusal(&self, turn: &Turn<'_>, permission: &str) -> ProviderError {
        let status = self.response.status;
        let Fault { name, code, words } = fault(&self.body);
        let of_gateway = code.as_deref().is_some_and(|code| code.starts_with("APIGW."));
        let kind = match (status, &*name) {
            (403 | 413, _) if words.to_lowercase().contains("quota") => ErrorKind::Quota,
            (400 | 405 | 406 | 415, _) => ErrorKind::Invalid,
            (401 | 403, _) => ErrorKind::Unauthorized,
            (404, _) if of_gateway => ErrorKind::Invalid,
            (404, _) => ErrorKind::NotFound,
            (409, _) => ErrorKind::AlreadyExists,
            (413 | 429, _) => ErrorKind::Throttled,
            (500.., _) => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        let message = match kind {
            ErrorKind::AlreadyExists => "the name is taken".to_owned(),
            ErrorKind::NotFound => "there is no pair of this name".to_owned(),
            ErrorKind::Quota => {
                "the user's limit of key pairs is reached: delete some, or ask the vendor for more".to_owned()
            }
            ErrorKind::Throttled => "too many requests".to_owned(),
            // The gateway tells a wrong key and a wrong time by the same code.
            ErrorKind::Unauthorized if status == 401 => format!(
                "the provider refused who sent this: check the account's credentials, and this machine's clock, by which \
                 it was sent at {}",
                turn.context.time
            ),
            ErrorKind::Unauthorized => {
                format!("the user lacks the permission {permission}: have it granted in IAM")
            }
            ErrorKind::Internal | ErrorKind::Unavailable => {
                format!("the provider answered with status {status}")
            }
            _ if words.is_empty() => format!("the provider answered with status {status}"),
            _ => words,
        };
        let has_form = code.is_some() || !name.is_empty();
        let effect = match status < 500 && has_form {
            true => Effect::None,
            false => self.effect,
        };
        let named = Some(name).filter(|name| !name.is_empty());
        self.annotate(ProviderError {
            code: code.or(named),
            ..ProviderError::new(kind, message).with_effect(effect)
        })
    }

    fn annotate(&self, error: ProviderError) -> ProviderError {
        let header = |name| self.response.header(name).filter(|text| !text.is_empty());
        let request_id = header("x-request-id").or_else(|| self.body["request_id"].as_str());
        ProviderError {
            request_id: request_id.map(str::to_owned),
            retry_after_ms: self.response.retry_after_ms(),
            ..error
        }
    }
}

struct Fault {
    /// Nova's name of it: `conflictingRequest`; empty where it has none.
    name: String,
    /// The gateway's code: `APIGW.0301`.
    code: Option<String>,
    words: String,
}

/// Reads a refusal at the top of the body or in the one object below.
fn fault(body: &Value) -> Fault {
    let below = body
        .as_object()
        .and_then(|body| body.iter().find(|(_, value)| value.is_object()));
    let text = |names: [&str; 3]| {
        let read = |object: &Value| {
            names
                .iter()
                .find_map(|name| object[*name].as_str().map(str::to_owned))
        };
        read(body).or_else(|| below.and_then(|(_, object)| read(object)))
    };
    let is_named = |name: &&String| *name != "error";
    Fault {
        name: below
            .map(|(name, _)| name)
            .filter(is_named)
            .cloned()
            .unwrap_or_default(),
        code: text(["error_code", "errorCode", "code"]),
        words: text(["error_msg", "errorMsg", "message"])
            .map(|words| vendor_message(&words))
            .unwrap_or_default(),
    }
}
