//! Keys that the place where a program runs hands out: a container's address, an instance's metadata service.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{
    CredentialValue, Document, Effect, ErrorKind, HttpStep, ProviderError, Reply, Response,
};
use keyferry_plugin::recipe::{Expr, HttpRequest, origin_and_path};
use keyferry_plugin::signing::percent_encode;
use serde_json::Value;

use super::{Keys, unauthorized};
use crate::{ACCESS_KEY, SESSION_TOKEN};

/// Whether the environment names a container's address.
pub(super) fn names_container(environment: &Document) -> bool {
    [RELATIVE_URI, FULL_URI]
        .iter()
        .any(|variable| environment.text(variable).is_some())
}

/// Whether the container's token is in a file.
pub(super) fn has_token_file(environment: &Document) -> bool {
    environment
        .text("/AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        .is_some()
}

/// Whether the metadata service is switched off.
pub(super) fn is_disabled(environment: &Document) -> bool {
    environment
        .text("/AWS_EC2_METADATA_DISABLED")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Asks the container's address. `token` is the file that holds its token.
pub(super) fn ask_container(
    environment: &Document,
    token: Option<&Document>,
) -> Result<HttpStep, ProviderError> {
    let (origin, path) = match (environment.text(RELATIVE_URI), environment.text(FULL_URI)) {
        (Some(path), _) => (CONTAINER, path),
        (None, Some(uri)) => match origin_and_path(uri) {
            (origin, "") => (origin, "/"),
            both => both,
        },
        (None, None) => return Err(ProviderError::new(ErrorKind::Internal, "no container is named")),
    };
    let token = match token {
        Some(file) => Some(
            file.secret("")
                .ok_or_else(|| unauthorized(format!("{} holds no token for the container", file.location)))?,
        ),
        None => environment.secret("/AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let mut request = HttpRequest::new("GET", origin, path).with_header("accept", "application/json");
    if let Some(CredentialValue::Handle(token)) = token {
        request = request.with_header("authorization", Expr::secret(token));
    }
    Ok(capturing(request))
}

/// The container's answer.
pub(super) fn container_keys(turn: &Turn<'_>) -> Result<Keys, ProviderError> {
    answered_keys(turn, "container".to_owned())
}

/// Asks for leave to ask: version 2 of the metadata service answers no one else.
pub(super) fn ask_token() -> HttpStep {
    HttpStep::new(
        HttpRequest::new("PUT", METADATA, "/latest/api/token")
            .with_header("x-aws-ec2-metadata-token-ttl-seconds", LEAVE_SECONDS),
    )
}

/// The leave, or in words why there is none: this is the end of the chain, and most machines are no instances. It is
/// good on this instance alone and for a minute, and no secret.
pub(super) fn token(turn: &Turn<'_>) -> Result<Result<String, String>, ProviderError> {
    if let Some(Reply::TransportError(error)) = turn.reply {
        return Ok(Err(error.message.clone()));
    }
    let response = response(turn)?;
    let token = response.body.trim();
    Ok(match response.status {
        200 if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_owned()),
        status => Err(format!(
            "no version 2 of the service answers there (status {status})"
        )),
    })
}

/// Asks which role the instance has.
pub(super) fn ask_role(token: &str) -> HttpStep {
    HttpStep::new(HttpRequest::new("GET", METADATA, ROLES).with_header("x-aws-ec2-metadata-token", token))
}

/// The role, or in words why there is none.
pub(super) fn role(turn: &Turn<'_>) -> Result<Result<String, String>, ProviderError> {
    let response = response(turn)?;
    let role = response.body.lines().next().unwrap_or_default().trim();
    match response.status {
        200 if !role.is_empty() => Ok(Ok(role.to_owned())),
        200 | 404 => Ok(Err("the instance has no role".to_owned())),
        status => Err(answered(status)),
    }
}

/// Asks for the keys of the instance's role.
pub(super) fn ask_keys(token: &str, role: &str) -> HttpStep {
    let path = format!("{ROLES}{}", percent_encode(role));
    capturing(HttpRequest::new("GET", METADATA, &path).with_header("x-aws-ec2-metadata-token", token))
}

/// The keys of the instance's role.
pub(super) fn keys(role: &str, turn: &Turn<'_>) -> Result<Keys, ProviderError> {
    answered_keys(turn, format!("instance metadata, role {role}"))
}

fn capturing(request: HttpRequest) -> HttpStep {
    HttpStep::new(request)
        .capturing(ACCESS_KEY.secret, "/SecretAccessKey")
        .capturing(SESSION_TOKEN, "/Token")
}

fn answered_keys(turn: &Turn<'_>, source: String) -> Result<Keys, ProviderError> {
    let response = response(turn)?;
    if response.status != 200 {
        return Err(answered(response.status));
    }
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let text = |name: &str| {
        body[name]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let complete = response.has_captured(ACCESS_KEY.secret) && response.has_captured(SESSION_TOKEN);
    match (text("AccessKeyId"), complete) {
        (Some(id), true) => Ok(Keys {
            id,
            secret: CredentialValue::Kept,
            token: Some(CredentialValue::Kept),
            expires_at: text("Expiration"),
            source,
        }),
        _ => Err(unauthorized(match text("Code") {
            Some(code) => format!("{source}: no keys, but {code}"),
            None => format!("{source}: the answer holds no keys"),
        })),
    }
}

fn response<'a>(turn: &Turn<'a>) -> Result<&'a Response, ProviderError> {
    turn.response(Effect::None)?
        .ok_or_else(|| ProviderError::new(ErrorKind::Internal, "there is no answer to go on with"))
}

fn answered(status: u16) -> ProviderError {
    let kind = if status >= 500 {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Unauthorized
    };
    ProviderError::new(
        kind,
        format!("the service that hands out keys here answered with status {status}"),
    )
}

const RELATIVE_URI: &str = "/AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "/AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Where a relative address is.
const CONTAINER: &str = "http://169.254.170.2";
const METADATA: &str = "http://169.254.169.254";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const LEAVE_SECONDS: &str = "60";
