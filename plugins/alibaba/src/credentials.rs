//! The vendor's own credential chain, as its SDKs and its command line go through it. The first that holds wins:
//!
//! 1. the environment: `ALIBABA_CLOUD_ACCESS_KEY_ID`, `ALIBABA_CLOUD_ACCESS_KEY_SECRET`, and where it is set
//!    `ALIBABA_CLOUD_SECURITY_TOKEN`;
//! 2. OpenID Connect, when `ALIBABA_CLOUD_ROLE_ARN`, `ALIBABA_CLOUD_OIDC_PROVIDER_ARN` and `ALIBABA_CLOUD_OIDC_TOKEN_FILE`
//!    are set;
//! 3. `~/.aliyun/config.json`, unless `ALIBABA_CLOUD_CLI_PROFILE_DISABLED` is `true`: the profile of
//!    `ALIBABA_CLOUD_PROFILE`, else the file's `current` ([`config`]);
//! 4. `~/.alibabacloud/credentials.ini`, or the file of `ALIBABA_CLOUD_CREDENTIALS_FILE`: the section of
//!    `ALIBABA_CLOUD_PROFILE`, else `default` ([`ini`]);
//! 5. the RAM role of the instance, unless `ALIBABA_CLOUD_ECS_METADATA_DISABLED` is `true` ([`metadata`]);
//! 6. the URL of `ALIBABA_CLOUD_CREDENTIALS_URI` ([`uri`]).
//!
//! An account that names a profile means that one: 3 and 4 look for it alone, and nothing else is asked.
//!
//! What a source has leads to an access key in one or more steps: see [`way`]. Where such a step fails, the chain ends with
//! its error: going on would find somebody else's credentials.

use keyferry_plugin::contract::{
    Credentials, Document, ErrorKind, Outcome, Profile, ProviderError, Reply, Step,
};
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod config;
mod environment;
mod ini;
mod metadata;
mod role;
mod uri;
mod way;

use environment::Environment;
use way::{Way, Wins};

/// Names of the sources in the manifests.
const ENVIRONMENT: &str = "environment";
const CONFIG: &str = "config";
const CREDENTIALS_INI: &str = "credentials_ini";
const OIDC_TOKEN: &str = "oidc_token";
const EXTERNAL: &str = "external";

/// The next step on the way to the account's credentials.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when what would win is not in this version; [`ErrorKind::Unauthorized`] with every
/// attempt when nothing is found; those of the vendor when it refuses a role.
pub fn credentials(credentials: &Credentials, turn: &Turn<'_>) -> Answer {
    if turn.reply.is_none() {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    }
    if let Some(Reply::Document(document)) = turn.reply
        && document.source == ENVIRONMENT
    {
        let environment = Environment::read(document);
        let mut search = Search::begin(environment, credentials.profile.clone());
        return match search.look_at_environment(document) {
            Some(way) => way.begin(search, turn),
            None => search.next_source(turn),
        };
    }
    let mut search: Search = turn.state()?;
    if let Some(way) = search.way.take() {
        return way.go_on(search, turn);
    }
    let Some(document) = turn.document()? else {
        return Err(internal("a document is missing"));
    };
    let found = match search.looked_at {
        Source::Config => config::find(&search, document),
        _ => ini::find(&search, document),
    };
    match found {
        Ok(way) => way.begin(search, turn),
        Err(Miss::Refused(message)) => Err(ProviderError::new(ErrorKind::Unsupported, message)),
        Err(Miss::Absent(reason)) => {
            search.attempts.push(format!("{}: {reason}", document.location));
            search.next_source(turn)
        }
    }
}

/// The profiles that the vendor's own tools have on this machine; the chain's own choice first.
///
/// # Errors
/// [`ErrorKind::Internal`] when a reply is out of turn.
pub fn profiles(turn: &Turn<'_>) -> Answer {
    let Some(document) = turn.document()? else {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    };
    if document.source == ENVIRONMENT {
        let environment = Environment::read(document);
        let found: Vec<Profile> = environment.profile(document).into_iter().collect();
        return Ok(match environment.cli_disabled {
            true => Step::read(CREDENTIALS_INI, json!(found)),
            false => Step::read(CONFIG, json!(found)),
        });
    }
    let mut found: Vec<Profile> = turn.state()?;
    if document.source == CONFIG {
        found.extend(config::profiles(document));
        return Ok(Step::read(CREDENTIALS_INI, json!(found)));
    }
    found.extend(ini::profiles(document));
    Ok(Step::done(Outcome::Profiles(found)))
}

