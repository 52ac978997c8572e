//! The metadata service of an instance: a token of its own first, then the role's name, then the role's temporary key.

use keyferry_plugin::contract::{ErrorKind, HttpStep, ProviderError, Response, Step};
use keyferry_plugin::recipe::HttpRequest;
use keyferry_plugin::signing::percent_encode;
use keyferry_plugin::{Answer, Turn};
use serde_json::{Value, json};

use crate::credentials::{Search, Stage, temporary};
use crate::{ACCESS_KEY, SECURITY_TOKEN};

const ORIGIN: &str = "http://100.96.0.96";
const TOKEN_PATH: &str = "/latest/api/token";
const ROLES_PATH: &str = "/volcstack/latest/iam/security_credentials";

/// Seconds that the token is good for: the requests of one login.
const TOKEN_LIFETIME: &str = "60";

/// Asks for the token.
pub(crate) fn ask(search: Search) -> Step {
    let request = HttpRequest::new("PUT", ORIGIN, TOKEN_PATH)
        .with_header("x-volc-ecs-metadata-token-ttl-seconds", TOKEN_LIFETIME);
    let search = search.waiting_for(Stage::MetadataToken);
    HttpStep::new(request).with_state(json!(search)).into()
}

/// What comes of the answer that the search waits for.
pub(crate) fn answered(mut search: Search, turn: &Turn<'_>) -> Answer {
    let response = match turn.response(Default::default()) {
        Ok(Some(response)) if response.status == 200 => response,
        Ok(Some(response)) => {
            return search.without_metadata(&format!("it answered with status {}", response.status));
        }
        Ok(None) => return Ok(ask(search)),
        Err(error) if error.kind == ErrorKind::Unavailable => return search.without_metadata(&error.message),
        Err(error) => return Err(error),
    };
    match (search.stage, &search.role) {
        (Stage::MetadataToken, role) => {
            let token = response.body.trim();
            if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
                return search.without_metadata("it gave no token");
            }
            let has_role = role.is_some();
            search.token = token.to_owned();
            if has_role {
                ask_key(search)
            } else {
                Ok(ask_roles(search))
            }
        }
        (Stage::MetadataRoles, _) => match first_role(response) {
            Some(role) => {
                search.role = Some(role);
                ask_key(search)
            }
            None => search.without_metadata("the instance has no role"),
        },
        _ => key(search, response),
    }
}

fn ask_roles(search: Search) -> Step {
    let request = with_token(HttpRequest::new("GET", ORIGIN, ROLES_PATH), &search)
        .with_query("type", "user")
        .with_query("format", "json");
    let search = search.waiting_for(Stage::MetadataRoles);
    HttpStep::new(request).with_state(json!(search)).into()
}

fn first_role(response: &Response) -> Option<String> {
    let roles: Value = serde_json::from_str(&response.body).ok()?;
    let role = roles.as_array()?.first()?.as_str()?.trim();
    (!role.is_empty()).then(|| role.to_owned())
}

fn ask_key(search: Search) -> Answer {
    let role = search.role.as_deref().unwrap_or_default();
    let path = format!("{ROLES_PATH}/{}", percent_encode(role));
    let request = with_token(HttpRequest::new("GET", ORIGIN, &path), &search);
    let search = search.waiting_for(Stage::MetadataKey);
    Ok(HttpStep::new(request)
        .capturing(ACCESS_KEY.secret, "/SecretAccessKey")
        .capturing(SECURITY_TOKEN, "/SessionToken")
        .with_state(json!(search))
        .into())
}

fn key(mut search: Search, response: &Response) -> Answer {
    let body: Value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
    let kept = [ACCESS_KEY.secret, SECURITY_TOKEN]
        .into_iter()
        .all(|name| response.has_captured(name));
    let Some(id) = body["AccessKeyId"].as_str().filter(|_| kept) else {
        let message = "the metadata service's answer holds no access key";
        return Err(ProviderError::new(ErrorKind::Internal, message));
    };
    let role = search.role.as_deref().unwrap_or_default();
    search.source = format!("role {role:?} of the instance");
    Ok(temporary(search, id, body["ExpiredTime"].as_str()))
}

/// The token opens nothing but this service of this instance: it is no secret to a plugin, which reaches neither.
fn with_token(request: HttpRequest, search: &Search) -> HttpRequest {
    request.with_header("x-volc-ecs-metadata-token", &*search.token)
}
