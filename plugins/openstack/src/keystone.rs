//! `POST {auth_url}/auth/tokens`: the token comes in the header `X-Subject-Token`, the catalogue in the body.

use std::collections::BTreeMap;

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, HttpStep, ProviderError, Step};
use keyferry_plugin::recipe::{Expr, HttpRequest, Place};
use serde_json::{Value, json};

use crate::account::{APPLICATION_CREDENTIAL_SECRET, Account, Choice, Method, PASSWORD, invalid};
use crate::{Login, TOKEN, annotate, fault, split_url};

/// The step that asks for a token.
pub(crate) fn log_in(account: Account) -> Result<Step, ProviderError> {
    let (origin, path) = split_url(&account.auth_url)?;
    let path = match path.rsplit('/').next() {
        Some("v3") => path.to_owned(),
        Some("v2.0") => {
            let message = "auth_url is of Keystone's API 2.0: only 3 is in this version";
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        }
        _ => format!("{path}/v3"),
    };
    let request = HttpRequest::new("POST", origin, &format!("{path}/auth/tokens"))
        .with_header("accept", "application/json")
        .with_header("content-type", "application/json")
        .with_body(body(&account)?);
    let step = HttpStep::new(request)
        .capturing_at(TOKEN, Place::Header("x-subject-token".to_owned()))
        .with_state(json!(account.choice));
    Ok(step.into())
}

fn body(account: &Account) -> Result<Expr, ProviderError> {
    let field = |name: &str| account.fields.get(name).cloned().map(Expr::json_string);
    let needed = |name: &str, names: &str| {
        field(name).ok_or_else(|| {
            invalid(format!(
                "a login with {} needs {names}",
                account.choice.method.words()
            ))
        })
    };
    // What is known by id, or else by a name in a domain.
    let known = |what: &str, name: &str, names: &str| match field(&format!("{what}_id")) {
        Some(id) => Ok(vec![("id", id)]),
        None => {
            let domain = match (
                field(&format!("{what}_domain_id")),
                field(&format!("{what}_domain_name")),
            ) {
                (Some(id), _) => object([("id", id)]),
                (None, Some(name)) => object([("name", name)]),
                (None, None) => {
                    return Err(invalid(format!(
                        "a login with {} needs {names}",
                        account.choice.method.words()
                    )));
                }
            };
            Ok(vec![("name", needed(name, names)?), ("domain", domain)])
        }
    };
    let user = || {
        known(
            "user",
            "username",
            "user_id, or username with user_domain_id or user_domain_name",
        )
    };
    let project = || {
        known(
            "project",
            "project_name",
            "project_id, or project_name with project_domain_id or project_domain_name",
        )
    };

    let (method, credential) = match account.choice.method {
        Method::ApplicationCredential => {
            let mut credential = match field("application_credential_id") {
                Some(id) => vec![("id", id)],
                None => {
                    let names = "application_credential_id, or application_credential_name with its user";
                    vec![
                        ("name", needed("application_credential_name", names)?),
                        ("user", object(user()?)),
                    ]
                }
            };
            credential.push((
                "secret",
                needed(APPLICATION_CREDENTIAL_SECRET, APPLICATION_CREDENTIAL_SECRET)?,
            ));
            ("application_credential", object(credential))
        }
        Method::Password => {
            let mut user = user()?;
            user.push(("password", needed(PASSWORD, PASSWORD)?));
            ("password", object([("user", object(user))]))
        }
        Method::Token => ("token", object([("id", needed(TOKEN, TOKEN)?)])),
    };
    let methods = Expr::Text(format!("[\"{method}\"]"));
    let mut auth = vec![("identity", object([("methods", methods), (method, credential)]))];
    // An application credential has its project, and may ask for no other.
    if account.choice.method != Method::ApplicationCredential {
        auth.push(("scope", object([("project", object(project()?))])));
    }
    Ok(object([("auth", object(auth))]))
}

/// A JSON object of these members, whose values are JSON.
fn object<'a>(members: impl IntoIterator<Item = (&'a str, Expr)>) -> Expr {
    let members = members
        .into_iter()
        .enumerate()
        .flat_map(|(index, (name, value))| {
            let separator = if index == 0 { "{" } else { "," };
            [Expr::Text(format!("{separator}\"{name}\":")), value]
        });
    Expr::concat(members.chain([Expr::text("}")]))
}