/// What lasts from step to step.
#[derive(Debug, Deserialize, Serialize)]
struct Search {
    environment: Environment,
    /// The profile to look for; none: each file's own default.
    profile: Option<String>,
    /// Whether it is the account that names the profile.
    is_named: bool,
    /// What was looked at last.
    looked_at: Source,
    /// Where nothing was found, and why.
    attempts: Vec<String>,
    /// What was found and leads on.
    way: Option<Way>,
}

/// The sources, in the vendor's order.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Source {
    Environment,
    Config,
    CredentialsIni,
    Metadata,
    Uri,
}

/// Why a source gives no credentials.
enum Miss {
    /// It has none; the next source is asked.
    Absent(String),
    /// It has what would win and this version cannot use.
    Refused(String),
}

impl Search {
    fn begin(environment: Environment, profile: Option<String>) -> Self {
        Self {
            is_named: profile.is_some(),
            profile: profile.or_else(|| environment.profile.clone()),
            environment,
            looked_at: Source::Environment,
            attempts: Vec::new(),
            way: None,
        }
    }

    /// The access key of the environment, or the role that it asks for.
    fn look_at_environment(&mut self, document: &Document) -> Option<Way> {
        if self.is_named {
            self.missed("environment: left out, since the account names a profile");
            return None;
        }
        match self.environment.access_key(document) {
            Ok(way) => return Some(way),
            Err(reason) => self.missed(&format!("environment: {reason}")),
        }
        let way = self.environment.open_id_connect();
        if way.is_none() {
            self.missed("OpenID Connect: its variables are not all set");
        }
        way
    }

    /// Looks at the source after the last one.
    fn next_source(mut self, turn: &Turn<'_>) -> Answer {
        self.looked_at = match self.looked_at {
            Source::Environment => Source::Config,
            Source::Config => Source::CredentialsIni,
            Source::CredentialsIni if self.is_named => return Err(self.nothing_found()),
            Source::CredentialsIni => Source::Metadata,
            Source::Metadata => Source::Uri,
            Source::Uri => return Err(self.nothing_found()),
        };
        match self.looked_at {
            Source::Config if self.environment.cli_disabled => {
                self.missed("~/.aliyun/config.json: switched off by ALIBABA_CLOUD_CLI_PROFILE_DISABLED");
                self.next_source(turn)
            }
            Source::Environment | Source::Config => Ok(Step::read(CONFIG, json!(self))),
            Source::CredentialsIni => Ok(Step::read(CREDENTIALS_INI, json!(self))),
            Source::Metadata if self.environment.metadata_disabled => {
                self.missed("metadata service: switched off by ALIBABA_CLOUD_ECS_METADATA_DISABLED");
                self.next_source(turn)
            }
            Source::Metadata => Way::metadata(
                self.environment.metadata_role.clone(),
                "the RAM role of the instance".to_owned(),
                Wins::IfThere,
            )
            .begin(self, turn),
            Source::Uri => match self.environment.credentials_uri.clone() {
                Some(uri) => Way::uri(&uri)?.begin(self, turn),
                None => {
                    self.missed("ALIBABA_CLOUD_CREDENTIALS_URI: not set");
                    self.next_source(turn)
                }
            },
        }
    }

    fn missed(&mut self, words: &str) {
        self.attempts.push(words.to_owned());
    }

    fn nothing_found(&self) -> ProviderError {
        let attempts = self.attempts.join("; ");
        ProviderError::new(
            ErrorKind::Unauthorized,
            format!(
                "no credentials found: {attempts}: run `aliyun configure`, or name `env`, `file` or `command` in the \
                 account's [credentials]"
            ),
        )
    }
}

/// A value without the comment that the vendor's files allow after it.
fn before_comment(text: Option<&str>) -> Option<&str> {
    let value = text?.split('#').next().unwrap_or_default().trim();
    (!value.is_empty()).then_some(value)
}

fn refused(document: &Document, what: &str, field: &str, value: &str, known: &str) -> Miss {
    let location = &document.location;
    Miss::Refused(format!(
        "{what} of {location} has {field} {value:?}, which is not in this version, only {known}: use a profile of \
         those, or `env`, `file` or `command` in the account's [credentials]"
    ))
}

fn internal(words: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Internal, words)
}
