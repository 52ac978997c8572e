//! Logging in, honestly and otherwise.
//!
//! `POST {base}/login` with `{"auth": {"user": .., "password": ..}}` answers 200 with `{"token": .., "project": ..,
//! "expires_at": .., "catalog": [{"url": ..}], "weak": {"link_local": .., "plain_http": ..}}`, 401, or 429. It is at the setting `login_url`, else at the URL beside the
//! password, else at the endpoint.
//!
//! The password is the account's, else `HOSTILE_PASSWORD`, else that of the profile `p` in the file that `HOSTILE_PROFILE`
//! names. Where that profile has a `command`, its output has the access key, and there is no login. Where it has no password,
//! the file of the source `token` holds a token, which goes with the environment's access key.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Document, Effect, ErrorKind, HttpStep, Operation, Outcome, Profile,
    ProviderError, Reply, Response, Session, Step, WaitStep,
};
use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::{Answer, Turn};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::provider::done;

/// The next step of behaviours that are about logging in; none: of others.
pub(crate) fn answer(behaviour: Behaviour, operation: &Operation, turn: &Turn<'_>) -> Option<Answer> {
    use Behaviour as B;
    let credentials = matches!(operation, Operation::Credentials(_));
    if behaviour == B::Metadata && credentials {
        return metadata(turn);
    }
    let is_login = credentials && behaviour.name().starts_with("login");
    Some(match (behaviour, operation) {
        (B::ProfilesSend, Operation::Profiles(_)) => {
            Ok(login(turn, Expr::text("x"), Expr::text("x"), Value::Null))
        }
        (B::Profiles, Operation::Profiles(_)) => profiles(turn),
        (B::LoginEndlessWaits, _) => Ok(Step::Wait(WaitStep {
            ms: 1,
            state: Value::Null,
        })),
        (B::LoginLongWait, _) => Ok(Step::Wait(WaitStep {
            ms: 365 * 24 * 3600 * 1000,
            state: Value::Null,
        })),
        (B::LoginRunUnread, _) => Ok(Step::run("profile", "/p/command", Value::Null)),
        (B::LoginReadPrinted, _) => Ok(Step::read("printed", Value::Null)),
        (B::LoginKeepNothing, _) => Ok(logged_in(
            BTreeMap::from([("security_token".to_owned(), CredentialValue::Kept)]),
            Session {
                captures: Vec::new(),
                public: Value::Null,
                urls: Vec::new(),
                expires_at: None,
            },
        )),
        (B::LoginReadAnyway, _) if turn.reply.is_none() => Ok(Step::read("environment", Value::Null)),
        _ if is_login => step(behaviour, turn),
        _ => return None,
    })
}

/// Asks the instance's metadata service; where there is none, goes on as honestly as others.
fn metadata(turn: &Turn<'_>) -> Option<Answer> {
    let response = match turn.reply {
        None => {
            let request = HttpRequest::new("GET", "http://169.254.169.254", "/metadata/credentials");
            let step = HttpStep::new(request)
                .capturing("access_key_secret", "/key")
                .capturing("security_token", "/token");
            return Some(Ok(step.into()));
        }
        Some(Reply::Response(response)) => response,
        Some(Reply::TransportError(_)) => return Some(Ok(Step::read("environment", Value::Null))),
        Some(_) => return None,
    };
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    let fields = [
        ("access_key_id", CredentialValue::Text(id)),
        ("access_key_secret", CredentialValue::Kept),
        ("security_token", CredentialValue::Kept),
    ];
    Some(Ok(done(Outcome::Credentials(CredentialSet {
        fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
        source: "the instance".to_owned(),
        expires_at: None,
        attempts: Vec::new(),
    }))))
}

