//! Security Token Service, version 2015-04-01: access keys for a time. Every service of the vendor answers it here, since an
//! account's `endpoint` stands for all hosts.
//!
//! Any role of any account can be assumed; what a role may do is not told apart. A token of OpenID Connect is good where
//! the keyring has an access key whose id is the provider's ARN and whose secret is the token.

use std::time::Duration;

use serde_json::{Value, json};

use super::rules::{invalid, required};
use super::{find, signature};
use crate::inventory::random_hex;
use crate::refusal::Refusal;
use crate::vendor::{Call, Claim, Credential, World};
use crate::wire::Request;

/// The version of its API.
pub(super) const VERSION: &str = "2015-04-01";

/// Whether it has this action.
pub(super) fn has(action: &str) -> bool {
    matches!(action, "AssumeRole" | TOKEN_ACTION)
}

/// Whether the request is one that carries a token instead of a signature.
pub(super) fn is_unsigned(request: &Request) -> bool {
    let parameters = request.parameters().unwrap_or_default();
    request.header("authorization").is_none()
        && find(&parameters, "Action").as_deref() == Some(TOKEN_ACTION)
        && find(&parameters, "Signature").is_none()
}

/// Verifies such a request: its clock and its token.
pub(super) fn verify_token(
    request: &Request,
    keyring: &[Credential],
    now: std::time::SystemTime,
) -> Result<Claim, Refusal> {
    let parameters = request.parameters().unwrap_or_default();
    let text = |name: &str| find(&parameters, name).unwrap_or_default();
    let timestamp = text("Timestamp");
    signature::check_time(&timestamp, now)?;
    let (provider, token) = (text("OIDCProviderArn"), text("OIDCToken"));
    let known = keyring
        .iter()
        .any(|known| known.access_key == provider && known.secret_key == token && !token.is_empty());
    if known {
        return Ok(Claim {
            timestamp,
            ..Claim::default()
        });
    }
    Err(Refusal::new(
        400,
        "AuthenticationFail.OIDCToken.Invalid",
        "The OIDC token is not valid.",
    ))
}

/// Issues an access key.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let role = required(parameters, "RoleArn")?;
    let session = required(parameters, "RoleSessionName")?;
    let parts: Vec<&str> = role.split(':').collect();
    let ["acs", "ram", _, account, name] = parts[..] else {
        return Err(invalid("RoleArn"));
    };
    let Some(name) = name.strip_prefix("role/").filter(|name| !name.is_empty()) else {
        return Err(invalid("RoleArn"));
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".@-_".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(allowed) {
        return Err(invalid("RoleSessionName"));
    }
    let seconds = match parameters.get("DurationSeconds") {
        None => DEFAULT_SECONDS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (900..=43_200).contains(seconds))
            .ok_or_else(|| invalid("DurationSeconds"))?,
    };
    let expires_at = world.now + Duration::from_secs(seconds);
    let credential = Credential {
        access_key: format!("STS.{}", random_hex::<10>()),
        secret_key: random_hex::<20>(),
        session_token: Some(format!("CAIS{}", random_hex::<48>())),
        expires_at: Some(expires_at),
    };
    let answer = json!({
        "AssumedRoleUser": {
            "Arn": format!("acs:ram::{account}:role/{name}/{session}"),
            "AssumedRoleId": format!("3{}:{session}", account),
        },
        "Credentials": {
            "AccessKeyId": credential.access_key,
            "AccessKeySecret": credential.secret_key,
            "SecurityToken": credential.session_token,
            "Expiration": humantime::format_rfc3339_seconds(expires_at).to_string(),
        },
    });
    world.keyring.push(credential);
    Ok(answer)
}

const TOKEN_ACTION: &str = "AssumeRoleWithOIDC";
const DEFAULT_SECONDS: u64 = 3600;
