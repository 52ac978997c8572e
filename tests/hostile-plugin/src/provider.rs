//! A tiny provider, as it should be.

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, DoneStep, Effect, ErrorKind, HttpStep, InstanceResult, Operation,
    Outcome, Pair, ProviderError, ReadStep, Reply, Response, Step,
};
use keyferry_plugin::recipe::{Capture, Expr, HttpRequest, Place};
use keyferry_plugin::{Answer, Turn};
use serde_json::Value;

use crate::bodies;

/// The next step of an operation.
pub(crate) fn answer(operation: &Operation, turn: &Turn<'_>) -> Answer {
    match turn.reply {
        // What the account gave is good as it is.
        None if matches!(operation, Operation::Credentials(_))
            && !turn.context.credential_fields.is_empty() =>
        {
            let names = turn.context.credential_fields.iter();
            Ok(done(Outcome::Credentials(CredentialSet {
                fields: names.map(|name| (name.clone(), CredentialValue::Kept)).collect(),
                source: "the account".to_owned(),
                expires_at: None,
                attempts: Vec::new(),
            })))
        }
        None | Some(Reply::Waited) if matches!(operation, Operation::Credentials(_)) => {
            Ok(Step::Read(ReadStep {
                source: "environment".to_owned(),
                state: Value::Null,
            }))
        }
        None | Some(Reply::Waited) => Ok(Step::Http(Box::new(HttpStep {
            request: request(operation, turn),
            capture: match operation {
                Operation::Create(_) => vec![private_key_at("/private_key")],
                _ => Vec::new(),
            },
            emit: Vec::new(),
            state: Value::Null,
        }))),
        Some(Reply::Response(response)) => outcome(operation, response).map(done),
        Some(Reply::Document(document)) => credentials(&document.content, CREDENTIALS).map(done),
        Some(Reply::TransportError(error)) => {
            let effect = match error.sent {
                true => Effect::Unknown,
                false => Effect::None,
            };
            Err(ProviderError::new(ErrorKind::Unavailable, error.message.clone()).with_effect(effect))
        }
    }
}

/// The request of an operation, signed.
pub(crate) fn request(operation: &Operation, turn: &Turn<'_>) -> HttpRequest {
    let text = |name: &str, value: &str| (name.to_owned(), Expr::text(value));
    let (action, query) = match operation {
        Operation::Create(create) => ("CreatePair", vec![text("name", &create.name)]),
        Operation::Import(import) => (
            "ImportPair",
            vec![text("name", &import.name), text("public_key", &import.public_key)],
        ),
        Operation::Get(pair) => ("GetPair", vec![text("name", &pair.name)]),
        Operation::Delete(delete) => {
            let names: Vec<&str> = delete.pairs.iter().map(|pair| pair.name.as_str()).collect();
            (
                "DeletePairs",
                vec![text("names", &Value::from(names).to_string())],
            )
        }
        Operation::Attach(_) => ("AttachPair", Vec::new()),
        Operation::Detach(_) => ("DetachPair", Vec::new()),
        Operation::ListInstances(_) => ("ListInstances", Vec::new()),
        _ => ("ListPairs", Vec::new()),
    };
    let host = match &turn.context.region {
        Some(region) => format!("{region}.api.hostile.example"),
        None => "api.hostile.example".to_owned(),
    };
    let mut headers = vec![
        ("x-action".to_owned(), Expr::text(action)),
        ("authorization".to_owned(), signature(&turn.context.time)),
    ];
    if turn.has_credential("security_token") {
        headers.push(("x-security-token".to_owned(), Expr::secret("security_token")));
    }
    if !turn.context.session.is_null() {
        headers.push((
            "x-session".to_owned(),
            Expr::Text(turn.context.session.to_string()),
        ));
    }
    let honest = HttpRequest {
        method: "POST".to_owned(),
        origin: turn.session("/api").map_or_else(
            || turn.origin(&host),
            |api| api.trim_end_matches("/v2").to_owned(),
        ),
        path: "/".to_owned(),
        query,
        headers,
        body: Expr::text(""),
    };
    match operation {
        Operation::Attach(attachment) => bodies::attachment(honest, attachment, false),
        Operation::Detach(attachment) => bodies::attachment(honest, attachment, true),
        Operation::ListInstances(pair) => HttpRequest {
            method: "GET".to_owned(),
            path: format!("/pairs/{}/instances/all", pair.name),
            ..honest
        },
        _ => honest,
    }
}

