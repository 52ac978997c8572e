//! Key pairs of My Cloud, API version 1.
//!
//! Say here what one has to know of the vendor: what is unique in what, what is never told, what it does twice.

use keyferry_plugin::contract::{
    Delete, Effect, ErrorKind, HttpStep, Import, List, Outcome, Pair, PairReference, ProviderError, Response,
    Step,
};
use keyferry_plugin::error::{ErrorRule, vendor_message};
use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::reply::{items, number, text};
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::{Value, json};

keyferry_plugin::export!(MyCloud);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct MyCloud;

impl Provider for MyCloud {
    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        // No response yet: this is the first step, which sends the request.
        let Some(response) = turn.response(Effect::Unknown)? else {
            let body = json!({"name": import.name, "public_key": import.public_key});
            return Ok(HttpStep::new(request(turn, "POST", "/v1/keys").with_body(body.to_string())).into());
        };
        // The second step reads the answer.
        match response.status {
            201 => done(
                pair(&body(response, Effect::Unknown)?),
                &import.name,
                Effect::Unknown,
            ),
            _ => Err(refusal(response, Effect::Unknown)),
        }
    }

    fn list(&self, _list: &List, turn: &Turn<'_>) -> Answer {
        let Some(response) = turn.response(Effect::None)? else {
            return Ok(HttpStep::new(request(turn, "GET", "/v1/keys")).into());
        };
        if response.status != 200 {
            return Err(refusal(response, Effect::None));
        }
        let body = body(response, Effect::None)?;
        let pairs: Vec<Pair> = items(&body, "/keys")?
            .iter()
            .map(pair)
            .collect::<Result<_, _>>()?;
        match number(&body, "next_page")? {
            // What was found so far is passed on; the next page is asked for.
            Some(page) => {
                let request = request(turn, "GET", "/v1/keys").with_query("page", page.to_string());
                Ok(HttpStep::new(request).emitting(pairs).into())
            }
            None => Ok(Step::done(Outcome::Pairs(pairs))),
        }
    }

    fn get(&self, wanted: &PairReference, turn: &Turn<'_>) -> Answer {
        let Some(response) = turn.response(Effect::None)? else {
            return Ok(HttpStep::new(request(turn, "GET", &path(wanted))).into());
        };
        match response.status {
            200 => done(pair(&body(response, Effect::None)?), &wanted.name, Effect::None),
            _ => Err(refusal(response, Effect::None)),
        }
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        let [wanted] = &*delete.pairs else {
            let message = "one call deletes exactly one pair";
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        };
        let Some(response) = turn.response(Effect::Unknown)? else {
            return Ok(HttpStep::new(request(turn, "DELETE", &path(wanted))).into());
        };
        match response.status {
            204 => Ok(Step::done(Outcome::Deleted)),
            _ => Err(refusal(response, Effect::Unknown)),
        }
    }
}

/// A request with the token, whose value keyferry puts in: it never comes here.
fn request(turn: &Turn<'_>, method: &str, path: &str) -> HttpRequest {
    HttpRequest::new(method, turn.origin("keys.my-cloud.example"), path)
        .with_header("accept", "application/json")
        .with_header("x-auth-token", Expr::secret("token"))
}

/// Names need no escaping: the manifest allows letters, digits, `-` and `_`.
fn path(pair: &PairReference) -> String {
    format!("/v1/keys/{}", pair.name)
}

fn done(pair: Result<Pair, ProviderError>, name: &str, effect: Effect) -> Answer {
    match pair {
        Ok(pair) if pair.name == name => Ok(Step::done(Outcome::Pair(pair))),
        Ok(pair) => Err(strange(format!("the answer is about {:?}", pair.name)).with_effect(effect)),
        Err(error) => Err(error.with_effect(effect)),
    }
}

fn body(response: &Response, effect: Effect) -> Result<Value, ProviderError> {
    serde_json::from_str(&response.body)
        .map_err(|_| strange("the answer is not JSON".to_owned()).with_effect(effect))
}

fn pair(object: &Value) -> Result<Pair, ProviderError> {
    let field = |name| Ok::<_, ProviderError>(text(object, name)?.map(str::to_owned));
    Ok(Pair {
        name: field("name")?
            .filter(|name| !name.is_empty())
            .ok_or_else(|| strange("the answer names no pair".to_owned()))?,
        id: field("id")?,
        fingerprint: field("fingerprint")?,
        public_key: field("public_key")?,
        created_at: field("created_at")?,
    })
}

/// What the vendor refused, and why. `effect`: what the request may have done where the vendor does not say.
fn refusal(response: &Response, effect: Effect) -> ProviderError {
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let field = |name| text(&body, name).ok().flatten();
    let code = field("code");
    let rule = ERRORS
        .iter()
        .find(|rule| code.is_some_and(|code| rule.matches(code)));
    let kind = match (rule, response.status) {
        (Some(rule), _) => rule.kind,
        (None, 401 | 403) => ErrorKind::Unauthorized,
        (None, 404) => ErrorKind::NotFound,
        (None, 429) => ErrorKind::Throttled,
        (None, 400..=499) => ErrorKind::Invalid,
        (None, 500..) => ErrorKind::Unavailable,
        (None, _) => ErrorKind::Internal,
    };
    let message = match (rule.map(|rule| rule.message), field("message")) {
        (Some(ours), _) if !ours.is_empty() => ours.to_owned(),
        (_, Some(theirs)) => vendor_message(theirs),
        _ => format!("the provider answered with status {}", response.status),
    };
    // A refusal did nothing. A server that failed, and an answer that nobody understands, may have.
    let open = matches!(kind, ErrorKind::Unavailable | ErrorKind::Internal);
    ProviderError {
        code: code.map(str::to_owned),
        request_id: response.header("x-request-id").map(str::to_owned),
        ..ProviderError::new(kind, message).with_effect(if open { effect } else { Effect::None })
    }
}

fn strange(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Internal, message)
}

/// The vendor's codes. An empty message: the vendor's own words.
const ERRORS: &[ErrorRule] = &[
    ErrorRule::new("name_taken", ErrorKind::AlreadyExists, "the name is taken"),
    ErrorRule::new(
        "limit_reached",
        ErrorKind::Quota,
        "the account has as many keys as it may: delete some",
    ),
];
