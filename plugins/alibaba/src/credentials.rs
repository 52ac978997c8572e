//! The vendor's own credential chain, as its SDKs and its command line go through it. The first that holds wins:
//!
//! 1. the environment: `ALIBABA_CLOUD_ACCESS_KEY_ID`, `ALIBABA_CLOUD_ACCESS_KEY_SECRET`, and where it is set
//!    `ALIBABA_CLOUD_SECURITY_TOKEN`;
//! 2. OpenID Connect, when all of its variables are set: not in this version, so it is refused rather than passed over;
//! 3. `~/.aliyun/config.json`, unless `ALIBABA_CLOUD_CLI_PROFILE_DISABLED` is `true`: the profile of
//!    `ALIBABA_CLOUD_PROFILE`, else the file's `current`; modes `AK` and `StsToken`;
//! 4. `~/.alibabacloud/credentials.ini`, or the file of `ALIBABA_CLOUD_CREDENTIALS_FILE`: the section of
//!    `ALIBABA_CLOUD_PROFILE`, else `default`; `type = access_key`.
//!
//! The metadata service of an instance and `ALIBABA_CLOUD_CREDENTIALS_URI`, which follow, are not in this version.
//!
//! An account that names a profile means that one: 1 and 2 are left out, and 3 and 4 look for it alone.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, Document, ErrorKind, Outcome, ProviderError, Step,
};
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{ACCESS_KEY, SECURITY_TOKEN};

/// Names of the sources in the manifests.
const ENVIRONMENT: &str = "environment";
const CONFIG: &str = "config";
const CREDENTIALS_INI: &str = "credentials_ini";

/// The variables that together switch to OpenID Connect.
const OIDC: [&str; 3] = [
    "/ALIBABA_CLOUD_ROLE_ARN",
    "/ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "/ALIBABA_CLOUD_OIDC_TOKEN_FILE",
];

/// The next step on the way to the account's credentials.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when what would win is not in this version; [`ErrorKind::Unauthorized`] with every
/// attempt when nothing is found.
pub fn credentials(credentials: &Credentials, turn: &Turn<'_>) -> Answer {
    let Some(document) = turn.document()? else {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    };
    if document.source == ENVIRONMENT {
        return environment(credentials.profile.as_deref(), document);
    }
    let mut search: Search = turn.state()?;
    let (found, last) = match &*document.source {
        CONFIG => (config(&search, document), false),
        CREDENTIALS_INI => (credentials_ini(&search, document), true),
        other => {
            return Err(ProviderError::new(
                ErrorKind::Internal,
                format!("{other:?} is no source of this chain"),
            ));
        }
    };
    match found {
        Ok(fields) => Ok(done(fields)),
        Err(Miss::Refused(message)) => Err(ProviderError::new(ErrorKind::Unsupported, message)),
        Err(Miss::Absent(reason)) => {
            search.attempts.push(format!("{}: {reason}", document.location));
            if last {
                Err(search.nothing_found())
            } else {
                Ok(Step::read(CREDENTIALS_INI, json!(search)))
            }
        }
    }
}

/// What lasts from step to step.
#[derive(Debug, Deserialize, Serialize)]
struct Search {
    /// The profile to look for; none: each file's own default.
    profile: Option<String>,
    /// Where nothing was found, and why.
    attempts: Vec<String>,
}

/// Why a source gives no credentials.
enum Miss {
    /// It has none; the next source is asked.
    Absent(String),
    /// It has what would win and this version cannot use.
    Refused(String),
}

/// An access key and where it lies.
struct Found {
    id: String,
    secret: CredentialValue,
    token: Option<CredentialValue>,
    source: String,
}

fn environment(profile: Option<&str>, document: &Document) -> Answer {
    let mut search = Search {
        profile: profile.map(str::to_owned),
        attempts: Vec::new(),
    };
    if profile.is_some() {
        search
            .attempts
            .push("environment: left out, since the account names a profile".to_owned());
    } else {
        let id = document.text("/ALIBABA_CLOUD_ACCESS_KEY_ID");
        let secret = document.secret("/ALIBABA_CLOUD_ACCESS_KEY_SECRET");
        let reason = match (id, secret) {
            (Some(id), Some(secret)) => {
                let token = document.secret("/ALIBABA_CLOUD_SECURITY_TOKEN");
                return Ok(done(Found {
                    id: id.to_owned(),
                    secret,
                    token,
                    source: "environment".to_owned(),
                }));
            }
            (None, _) => "ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
            (_, None) => "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not set",
        };
        search.attempts.push(format!("environment: {reason}"));
        if OIDC.iter().all(|variable| document.text(variable).is_some()) {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                "the environment asks for OpenID Connect (ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN, \
                 ALIBABA_CLOUD_OIDC_TOKEN_FILE), which is not in this version: unset one of them, or name a \
                 `profile`, `env`, `file` or `command` in the account's [credentials]",
            ));
        }
        search.profile = document.text("/ALIBABA_CLOUD_PROFILE").map(str::to_owned);
    }
    let disabled = document.text("/ALIBABA_CLOUD_CLI_PROFILE_DISABLED");
    if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let reason = "~/.aliyun/config.json: switched off by ALIBABA_CLOUD_CLI_PROFILE_DISABLED";
        search.attempts.push(reason.to_owned());
        return Ok(Step::read(CREDENTIALS_INI, json!(search)));
    }
    Ok(Step::read(CONFIG, json!(search)))
}

