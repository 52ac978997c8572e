//! What the vendor answered: a JSON object, or `{"Code", "Message", "RequestId", "Recommend", "HostId"}`.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, Outcome, Pair, ProviderError, Response, Step};
use keyferry_plugin::error::{ErrorRule, vendor_message};
use keyferry_plugin::reply::text;
use serde_json::Value;

use crate::Product;

/// The capture of a `create`.
pub const PRIVATE_KEY: &str = "private_key";

/// The answer to a call that succeeded.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    pub(crate) body: Value,
    response: &'a Response,
    effect: Effect,
}

impl Product {
    /// The answer to the call of this action; none at the first step, when it was not made yet.
    ///
    /// # Errors
    /// What the vendor refused, by its code; [`ErrorKind::Internal`] when the answer is not the vendor's. Of an action
    /// that changes something, the effect is unknown unless the vendor itself said that it refused.
    pub fn answer<'a>(&self, turn: &Turn<'a>, action: &str) -> Result<Option<Answered<'a>>, ProviderError> {
        let effect = if action.starts_with("Describe") {
            Effect::None
        } else {
            Effect::Unknown
        };
        let Some(response) = turn.response(effect)? else {
            return Ok(None);
        };
        let body = serde_json::from_str(&response.body).ok().filter(Value::is_object);
        match body {
            // Whatever else answers on the way, a proxy or a login page, gives no request id.
            Some(body)
                if response.status == 200 && body["RequestId"].is_string() && body.get("Code").is_none() =>
            {
                Ok(Some(Answered {
                    body,
                    response,
                    effect,
                }))
            }
            body => Err(self.error(turn, action, response, body.as_ref(), effect)),
        }
    }

    fn error(
        &self,
        turn: &Turn<'_>,
        action: &str,
        response: &Response,
        body: Option<&Value>,
        effect: Effect,
    ) -> ProviderError {
        let field = |name| body.and_then(|body| text(body, name).ok().flatten());
        let status = response.status;
        let Some(code) = field("Code").map(str::trim).filter(|code| !code.is_empty()) else {
            let (kind, message) = match status {
                429 => (ErrorKind::Throttled, "too many requests".to_owned()),
                500.. => (
                    ErrorKind::Unavailable,
                    format!("the provider answered with status {status}"),
                ),
                _ => (
                    ErrorKind::Internal,
                    format!("the answer, with status {status}, is not the provider's own form"),
                ),
            };
            return annotate(
                ProviderError::new(kind, message).with_effect(effect),
                response,
                None,
            );
        };

        let words = field("Message").map(vendor_message).unwrap_or_default();
        let asked_to_wait = milliseconds(response).is_some();
        let rule = self
            .errors
            .iter()
            .chain(COMMON_ERRORS)
            .find(|rule| rule.matches(code));
        let kind = match (rule, status) {
            // Older answers tell of a name that is taken in words only.
            _ if code.starts_with("InvalidKeyPairName") && words.contains("already exist") => {
                ErrorKind::AlreadyExists
            }
            (Some(rule), _) => rule.kind,
            (None, _) if asked_to_wait => ErrorKind::Throttled,
            (None, 401 | 403) => ErrorKind::Unauthorized,
            (None, 429) => ErrorKind::Throttled,
            (None, 500..) => ErrorKind::Unavailable,
            (None, _) => ErrorKind::Invalid,
        };
        let message = match rule
            .map(|rule| rule.message)
            .filter(|message| !message.is_empty())
        {
            Some(message) => message
                .replace("{permission}", &format!("{}:{action}", self.name))
                .replace("{time}", &turn.context.time),
            None if words.is_empty() => format!("the provider answered {code}"),
            None => words,
        };
        let refused = status < 500 && kind != ErrorKind::Unavailable || is_about_clock(code);
        let effect = if refused { Effect::None } else { effect };
        let error = ProviderError {
            code: Some(code.to_owned()),
            ..ProviderError::new(kind, message)
        };
        annotate(error.with_effect(effect), response, field("RequestId"))
    }
}

