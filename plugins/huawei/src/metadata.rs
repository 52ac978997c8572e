//! The metadata service of an instance: a token of its own where it has them, then the agency's temporary key.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialValue, Effect, ErrorKind, HttpStep, ProviderError, Response, Step,
};
use keyferry_plugin::recipe::HttpRequest;
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::login::Waiting;
use crate::{ACCESS_KEY_ID, ACCESS_KEY_SECRET, SECURITY_TOKEN};

const ORIGIN: &str = "http://169.254.169.254";
const TOKEN_PATH: &str = "/meta-data/latest/api/token";
const KEY_PATH: &str = "/openstack/latest/securitykey";

/// Seconds that the token is good for: the requests of one login.
const TOKEN_LIFETIME: &str = "60";

/// What lasts from step to step of the chain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Search {
    /// IAM's URL, where the environment names one.
    pub(crate) iam: Option<String>,
    /// Whether a pod's identity would be next.
    pub(crate) pod: bool,
    /// Whether the key was asked for.
    pub(crate) key_asked: bool,
    /// Where nothing was found, and why.
    pub(crate) attempts: Vec<String>,
}

/// Asks for the token.
pub(crate) fn ask(search: Search) -> Step {
    let request = HttpRequest::new("PUT", ORIGIN, TOKEN_PATH)
        .with_header("x-metadata-token-ttl-seconds", TOKEN_LIFETIME);
    HttpStep::new(request)
        .with_state(json!(Waiting::Metadata(search)))
        .into()
}

/// What comes of the answer that the search waits for.
pub(crate) fn answered(search: Search, turn: &Turn<'_>) -> Answer {
    let response = match turn.response(Effect::None) {
        Ok(Some(response)) => response,
        Ok(None) => return Ok(ask(search)),
        Err(error) if error.kind == ErrorKind::Unavailable => return search.without_metadata(&error.message),
        Err(error) => return Err(error),
    };
    match (search.key_asked, response.status) {
        (false, 200) => Ok(ask_key(search, response.body.trim())),
        // It has no tokens.
        (false, 404 | 405 | 503) => Ok(ask_key(search, "")),
        (true, 200) => key(search, turn, response),
        (_, status) => search.without_metadata(&format!("it answered with status {status}")),
    }
}

/// The token opens nothing but this service of this instance: it is no secret to a plugin, which reaches neither.
fn ask_key(search: Search, token: &str) -> Step {
    let mut request = HttpRequest::new("GET", ORIGIN, KEY_PATH);
    if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) {
        request = request.with_header("x-metadata-token", token);
    }
    let search = Search {
        key_asked: true,
        ..search
    };
    HttpStep::new(request)
        .capturing(ACCESS_KEY_SECRET, "/credential/secret")
        .capturing(SECURITY_TOKEN, "/credential/securitytoken")
        .with_state(json!(Waiting::Metadata(search)))
        .into()
}

fn key(mut search: Search, turn: &Turn<'_>, response: &Response) -> Answer {
    let body: Value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
    let kept = [ACCESS_KEY_SECRET, SECURITY_TOKEN]
        .into_iter()
        .all(|name| response.has_captured(name));
    let Some(id) = body["credential"]["access"].as_str().filter(|_| kept) else {
        let message = "the metadata service's answer holds no access key";
        return Err(ProviderError::new(ErrorKind::Internal, message));
    };
    let fields = BTreeMap::from([
        (ACCESS_KEY_ID.to_owned(), CredentialValue::Text(id.to_owned())),
        (ACCESS_KEY_SECRET.to_owned(), CredentialValue::Kept),
        (SECURITY_TOKEN.to_owned(), CredentialValue::Kept),
    ]);
    let iam = search.iam.take();
    let mut login = search.found(fields, "agency of the instance".to_owned(), None, iam);
    login.set.expires_at = body["credential"]["expires_at"].as_str().map(str::to_owned);
    login.with_project(turn)
}
