//! Where OpenStack's own tools find a cloud:
//!
//! 1. the cloud that the account names as `profile`, else `OS_CLOUD`, of the file `clouds.yaml`;
//! 2. the variables `OS_*`, when one of those that describe a cloud is set (its name is `envvars`, or `OS_CLOUD_NAME`);
//! 3. the only cloud of the file.
//!
//! The file is that of `OS_CLIENT_CONFIG_FILE`, else the first of `clouds.yaml`, `clouds.yml` and `clouds.json` in
//! `~/.config/openstack`, `/etc/xdg/openstack` and `/etc/openstack`; the cloud's fields in `secure.yaml`, searched for
//! likewise (`OS_CLIENT_SECURE_FILE`), count before its own. The tools look into the current directory first; a daemon has none
//! that means anything, so it is left out.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{Document, ErrorKind, Outcome, Profile, ProviderError, Step};
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names of the sources in the manifest.
const ENVIRONMENT: &str = "environment";
const CLOUDS: &str = "clouds";
const SECURE: &str = "secure";

/// The variables that say which cloud, or which part of it, and describe none.
const CHOOSING: [&str; 3] = ["cloud", "cloud_name", "region_name"];

/// How far the search is.
pub(crate) enum Search {
    /// A source must be read.
    Read(Step),
    /// The cloud.
    Found(Cloud),
}

/// One cloud: what it says about itself, and where.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Cloud {
    /// Its name; none: not known yet.
    name: Option<String>,
    /// The fields of the cloud and of its `auth` together: texts, and handles of secrets.
    pub(crate) fields: BTreeMap<String, Value>,
    /// Where it is, in words.
    pub(crate) source: String,
    /// What was looked at before.
    pub(crate) attempts: Vec<String>,
}

/// The next step of the search for a cloud of this name.
pub(crate) fn search(profile: Option<&str>, turn: &Turn<'_>) -> Result<Search, ProviderError> {
    let Some(document) = turn.document()? else {
        return Ok(Search::Read(Step::read(ENVIRONMENT, Value::Null)));
    };
    match &*document.source {
        ENVIRONMENT => environment(profile, document),
        CLOUDS => clouds(turn.state()?, document),
        SECURE => Ok(Search::Found(secure(turn.state()?, document))),
        other => Err(ProviderError::new(
            ErrorKind::Internal,
            format!("{other:?} is no source of this chain"),
        )),
    }
}

fn environment(profile: Option<&str>, document: &Document) -> Result<Search, ProviderError> {
    let own_name = document.text("/OS_CLOUD_NAME").unwrap_or("envvars");
    let name = profile.or_else(|| document.text("/OS_CLOUD"));
    let reason = match (name, variables(document)) {
        (Some(name), _) if name != own_name => format!("left out, since the cloud {name:?} is asked for"),
        (_, Some(cloud)) => return Ok(Search::Found(cloud)),
        (_, None) => "none of the OS_ variables that describe a cloud is set".to_owned(),
    };
    let wanted = Cloud {
        name: name.map(str::to_owned),
        attempts: vec![format!("environment: {reason}")],
        ..Cloud::default()
    };
    Ok(Search::Read(Step::read(CLOUDS, json!(wanted))))
}

/// The cloud that the variables describe: `OS_X` is its field `x`.
fn variables(document: &Document) -> Option<Cloud> {
    let variables = document.content.as_object().into_iter().flatten();
    let fields: BTreeMap<String, Value> = variables
        .filter_map(|(name, value)| Some((name.strip_prefix("OS_")?.to_ascii_lowercase(), value.clone())))
        .filter(|(_, value)| value.as_str() != Some(""))
        .collect();
    let describes = fields.keys().any(|field| !CHOOSING.contains(&&**field));
    describes.then(|| Cloud {
        fields,
        source: "the environment's OS_ variables".to_owned(),
        ..Cloud::default()
    })
}

