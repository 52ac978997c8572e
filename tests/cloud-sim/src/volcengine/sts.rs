//! STS: a role's temporary access key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::inventory::random_hex;
use crate::refusal::Refusal;
use crate::vendor::{Call, Credential, World};

/// The one action that is here.
pub(super) const ACTION: &str = "AssumeRole";

/// Seconds that a temporary key is good for: least, default, most.
const DURATION: (u64, u64, u64) = (900, 3600, 43_200);

/// Makes a temporary access key, which the cloud knows from then on.
pub(super) fn assume_role(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let invalid = |name: &str| {
        Refusal::new(
            400,
            "InvalidParameter",
            format!("{name} is missing or not valid."),
        )
    };
    let role = parameters.get("RoleTrn").unwrap_or_default();
    let account_and_name = role
        .strip_prefix("trn:iam::")
        .and_then(|rest| rest.split_once(":role/"));
    if !account_and_name.is_some_and(|(account, name)| !account.is_empty() && !name.is_empty()) {
        return Err(invalid("RoleTrn"));
    }
    let session = parameters
        .get("RoleSessionName")
        .ok_or_else(|| invalid("RoleSessionName"))?;
    let seconds = match parameters.get("DurationSeconds").map(str::parse::<u64>) {
        None => DURATION.1,
        Some(Ok(seconds)) if (DURATION.0..=DURATION.2).contains(&seconds) => seconds,
        Some(_) => return Err(invalid("DurationSeconds")),
    };
    let ends = world.now + Duration::from_secs(seconds);
    let credential = Credential {
        access_key: format!("AKTP{}", random_hex::<12>()),
        secret_key: random_hex::<20>(),
        session_token: Some(format!("STS{}", random_hex::<32>())),
        expires_at: Some(ends),
    };
    let answer = json!({
        "Credentials": {
            "AccessKeyId": credential.access_key,
            "SecretAccessKey": credential.secret_key,
            "SessionToken": credential.session_token,
            "CurrentTime": in_beijing(world.now),
            "ExpiredTime": in_beijing(ends),
        },
        "AssumedRoleUser": { "Trn": format!("{role}/{session}") },
    });
    world.keyring.push(credential);
    Ok(answer)
}

/// A time as the vendor writes it: `2026-01-02T03:04:05+08:00`.
pub(super) fn in_beijing(time: std::time::SystemTime) -> String {
    let there = time + Duration::from_secs(8 * 60 * 60);
    humantime::format_rfc3339_seconds(there)
        .to_string()
        .replace('Z', "+08:00")
}
