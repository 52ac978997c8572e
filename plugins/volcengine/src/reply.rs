//! What the vendor answered: `{"ResponseMetadata": {"RequestId", ..., "Error"?}, "Result"}`. An error may come with
//! status 200.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, ProviderError, Response};
use keyferry_plugin::error::{ErrorRule, Refusal};
use keyferry_plugin::reply::text;
use serde_json::Value;

use crate::Service;

/// The answer to a call that succeeded as a whole.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// The result; null where the vendor gave none.
    pub result: Value,
    service: Service,
    action: String,
    request_id: Option<String>,
    turn: Turn<'a>,
    response: &'a Response,
    effect: Effect,
}

impl Service {
    /// The answer to the call of this action; none at the first step, when it was not made yet.
    ///
    /// # Errors
    /// What the vendor refused, by its code; [`ErrorKind::Internal`] when the answer is not the vendor's. Of an action
    /// that changes something, the effect is unknown unless the vendor itself said that it refused.
    pub fn answer<'a>(&self, turn: &Turn<'a>, action: &str) -> Result<Option<Answered<'a>>, ProviderError> {
        let effect = match action.starts_with("Describe") {
            true => Effect::None,
            false => Effect::Unknown,
        };
        let Some(response) = turn.response(effect)? else {
            return Ok(None);
        };
        let body = serde_json::from_str(&response.body).ok();
        let mut body = body.filter(Value::is_object).unwrap_or_default();
        let metadata = body["ResponseMetadata"].take();
        let answered = Answered {
            result: body["Result"].take(),
            service: *self,
            action: action.to_owned(),
            request_id: text(&metadata, "RequestId").ok().flatten().map(str::to_owned),
            turn: *turn,
            response,
            effect,
        };
        match &metadata["Error"] {
            Value::Null if response.status == 200 && metadata.is_object() => Ok(Some(answered)),
            error if error["Code"].is_string() => Err(answered.refusal(error)),
            // Whatever else answers on the way, a proxy or a login page, gives no metadata.
            _ => Err(answered.blame(ProviderError::of_status(response.status))),
        }
    }
}

impl Answered<'_> {
    /// Whether this secret was lifted out of the answer.
    pub fn has_captured(&self, name: &str) -> bool {
        self.response.has_captured(name)
    }

    /// What became of each element of an action on several: its name or id in this field, and why it failed.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the answer does not say.
    pub fn details(&self, field: &str) -> Result<Vec<(String, Option<ProviderError>)>, ProviderError> {
        let missing = || self.garbled("the answer does not say what became of each element".to_owned());
        let details = self.result["OperationDetails"].as_array().ok_or_else(missing)?;
        let detail = |detail: &Value| {
            let name = detail[field].as_str().ok_or_else(missing)?;
            let error = match &detail["Error"] {
                Value::Null => None,
                error => Some(self.refusal(error)),
            };
            Ok((name.to_owned(), error))
        };
        details.iter().map(detail).collect()
    }

    /// An error about an answer that makes no sense: the action may have taken effect.
    pub fn garbled(&self, message: String) -> ProviderError {
        self.blame(ProviderError::new(ErrorKind::Internal, message))
    }

    /// Gives an error about this answer its request id and effect.
    pub fn blame(&self, error: ProviderError) -> ProviderError {
        self.annotate(error.with_effect(self.effect))
    }

    /// What the vendor's `{"Code", "Message"}` means.
    fn refusal(&self, error: &Value) -> ProviderError {
        let field = |name| text(error, name).ok().flatten().unwrap_or_default().trim();
        let refusal = Refusal {
            status: self.response.status,
            code: field("Code"),
            message: field("Message"),
            effect: self.effect,
            permission: &format!("{}:{}", self.service.code, self.action),
            time: &self.turn.context.time,
        };
        self.annotate(refusal.error(self.service.errors.iter().chain(COMMON_ERRORS)))
    }

    fn annotate(&self, error: ProviderError) -> ProviderError {
        ProviderError {
            request_id: self.request_id.clone(),
            retry_after_ms: self.response.retry_after_ms(),
            ..error
        }
    }
}

/// Codes that every service has. `Unavailable` is what may go better by itself, and may have taken effect.
const COMMON_ERRORS: &[ErrorRule] = {
    use ErrorKind::*;
    &[
        // Not `Unauthorized`: a clock is set right without anyone touching the account.
        ErrorRule::new(
            "InvalidTimestamp",
            Unavailable,
            "check this machine's clock: the request was signed at {time}, the provider's time differs",
        )
        .without_effect(),
        ErrorRule::new(
            "SignatureDoesNotMatch",
            Unauthorized,
            "the secret access key does not belong to this access key id: check the account's credentials",
        ),
        ErrorRule::new(
            "InvalidAccessKey",
            Unauthorized,
            "the access key id does not exist: check the account's credentials",
        ),
        ErrorRule::new(
            "LackPolicy",
            Unauthorized,
            "the access key lacks the permission {permission}: have it granted in IAM",
        ),
        ErrorRule::new(
            "AccessDenied*",
            Unauthorized,
            "the access key lacks the permission {permission}: have it granted in IAM",
        ),
        ErrorRule::new("MissingAuthenticationToken", Unauthorized, ""),
        ErrorRule::new("MissingSignature", Unauthorized, ""),
        ErrorRule::new("ServiceNotFound", Invalid, ""),
        ErrorRule::new("InvalidActionOrVersion", Invalid, ""),
        ErrorRule::new("*FlowLimit*", Throttled, "too many requests"),
        ErrorRule::new("InternalError*", Unavailable, ""),
        ErrorRule::new("ServiceUnavailable*", Unavailable, ""),
        ErrorRule::new(
            "IdempotentProcessing",
            Unavailable,
            "the same request, sent before, is still being worked on",
        ),
    ]
};