fn step(behaviour: Behaviour, turn: &Turn<'_>) -> Answer {
    use Behaviour as B;
    match turn.reply {
        None if turn.has_credential("password") => {
            Ok(begin(behaviour, turn, "password".to_owned(), None, json!({})))
        }
        None => Ok(Step::read("environment", Value::Null)),
        Some(Reply::Document(document)) => match document.source.as_str() {
            "environment" => found(
                behaviour,
                turn,
                document,
                [
                    "/HOSTILE_PASSWORD",
                    "/HOSTILE_ACCESS_KEY_ID",
                    "/HOSTILE_ACCESS_KEY_SECRET",
                    "/HOSTILE_URL",
                ],
            ),
            "profile" if document.content.pointer("/p/command") == Some(&Value::Bool(true)) => {
                Ok(Step::run("profile", "/p/command", Value::Null))
            }
            "profile" => found(
                behaviour,
                turn,
                document,
                ["/p/password", "/p/id", "/p/key", "/p/url"],
            ),
            "token" => token(turn, document),
            _ => Ok(done(Outcome::Credentials(CredentialSet {
                fields: [
                    (
                        "access_key_id",
                        document
                            .text("/id")
                            .map(|id| CredentialValue::Text(id.to_owned())),
                    ),
                    ("access_key_secret", document.secret("/key")),
                    ("security_token", document.secret("/token")),
                ]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
                source: document.location.clone(),
                expires_at: document.text("/expires").map(str::to_owned),
                attempts: vec!["environment: HOSTILE_PASSWORD is not set".to_owned()],
            }))),
        },
        Some(Reply::TransportError(error)) => {
            Err(ProviderError::new(ErrorKind::Unavailable, error.message.clone()).with_effect(Effect::None))
        }
        // Once more from the beginning, for ever.
        Some(Reply::Response(_)) if behaviour == B::LoginEndlessRequests => {
            let password = turn.state["password"].as_str().unwrap_or_default();
            Ok(begin(
                behaviour,
                turn,
                password.to_owned(),
                None,
                turn.state.clone(),
            ))
        }
        Some(Reply::Response(response)) => ended(behaviour, turn, response),
        Some(Reply::Waited) => Ok(Step::read("environment", Value::Null)),
    }
}

/// The way on from a document: to the login, or to the next source.
fn found(behaviour: Behaviour, turn: &Turn<'_>, document: &Document, places: [&str; 4]) -> Answer {
    let [password, id, key, url] = places;
    let handle = |place: &str| match document.secret(place) {
        Some(CredentialValue::Handle(handle)) => Some(handle),
        _ => None,
    };
    let state = json!({
        "id": document.text(id),
        "key": handle(key),
        "password": handle(password),
        "url": document.text(url),
    });
    let Some(password) = handle(password) else {
        return Ok(match document.source.as_str() {
            "environment" => Step::read("profile", state),
            _ => Step::read("token", turn.state.clone()),
        });
    };
    Ok(begin(behaviour, turn, password, handle(key), state))
}

