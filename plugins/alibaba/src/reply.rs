//! What the vendor answered: a JSON object, or `{"Code", "Message", "RequestId", "Recommend", "HostId"}`.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{
    Effect, ErrorKind, InstanceResult, Outcome, Pair, ProviderError, Response, Step,
};
use keyferry_plugin::error::Refusal;
use keyferry_plugin::recipe::PRIVATE_KEY;
use keyferry_plugin::reply::{items, text};
use serde_json::Value;

use crate::Product;
use crate::errors::{ASKED_TO_WAIT, COMMON_ERRORS};

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
        let effect = if ["Assume", "Describe", "List"]
            .iter()
            .any(|read| action.starts_with(read))
        {
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
        let Some(code) = field("Code").map(str::trim).filter(|code| !code.is_empty()) else {
            let error = ProviderError::of_status(response.status).with_effect(effect);
            return annotate(error, response, None);
        };

        let error = self.judge(turn, action, code, field("Message"), response, effect);
        annotate(error, response, field("RequestId"))
    }

    /// What a code of the vendor means, with its own words or better ones.
    fn judge(
        &self,
        turn: &Turn<'_>,
        action: &str,
        code: &str,
        message: Option<&str>,
        response: &Response,
        effect: Effect,
    ) -> ProviderError {
        let message = message.unwrap_or_default();
        let refusal = Refusal {
            status: response.status,
            code,
            message,
            effect,
            permission: &format!("{}:{action}", self.name),
            time: &turn.context.time,
        };
        let asked_to_wait = milliseconds(response).is_some().then_some(&ASKED_TO_WAIT);
        let error = refusal.error(self.errors.iter().chain(COMMON_ERRORS).chain(asked_to_wait));
        // Older answers tell of a name that is taken in words only.
        if code.starts_with("InvalidKeyPairName") && message.contains("already exist") {
            return ProviderError {
                kind: ErrorKind::AlreadyExists,
                ..error
            };
        }
        error
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

    /// The ids of those instances of this answer to `DescribeInstances` that name a pair, and the next page's token.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it lists no instances, or one without an id.
    pub fn instances_that_name(&self, pair: &str) -> Result<(Vec<String>, Option<String>), ProviderError> {
        let items = self.blame(list_of(&self.body, "Instances", "Instance"))?;
        let ids = items
            .iter()
            .filter(|item| item["KeyPairName"] == *pair)
            .map(|item| text(item, "InstanceId")?.map(str::to_owned).ok_or_else(nameless))
            .collect();
        let next = self.blame(text(&self.body, "NextToken"))?.map(str::trim);
        let next = next.filter(|token| !token.is_empty()).map(str::to_owned);
        Ok((self.blame(ids)?, next))
    }

    /// What became of each of these instances in this answer to `AttachKeyPair` or `DetachKeyPair`; of one that it leaves out
    /// that is unknown.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it lists no results.
    pub(crate) fn instances(
        &self,
        product: &Product,
        turn: &Turn<'_>,
        action: &str,
        instances: &[String],
    ) -> Result<Vec<InstanceResult>, ProviderError> {
        let results = self.blame(list_of(&self.body, "Results", "Result"))?;
        let request_id = text(&self.body, "RequestId").ok().flatten();
        let error_of = |instance: &String| {
            let Some(result) = results.iter().find(|result| result["InstanceId"] == **instance) else {
                let words = "the answer does not speak of this instance".to_owned();
                return Some(internal(words).with_effect(Effect::Unknown));
            };
            if succeeded(result) {
                return None;
            }
            let code = word(&result["Code"]).unwrap_or_default();
            let message = text(result, "Message").ok().flatten();
            Some(product.judge(turn, action, &code, message, self.response, Effect::None))
        };
        let result = |instance: &String| InstanceResult {
            instance: instance.clone(),
            error: error_of(instance).map(|error| annotate(error, self.response, request_id)),
        };
        Ok(instances.iter().map(result).collect())
    }

    /// Gives an error about this answer its request id and effect.
    pub(crate) fn blame<T>(&self, result: Result<T, ProviderError>) -> Result<T, ProviderError> {
        result.map_err(|error| {
            let request_id = text(&self.body, "RequestId").ok().flatten();
            annotate(error.with_effect(self.effect), self.response, request_id)
        })
    }
}

fn nameless() -> ProviderError {
    internal("an instance in the answer has no id".to_owned())
}

/// The list of this name: some products wrap it in an object, as `KeyPairs.KeyPair`.
pub(crate) fn list_of<'a>(body: &'a Value, name: &str, wrapped: &str) -> Result<&'a [Value], ProviderError> {
    match &body[name] {
        Value::Array(items) => Ok(items),
        object => items(object, &format!("/{wrapped}")),
    }
}

/// `true`, also as text: the vendor's own pages have both.
fn succeeded(result: &Value) -> bool {
    word(&result["Success"]).is_some_and(|word| word.eq_ignore_ascii_case("true"))
}

/// A text, number or boolean as text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
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

/// How long the vendor asks us to wait: its own header in milliseconds, else the standard one.
fn milliseconds(response: &Response) -> Option<u64> {
    let own = response
        .header("x-acs-retry-after")
        .and_then(|wait| wait.parse().ok());
    match own {
        Some(wait) => Some(wait).filter(|&wait| wait > 0),
        None => response.retry_after_ms(),
    }
}

fn internal(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Internal, message)
}