fn config(search: &Search, document: &Document) -> Result<Found, Miss> {
    if !document.found {
        return Err(Miss::Absent("no such file".to_owned()));
    }
    let Some(name) = search.profile.as_deref().or_else(|| document.text("/current")) else {
        return Err(Miss::Absent("it names no `current` profile".to_owned()));
    };
    let profiles = document.content.pointer("/profiles").and_then(Value::as_array);
    let mut profiles = profiles.into_iter().flatten();
    let Some(index) = profiles.position(|profile| profile["name"] == name) else {
        return Err(Miss::Absent(format!("no profile {name:?}")));
    };
    let field = |field| format!("/profiles/{index}/{field}");
    let what = format!("profile {name:?}");
    let mode = document.text(&field("mode")).unwrap_or_default();
    let with_token = match mode {
        "AK" => false,
        "StsToken" => true,
        _ => return Err(refused(document, &what, "mode", mode, "AK and StsToken")),
    };
    let token = with_token
        .then(|| secret(document, &what, &field("sts_token")))
        .transpose()?;
    access_key(
        document,
        what,
        &field("access_key_id"),
        &field("access_key_secret"),
        token,
    )
}

fn credentials_ini(search: &Search, document: &Document) -> Result<Found, Miss> {
    if !document.found {
        return Err(Miss::Absent("no such file".to_owned()));
    }
    let name = search.profile.as_deref().unwrap_or("default");
    if document.content.get(name).is_none_or(Value::is_null) {
        return Err(Miss::Absent(format!("no section [{name}]")));
    }
    let section = name.replace('~', "~0").replace('/', "~1");
    let what = format!("section [{name}]");
    match before_comment(document.text(&format!("/{section}/type"))).unwrap_or_default() {
        "access_key" => access_key(
            document,
            what,
            &format!("/{section}/access_key_id"),
            &format!("/{section}/access_key_secret"),
            None,
        ),
        other => Err(refused(document, &what, "type", other, "access_key")),
    }
}

fn access_key(
    document: &Document,
    what: String,
    id: &str,
    secret_pointer: &str,
    token: Option<CredentialValue>,
) -> Result<Found, Miss> {
    let id = before_comment(document.text(id))
        .ok_or_else(|| Miss::Absent(format!("{what} has no access_key_id")))?
        .to_owned();
    let secret = secret(document, &what, secret_pointer)?;
    Ok(Found {
        id,
        secret,
        token,
        source: format!("{what} of {}", document.location),
    })
}

fn secret(document: &Document, what: &str, pointer: &str) -> Result<CredentialValue, Miss> {
    let field = pointer.rsplit('/').next().unwrap_or(pointer);
    document
        .secret(pointer)
        .ok_or_else(|| Miss::Absent(format!("{what} has no {field}")))
}

fn refused(document: &Document, what: &str, field: &str, value: &str, known: &str) -> Miss {
    let location = &document.location;
    Miss::Refused(format!(
        "{what} of {location} has {field} {value:?}, which is not in this version, only {known}: use a profile of \
         those, or `env`, `file` or `command` in the account's [credentials]"
    ))
}

/// A value without the comment that the vendor's file allows after it.
fn before_comment(text: Option<&str>) -> Option<&str> {
    let value = text?.split('#').next().unwrap_or_default().trim();
    (!value.is_empty()).then_some(value)
}

fn done(found: Found) -> Step {
    let mut fields = BTreeMap::from([
        (ACCESS_KEY.id.to_owned(), CredentialValue::Text(found.id)),
        (ACCESS_KEY.secret.to_owned(), found.secret),
    ]);
    fields.extend(found.token.map(|token| (SECURITY_TOKEN.to_owned(), token)));
    Step::done(Outcome::Credentials(CredentialSet {
        fields,
        source: found.source,
        expires_at: None,
        attempts: Vec::new(),
    }))
}

impl Search {
    fn nothing_found(&self) -> ProviderError {
        let attempts = self.attempts.join("; ");
        ProviderError::new(
            ErrorKind::Unauthorized,
            format!(
                "no credentials found: {attempts}; the metadata service and ALIBABA_CLOUD_CREDENTIALS_URI are not in \
                 this version: run `aliyun configure`, or name `env`, `file` or `command` in the account's [credentials]"
            ),
        )
    }
}
