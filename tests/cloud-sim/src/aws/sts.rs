//! Security Token Service: keys of a role for a time.
//!
//! Any role of any account can be assumed; what a role may do is not told apart. A web identity's token is good where the
//! keyring has an access key whose id is the role's ARN and whose secret is the token.

use std::time::Duration;

use serde_json::{Value, json};

use super::missing;
use crate::inventory::random_hex;
use crate::refusal::Refusal;
use crate::vendor::{Call, Claim, Credential, Parameters, World};
use crate::wire::Request;

/// What it can do.
pub(super) const ACTIONS: [&str; 2] = ["AssumeRole", WITH_WEB_IDENTITY];

/// The namespace of its answers.
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Whether the request is one that carries a token instead of a signature.
pub(super) fn is_unsigned(request: &Request) -> bool {
    let parameters = Parameters(request.parameters().unwrap_or_default());
    request.header("authorization").is_none() && parameters.get("Action") == Some(WITH_WEB_IDENTITY)
}

/// Verifies such a request: its token.
pub(super) fn verify_token(request: &Request, keyring: &[Credential]) -> Result<Claim, Refusal> {
    let parameters = Parameters(request.parameters().unwrap_or_default());
    let role = parameters.get("RoleArn").ok_or_else(|| missing("RoleArn"))?;
    let token = parameters
        .get("WebIdentityToken")
        .ok_or_else(|| missing("WebIdentityToken"))?;
    let known = keyring
        .iter()
        .any(|known| known.access_key == role && known.secret_key == token);
    match known {
        true => Ok(Claim::default()),
        false => Err(Refusal::new(
            400,
            "InvalidIdentityToken",
            "The token is not valid.",
        )),
    }
}

/// Issues an access key.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let invalid = |what: &str| Refusal::new(400, "ValidationError", format!("{what} is not valid."));
    let role = parameters.get("RoleArn").ok_or_else(|| missing("RoleArn"))?;
    let session = parameters
        .get("RoleSessionName")
        .ok_or_else(|| missing("RoleSessionName"))?;
    let parts: Vec<&str> = role.split(':').collect();
    let ["arn", partition, "iam", "", account, name] = parts[..] else {
        return Err(invalid("RoleArn"));
    };
    let name = name
        .strip_prefix("role/")
        .filter(|name| !name.is_empty() && partition.starts_with("aws"))
        .ok_or_else(|| invalid("RoleArn"))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
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
        access_key: format!("ASIA{}", random_hex::<8>().to_ascii_uppercase()),
        secret_key: random_hex::<20>(),
        session_token: Some(format!("FwoG+/{}==", random_hex::<60>())),
        expires_at: Some(expires_at),
    };
    let result = json!({
        "AssumedRoleUser": {
            "Arn": format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}"),
            "AssumedRoleId": format!("AROA{account}:{session}"),
        },
        "Credentials": {
            "AccessKeyId": credential.access_key,
            "SecretAccessKey": credential.secret_key,
            "SessionToken": credential.session_token,
            "Expiration": humantime::format_rfc3339_seconds(expires_at).to_string(),
        },
    });
    world.keyring.push(credential);
    let mut answer = json!({});
    answer[format!("{}Result", call.action)] = result;
    Ok(answer)
}

const WITH_WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";
const DEFAULT_SECONDS: u64 = 3600;