impl Answered<'_> {
    /// The pair that this answer to `CreateKeyPair` or `ImportKeyPair` describes.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it describes none, or one of another name.
    pub fn pair(&self, name: &str) -> Result<Step, ProviderError> {
        let pair = self.blame(pair(&self.body))?;
        if pair.name != name {
            return self.blame(Err(internal(format!(
                "the answer is about a pair {:?}, not {name:?}",
                pair.name
            ))));
        }
        Ok(Step::done(Outcome::Pair(pair)))
    }

    /// The same for an answer that held the private key.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] also when there was no private key in it.
    pub fn pair_with_private_key(&self, name: &str) -> Result<Step, ProviderError> {
        if !self.response.has_captured(PRIVATE_KEY) {
            return self.blame(Err(internal("the answer holds no private key".to_owned())));
        }
        self.pair(name)
    }

    /// Gives an error about this answer its request id and effect.
    pub(crate) fn blame<T>(&self, result: Result<T, ProviderError>) -> Result<T, ProviderError> {
        result.map_err(|error| {
            let request_id = text(&self.body, "RequestId").ok().flatten();
            annotate(error.with_effect(self.effect), self.response, request_id)
        })
    }
}

/// A pair, in the fields that all answers share.
pub(crate) fn pair(object: &Value) -> Result<Pair, ProviderError> {
    let field = |name| {
        Ok(text(object, name)?
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()))
    };
    Ok(Pair {
        name: field("KeyPairName")?.ok_or_else(|| internal("the answer names no pair".to_owned()))?,
        id: field("KeyPairId")?,
        fingerprint: field("KeyPairFingerPrint")?,
        public_key: field("PublicKey")?,
        created_at: field("CreationTime")?,
    })
}

fn annotate(error: ProviderError, response: &Response, request_id: Option<&str>) -> ProviderError {
    let request_id = request_id
        .or_else(|| response.header("x-acs-request-id"))
        .map(str::trim);
    ProviderError {
        request_id: request_id.filter(|id| !id.is_empty()).map(str::to_owned),
        retry_after_ms: milliseconds(response),
        ..error
    }
}

/// How long the vendor asks us to wait: its own header in milliseconds, else the standard one in seconds (RFC 9110 §10.2.3).
fn milliseconds(response: &Response) -> Option<u64> {
    let number = |name| response.header(name)?.parse::<u64>().ok();
    let wait = number("x-acs-retry-after").or_else(|| number("retry-after")?.checked_mul(1000));
    wait.filter(|&wait| wait > 0)
}

fn internal(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Internal, message)
}

fn is_about_clock(code: &str) -> bool {
    code.starts_with("InvalidTimeStamp")
}

/// Codes that every product has. `Unavailable` is what may go better by itself, and may have taken effect.
const COMMON_ERRORS: &[ErrorRule] = {
    use ErrorKind::*;
    &[
        ErrorRule::new("*Throttling*", Throttled, "too many requests"),
        // Not every product publishes its code for this one.
        ErrorRule::new(
            "*QuotaExceed*",
            Quota,
            "the account's limit of key pairs is reached: delete some, or ask the vendor for more",
        ),
        ErrorRule::new("ServiceUnavailable*", Unavailable, ""),
        ErrorRule::new("InternalError*", Unavailable, ""),
        ErrorRule::new("UnknownError", Unavailable, ""),
        // Each of our requests has a nonce of its own: something on the way sent this one twice.
        ErrorRule::new("SignatureNonceUsed", Unavailable, "the request arrived twice"),
        // Not `Unauthorized`: a clock is set right without anyone touching the account.
        ErrorRule::new(
            "InvalidTimeStamp*",
            Unavailable,
            "check this machine's clock: the request was signed at {time}, the provider's time differs",
        ),
        ErrorRule::new(
            "SignatureDoesNotMatch",
            Unauthorized,
            "the access key secret does not belong to this access key id: check the account's credentials",
        ),
        ErrorRule::new("IncompleteSignature", Unauthorized, ""),
        ErrorRule::new(
            "InvalidAccessKeyId.Inactive",
            Unauthorized,
            "the access key is disabled: enable it in RAM or use another",
        ),
        ErrorRule::new(
            "InvalidAccessKeyId*",
            Unauthorized,
            "the access key id does not exist: check the account's credentials",
        ),
        ErrorRule::new(
            "InvalidSecurityToken*",
            Unauthorized,
            "the security token has expired or belongs to another access key: renew it where it comes from",
        ),
        ErrorRule::new(
            "MissingSecurityToken",
            Unauthorized,
            "this access key needs a security token",
        ),
        ErrorRule::new(
            "Forbidden.RAM",
            Unauthorized,
            "the access key lacks the permission {permission}: have it granted in RAM",
        ),
        ErrorRule::new(
            "NoPermission*",
            Unauthorized,
            "the access key lacks the permission {permission}: have it granted in RAM",
        ),
        ErrorRule::new("Forbidden*", Unauthorized, ""),
    ]
};