fn clouds(wanted: Cloud, document: &Document) -> Result<Search, ProviderError> {
    let location = &document.location;
    let nothing = |reason: String| {
        let attempts = wanted.attempts.join("; ");
        let message = format!(
            "no credentials found: {attempts}; {location}: {reason}; (a clouds.yaml in the current directory is not \
             looked at): name a cloud of clouds.yaml as `profile`, or name `env`, `file` or `command` in the account's \
             [credentials]"
        );
        Err(ProviderError::new(ErrorKind::Unauthorized, message))
    };
    if !document.found {
        return nothing("no such file".to_owned());
    }
    let Some(clouds) = document.content.get("clouds").and_then(Value::as_object) else {
        return nothing("it has no clouds".to_owned());
    };
    let names = || clouds.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let name = match (&wanted.name, clouds.keys().next()) {
        (Some(name), _) => name.clone(),
        (None, Some(only)) if clouds.len() == 1 => only.clone(),
        _ => return nothing(format!("it has several clouds ({}), and none is named", names())),
    };
    let Some(cloud) = clouds.get(&name) else {
        return nothing(format!("no cloud {name:?}, only {}", names()));
    };
    let found = Cloud {
        fields: flat(cloud),
        source: format!("cloud {name:?} of {location}"),
        name: Some(name),
        attempts: wanted.attempts,
    };
    Ok(Search::Read(Step::read(SECURE, json!(found))))
}

fn secure(mut cloud: Cloud, document: &Document) -> Cloud {
    let clouds = document.content.get("clouds");
    if let Some(secure) = clouds
        .zip(cloud.name.as_ref())
        .and_then(|(clouds, name)| clouds.get(name))
    {
        cloud.fields.extend(flat(secure));
        cloud.source = format!("{} and {}", cloud.source, document.location);
    }
    cloud
}

/// The clouds of the environment and of the file.
pub(crate) fn profiles(turn: &Turn<'_>) -> Answer {
    let Some(document) = turn.document()? else {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    };
    if document.source == ENVIRONMENT {
        let mut found: Vec<Profile> = Vec::new();
        found.extend(variables(document).map(|cloud| profile(None, &cloud)));
        return Ok(Step::read(CLOUDS, json!((found, document.text("/OS_CLOUD")))));
    }
    let (mut found, first): (Vec<Profile>, Option<String>) = turn.state()?;
    let clouds = document
        .content
        .get("clouds")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut of_file: Vec<Profile> = clouds
        .map(|(name, fields)| {
            let source = format!("cloud {name:?} of {}", document.location);
            let cloud = Cloud {
                fields: flat(fields),
                source,
                ..Cloud::default()
            };
            profile(Some(name.clone()), &cloud)
        })
        .collect();
    of_file.sort_by_key(|profile| first.is_none() || profile.name != first);
    // The cloud of OS_CLOUD comes before the variables, as it does in a login.
    let at = usize::from(first.is_none() && !found.is_empty());
    found.splice(at..at, of_file);
    Ok(Step::done(Outcome::Profiles(found)))
}

fn profile(name: Option<String>, cloud: &Cloud) -> Profile {
    let text = |field: &str| cloud.fields.get(field).and_then(Value::as_str).map(str::to_owned);
    Profile {
        name,
        source: cloud.source.clone(),
        region: text("region_name"),
        settings: BTreeMap::new(),
        unusable: unusable(cloud).map(|(what, _)| format!("{what} is not in this version")),
    }
}

/// What this version cannot honour, and what to do about it.
pub(crate) fn unusable(cloud: &Cloud) -> Option<(String, &'static str)> {
    let text = |field: &str| {
        cloud
            .fields
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let known = [
        "",
        "password",
        "v3password",
        "token",
        "v3token",
        "v3applicationcredential",
    ];
    match (text("profile"), text("verify"), text("auth_type")) {
        (profile, _, _) if !profile.is_empty() => Some((
            format!("profile {profile:?} (a vendor's profile)"),
            "write what it stands for into the cloud",
        )),
        (_, verify, _) if verify.eq_ignore_ascii_case("false") => Some((
            "verify = false".to_owned(),
            "name the cloud's certificate authority as `ca_file` in [network] of keyferry.toml",
        )),
        (_, _, auth_type) if !known.contains(&auth_type) => Some((
            format!("auth_type {auth_type:?}"),
            "known are password, v3password, token, v3token and v3applicationcredential",
        )),
        _ => None,
    }
}

/// The fields of a cloud and of its `auth`.
fn flat(cloud: &Value) -> BTreeMap<String, Value> {
    let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    fields(Some(cloud))
        .into_iter()
        .filter(|(name, _)| name != "auth")
        .chain(fields(cloud.get("auth")))
        .filter(|(_, value)| !value.is_null())
        .collect()
}