impl Method {
    fn words(self) -> &'static str {
        match self {
            Self::ApplicationCredential => "an application credential",
            Self::Password => "a password",
            Self::Token => "a token",
        }
    }
}

/// What Keystone answered.
pub(crate) fn answer(turn: &Turn<'_>) -> Result<Login, ProviderError> {
    let choice: Choice = turn.state()?;
    let Some(response) = turn.response(Effect::None)? else {
        return Err(internal("there is no answer"));
    };
    let failed = |kind, message: String| Err(annotate(ProviderError::new(kind, message), response));
    let words = fault(response).words;
    match response.status {
        201 => {}
        // A token that has ended is not found.
        status
            if [401, 403].contains(&status)
                || status == 404 && !words.is_empty() && choice.method == Method::Token =>
        {
            // The usual words say no more than that.
            let why =
                Some(words).filter(|words| !words.is_empty() && !words.contains("requires authentication"));
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            let source = &choice.source;
            return failed(
                ErrorKind::Unauthorized,
                format!(
                    "keystone refused the login with {}{why}: check user, project, their domains and the secret in {source}",
                    choice.method.words()
                ),
            );
        }
        300 | 404 => {
            let message =
                "keystone's API 3 is not there: `auth_url` should be like https://cloud.example.com:5000/v3";
            return failed(ErrorKind::Invalid, message.to_owned());
        }
        413 | 429 => return failed(ErrorKind::Throttled, "too many logins".to_owned()),
        status @ 500.. => {
            return failed(
                ErrorKind::Unavailable,
                format!("keystone answered with status {status}"),
            );
        }
        status if words.is_empty() => {
            return failed(
                ErrorKind::Internal,
                format!("the answer, with status {status}, is not keystone's own form"),
            );
        }
        _ => return failed(ErrorKind::Invalid, words),
    }
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if !response.has_captured(TOKEN) {
        return Err(annotate(internal("keystone gave no token"), response));
    }
    let Some(project_id) = text("/token/project/id") else {
        return failed(
            ErrorKind::Invalid,
            "the token is for no project: name project_id, or project_name and its domain".to_owned(),
        );
    };
    let (region, url) = endpoint(&body, &choice).map_err(|error| annotate(error, response))?;
    Ok(Login {
        project_id,
        user_id: text("/token/user/id").unwrap_or_default(),
        expires_at: text("/token/expires_at"),
        region,
        url,
        microversion: choice.microversion,
        source: choice.source,
        attempts: choice.attempts,
    })
}

/// The compute service's region and URL.
fn endpoint(body: &Value, choice: &Choice) -> Result<(String, String), ProviderError> {
    if let Some(url) = &choice.endpoint_override {
        return Ok((choice.region.clone().unwrap_or_default(), trimmed(url)));
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let services = list(body.pointer("/token/catalog")).into_iter();
    let mut found: BTreeMap<String, String> = services
        .filter(|entry| entry["type"] == "compute")
        .flat_map(|entry| list(entry.get("endpoints")))
        .filter(|endpoint| endpoint["interface"] == *choice.interface)
        .filter_map(|endpoint| {
            let region = endpoint["region_id"]
                .as_str()
                .or_else(|| endpoint["region"].as_str());
            Some((
                region.unwrap_or_default().to_owned(),
                trimmed(endpoint["url"].as_str()?),
            ))
        })
        .collect();
    let names = found.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = match &choice.region {
        _ if found.is_empty() => format!(
            "the catalogue names no compute service with the interface {:?}: `interface` is public, internal or admin",
            choice.interface
        ),
        Some(region) => match found.remove_entry(region) {
            Some(endpoint) => return Ok(endpoint),
            None => format!(
                "the catalogue has no compute service in region {region:?}, only in {names}: correct `region`"
            ),
        },
        None => match found.pop_first() {
            Some(only) if found.is_empty() => return Ok(only),
            _ => format!(
                "the catalogue has a compute service in several regions ({names}): add `region` to the account or the key"
            ),
        },
    };
    Err(invalid(message))
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

fn internal(message: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Internal, message)
}