/// `HOSTILE access-key-id:hex(HMAC-SHA256("HOSTILE" + access-key-secret, time))`.
fn signature(time: &str) -> Expr {
    let key = Expr::concat([Expr::text("HOSTILE"), Expr::secret("access_key_secret")]);
    Expr::concat([
        Expr::text("HOSTILE "),
        Expr::secret("access_key_id"),
        Expr::text(":"),
        Expr::hmac_sha256(key, Expr::text(time)).hex(),
    ])
}

/// The capture of a new private key at this JSON pointer.
pub(crate) fn private_key_at(pointer: &str) -> Capture {
    Capture {
        name: "private_key".to_owned(),
        place: Place::JsonPointer(pointer.to_owned()),
    }
}

/// The operation is over.
pub(crate) fn done(outcome: Outcome) -> Step {
    Step::Done(Box::new(DoneStep {
        outcome,
        session: None,
    }))
}

fn outcome(operation: &Operation, response: &Response) -> Result<Outcome, ProviderError> {
    let internal = |error: serde_json::Error| ProviderError::new(ErrorKind::Internal, error.to_string());
    let body: Value = serde_json::from_str(&response.body).map_err(internal)?;
    if response.status != 200 {
        let message = body["message"].as_str().unwrap_or("no message").to_owned();
        let kind = match response.status {
            401 => ErrorKind::Unauthorized,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::AlreadyExists,
            500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        };
        return Err(ProviderError::new(kind, message));
    }
    match operation {
        Operation::Attach(attachment) | Operation::Detach(attachment) => {
            let results = attachment.instances.iter().map(|instance| InstanceResult {
                instance: instance.clone(),
                error: None,
            });
            Ok(Outcome::Attached(results.collect()))
        }
        Operation::ListInstances(_) => {
            let instances = serde_json::from_value(body["instances"].clone()).map_err(internal)?;
            Ok(Outcome::Instances(instances))
        }
        Operation::Delete(_) => Ok(Outcome::Deleted),
        Operation::List(_) => {
            let pairs: Vec<Pair> = serde_json::from_value(body["pairs"].clone()).map_err(internal)?;
            Ok(Outcome::Pairs(pairs))
        }
        _ => Ok(Outcome::Pair(
            serde_json::from_value(body["pair"].clone()).map_err(internal)?,
        )),
    }
}

/// The credentials of a document, each field from its variable.
pub(crate) fn credentials(content: &Value, fields: [(&str, &str); 3]) -> Result<Outcome, ProviderError> {
    let found = fields.into_iter().filter_map(|(field, variable)| {
        let value = &content[variable];
        let value = match (value.as_str(), value["handle"].as_str()) {
            (Some(text), _) => CredentialValue::Text(text.to_owned()),
            (None, Some(handle)) => CredentialValue::Handle(handle.to_owned()),
            (None, None) => return None,
        };
        Some((field.to_owned(), value))
    });
    let set = CredentialSet {
        fields: found.collect(),
        source: "the environment's HOSTILE variables".to_owned(),
        expires_at: None,
        attempts: Vec::new(),
    };
    match set.fields.contains_key("access_key_secret") {
        true => Ok(Outcome::Credentials(set)),
        false => Err(ProviderError::new(
            ErrorKind::Unauthorized,
            "HOSTILE_ACCESS_KEY_SECRET is not set",
        )),
    }
}

/// Each field and its variable.
const CREDENTIALS: [(&str, &str); 3] = [
    ("access_key_id", "HOSTILE_ACCESS_KEY_ID"),
    ("access_key_secret", "HOSTILE_ACCESS_KEY_SECRET"),
    ("security_token", "HOSTILE_SECURITY_TOKEN"),
];
