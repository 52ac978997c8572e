//! IAM: tokens for names and passwords, and the projects of regions. A user's name and password are an access key's id and
//! secret.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::fault;
use super::signature::refused;
use crate::inventory::random_hex;
use crate::refusal::Refusal;
use crate::vendor::{Answer, Call, Claim, Credential, World};
use crate::wire::{Request, hex};

/// How long a token is good for.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Regions with a project. The captured requests are of the first one's.
const REGIONS: [&str; 4] = ["cn-north-4", "cn-east-3", "cn-south-1", "ap-southeast-1"];
const CAPTURED_PROJECT: &str = "0123456789abcdef0123456789abcdef";

/// How the entry of a token begins in the list of access keys: user and project follow.
const TOKEN_ENTRY: &str = "token/";

/// The user that a login names.
pub(super) fn user(request: &Request) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    Some(text(&body, "/auth/identity/password/user/name")?.to_owned())
}

/// Region or project that a login is for, as parameters of the call.
pub(super) fn scope(request: &Request) -> Vec<(String, String)> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let field = |name: &str| {
        let value = text(&body, &format!("/auth/scope/project/{name}"))?;
        Some((name.to_owned(), value.to_owned()))
    };
    ["id", "name"].into_iter().filter_map(field).collect()
}

/// Checks a login's name and password.
pub(super) fn check_password(
    request: &Request,
    keyring: &[Credential],
    now: SystemTime,
) -> Result<Claim, Refusal> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let field = |name: &str| text(&body, &format!("/auth/identity/password/user/{name}"));
    let (Some(name), Some(password), Some(_)) = (field("name"), field("password"), field("domain/name"))
    else {
        return Err(fault(400, "error", "Request body is invalid."));
    };
    let methods = body.pointer("/auth/identity/methods");
    if methods != Some(&json!(["password"])) {
        return Err(fault(400, "error", "Authentication method is invalid."));
    }
    let is_user = |known: &&Credential| {
        known.access_key == name
            && known.secret_key == password
            && known.expires_at.is_none_or(|end| end > now)
    };
    match keyring.iter().find(is_user) {
        Some(user) => Ok(Claim {
            access_key: user.access_key.clone(),
            ..Claim::default()
        }),
        None => Err(fault(401, "error", "The username or password is wrong.")),
    }
}

/// Checks a token.
pub(super) fn check_token(token: &str, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
    let is_it = |known: &&Credential| {
        known.access_key.starts_with(TOKEN_ENTRY)
            && known.session_token.as_deref() == Some(token)
            && known.expires_at.is_some_and(|end| end > now)
    };
    match keyring.iter().find(is_it) {
        Some(known) => Ok(Claim {
            access_key: known.access_key.clone(),
            ..Claim::default()
        }),
        None => Err(refused("decrypt token fail")),
    }
}

/// The project of a token, by its entry; none of an access key.
pub(super) fn project_of_token(entry: &str) -> Option<&str> {
    entry.strip_prefix(TOKEN_ENTRY)?.rsplit('/').next()
}

/// The region whose project this is.
pub(super) fn region_of_project(project: &str) -> Option<&'static str> {
    REGIONS
        .into_iter()
        .find(|region| project_of_region(region) == project)
}

/// Makes a token, which the cloud knows from then on.
pub(super) fn log_in(call: &Call, world: &mut World<'_>) -> Result<Answer, Refusal> {
    let region = match (call.parameters.get("id"), call.parameters.get("name")) {
        (Some(id), _) => region_of_project(id),
        (None, name) => REGIONS.into_iter().find(|region| Some(*region) == name),
    };
    let region = region.ok_or_else(|| fault(400, "error", "The project of the scope does not exist."))?;
    let user = &call.access_key;
    let project = project_of_region(region);
    let ends = world.now + LIFETIME;
    let token = format!("MII{}", random_hex::<48>());
    world.keyring.push(Credential {
        access_key: format!("{TOKEN_ENTRY}{user}/{project}"),
        // Nothing is signed with it.
        secret_key: random_hex::<32>(),
        session_token: Some(token.clone()),
        expires_at: Some(ends),
    });
    let time = |time| humantime::format_rfc3339_micros(time).to_string();
    let body = json!({ "token": {
        "methods": ["password"],
        "issued_at": time(world.now),
        "expires_at": time(ends),
        "user": { "name": user, "domain": { "name": "domain" } },
        "project": { "id": project, "name": region },
    }});
    Ok(Answer {
        status: 201,
        headers: vec![("x-subject-token", token)],
        body,
    })
}

/// The projects of a name.
pub(super) fn projects(call: &Call) -> Answer {
    let wanted = call.parameters.get("name");
    let found = REGIONS
        .into_iter()
        .filter(|region| wanted.is_none_or(|wanted| wanted == *region));
    let projects: Vec<Value> = found
        .map(|region| json!({ "id": project_of_region(region), "name": region, "enabled": true }))
        .collect();
    Answer::from(json!({ "projects": projects }))
}

fn project_of_region(region: &str) -> String {
    match region {
        "cn-north-4" => CAPTURED_PROJECT.to_owned(),
        other => hex(&digest(&SHA256, other.as_bytes()).as_ref()[..16]),
    }
}

fn text<'a>(body: &'a Value, pointer: &str) -> Option<&'a str> {
    body.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