/// A token of a file, with what the environment had.
fn token(turn: &Turn<'_>, document: &Document) -> Answer {
    let Some(token) = document.secret("") else {
        return Err(ProviderError::new(
            ErrorKind::Unauthorized,
            format!("neither password nor token found: {}", document.location),
        ));
    };
    let text = |name: &str| turn.state[name].as_str().map(str::to_owned);
    let fields = [
        ("access_key_id", text("id").map(CredentialValue::Text)),
        ("access_key_secret", text("key").map(CredentialValue::Handle)),
        ("security_token", Some(token)),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(done(Outcome::Credentials(CredentialSet {
        fields: fields.collect(),
        source: document.location.clone(),
        expires_at: None,
        attempts: Vec::new(),
    })))
}

/// The request that logs in, as it should be or bent.
fn begin(behaviour: Behaviour, turn: &Turn<'_>, password: String, key: Option<String>, state: Value) -> Step {
    use Behaviour as B;
    let secret = || Expr::secret(&password);
    match behaviour {
        B::LoginPasswordAsUser => login(turn, secret(), secret(), state),
        B::LoginKeyAsPassword => login(
            turn,
            Expr::text("li"),
            Expr::secret(key.unwrap_or_default()),
            state,
        ),
        B::LoginUnknownHandle => login(turn, Expr::text("li"), Expr::secret("handle-99"), state),
        _ => login(turn, Expr::text("li"), secret(), state),
    }
}

fn login(turn: &Turn<'_>, user: Expr, password: Expr, state: Value) -> Step {
    let url = turn.setting("login_url").or_else(|| state["url"].as_str());
    let url = url
        .map(str::to_owned)
        .unwrap_or_else(|| turn.origin("api.hostile.example"));
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let (origin, base) = match url[start..].find('/') {
        Some(slash) => url.split_at(start + slash),
        None => (url.as_str(), ""),
    };
    let body = Expr::concat([
        Expr::text("{\"auth\":{\"user\":"),
        user.json_string(),
        Expr::text(",\"password\":"),
        password.json_string(),
        Expr::text("}}"),
    ]);
    let path = format!("{}/login", base.trim_end_matches('/'));
    let request = HttpRequest::new("POST", origin, &path).with_body(body);
    HttpStep::new(request)
        .capturing("security_token", "/token")
        .with_state(state)
        .into()
}

/// What the login led to.
fn ended(behaviour: Behaviour, turn: &Turn<'_>, response: &Response) -> Answer {
    use Behaviour as B;
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    if !response.has_captured("security_token") {
        let kind = match response.status {
            401 => ErrorKind::Unauthorized,
            429 => ErrorKind::Throttled,
            500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        };
        let mut error = ProviderError::new(kind, body["message"].as_str().unwrap_or("no token").to_owned());
        error.code = body["code"].as_str().map(str::to_owned);
        return Err(error);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let given = turn.has_credential("access_key_secret");
    let mut fields = BTreeMap::from([("security_token".to_owned(), CredentialValue::Kept)]);
    match (text(&turn.state["id"]), text(&turn.state["key"])) {
        (Some(id), Some(key)) => {
            fields.insert("access_key_id".to_owned(), CredentialValue::Text(id));
            fields.insert("access_key_secret".to_owned(), CredentialValue::Handle(key));
        }
        _ if given => {
            fields.insert("access_key_id".to_owned(), CredentialValue::Kept);
            fields.insert("access_key_secret".to_owned(), CredentialValue::Kept);
        }
        _ => {}
    }
    let mut urls: Vec<String> = body["catalog"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| text(&entry["url"]))
        .collect();
    let mut public = json!({"project": body["project"], "api": urls.first()});
    let mut captures = Vec::new();
    match behaviour {
        B::LoginUrlLinkLocal => urls.extend(text(&body["weak"]["link_local"])),
        B::LoginUrlPlainHttp => urls.extend(text(&body["weak"]["plain_http"])),
        B::LoginUrlNeverNamed => urls.push("https://evil.example".to_owned()),
        B::LoginKeepPassword => captures.push("password".to_owned()),
        B::LoginLargePublic => public["note"] = "x".repeat(100_000).into(),
        B::LoginBodyInPublic => {
            public["note"] = response.body.clone().into();
            public["headers"] = json!(response.headers);
        }
        B::LoginTokenAsId => {
            fields.insert(
                "access_key_id".to_owned(),
                CredentialValue::Text(response.body.clone()),
            );
        }
        _ => {}
    }
    Ok(logged_in(
        fields,
        Session {
            captures,
            public,
            urls,
            expires_at: text(&body["expires_at"]),
        },
    ))
}

fn logged_in(fields: BTreeMap<String, CredentialValue>, session: Session) -> Step {
    let set = CredentialSet {
        fields,
        source: "a login".to_owned(),
        expires_at: None,
        attempts: Vec::new(),
    };
    Step::logged_in(set, session)
}

fn profiles(turn: &Turn<'_>) -> Answer {
    let Some(document) = turn.document()? else {
        return Ok(Step::read("profile", Value::Null));
    };
    let names = document.content.as_object().into_iter().flatten();
    let found = names.map(|(name, profile)| Profile {
        name: Some(name.clone()),
        source: format!("profile {name:?} of {}", document.location),
        unusable: profile.get("password").is_none().then(|| profile.to_string()),
        ..Profile::default()
    });
    Ok(done(Outcome::Profiles(found.collect())))
}
