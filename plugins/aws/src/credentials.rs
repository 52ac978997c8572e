//! The vendor's own credential chain, as its SDKs and its command line go through it. The first that holds wins:
//!
//! 1. the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and where it is set `AWS_SECURITY_TOKEN` or
//!    `AWS_SESSION_TOKEN`, with `AWS_CREDENTIAL_EXPIRATION`;
//! 2. a profile with `role_arn`: the role, assumed with the keys of its `source_profile` or `credential_source`;
//! 3. web identity: `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`;
//! 4. the profile's keys in `~/.aws/credentials`, its `credential_process`, its keys in `~/.aws/config`;
//! 5. the container's address: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `AWS_CONTAINER_CREDENTIALS_FULL_URI`;
//! 6. the instance's metadata service, version 2, unless `AWS_EC2_METADATA_DISABLED` is `true`.
//!
//! The profile is that of `AWS_DEFAULT_PROFILE`, else of `AWS_PROFILE`, else `default`; the files are those of
//! `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` where these are set. An account that names a profile means that one:
//! the keys and the web identity of the environment are left out. Profiles that want a person (single sign-on, `aws login`,
//! a one-time code) or name a token's file are refused rather than passed over.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, Document, ErrorKind, Outcome, Profile, ProviderError, Step,
};
use keyferry_plugin::recipe::Expr;
use keyferry_plugin::signing::DocumentKey;
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod metadata;
mod plan;
mod profiles;
mod roles;

use plan::{Base, Plan};
use profiles::Profiles;
use roles::Role;

use crate::{ACCESS_KEY, SESSION_TOKEN};

/// Names of the sources in the manifests.
const ENVIRONMENT: &str = "environment";
const CREDENTIALS_FILE: &str = "credentials_file";
const CONFIG_FILE: &str = "config_file";
const WEB_IDENTITY_TOKEN: &str = "web_identity_token";
const CONTAINER_TOKEN: &str = "container_token";

/// The next step on the way to the account's credentials.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when what would win is not in this version; [`ErrorKind::Unauthorized`] with every attempt when
/// nothing is found, and when what would win is incomplete.
pub fn credentials(credentials: &Credentials, turn: &Turn<'_>) -> Answer {
    if turn.reply.is_none() {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    }
    if turn.state.is_null() {
        return Chain::begin(credentials.profile.clone(), document(turn)?);
    }
    let chain: Chain = turn.state()?;
    chain.go_on(turn)
}

/// The next step on the way to what the vendor's tools have on this machine.
///
/// # Errors
/// None but that the reply is not a document.
pub fn profiles(turn: &Turn<'_>) -> Answer {
    let mut documents: Vec<Document> = match turn.reply {
        None => Vec::new(),
        Some(_) => turn.state()?,
    };
    documents.extend(turn.document()?.cloned());
    if let Some(&source) = [ENVIRONMENT, CREDENTIALS_FILE, CONFIG_FILE].get(documents.len()) {
        return Ok(Step::read(source, json!(documents)));
    }
    let files = documents.split_off(1);
    let environment = &documents[0];
    let profiles = Profiles::new(&files);
    let mut found = Vec::new();
    if plan::environment_counts(environment) {
        found.push(Profile {
            source: "environment".to_owned(),
            ..Profile::default()
        });
    }
    let (active, _) = plan::profile_name(None, environment);
    let mut names = profiles.names();
    names.sort_by_key(|name| *name != active);
    for name in names {
        let unusable = match Plan::of(&profiles, environment, name, true) {
            Ok(None) => continue,
            Ok(Some(_)) => None,
            Err(error) => Some(error.message),
        };
        let profile = profiles.profile(name);
        found.push(Profile {
            name: Some(name.to_owned()),
            source: profile.source(),
            region: profile.text("region").map(str::to_owned),
            unusable,
            ..Profile::default()
        });
    }
    Ok(Step::done(Outcome::Profiles(found)))
}

/// An access key and where it lies.
#[derive(Clone, Debug, PartialEq)]
struct Keys {
    id: String,
    secret: CredentialValue,
    token: Option<CredentialValue>,
    expires_at: Option<String>,
    source: String,
}

/// What lasts from step to step.
#[derive(Debug, Deserialize, Serialize)]
struct Chain {
    /// The profile that the account names.
    named: Option<String>,
    environment: Document,
    /// The credentials file, then the config file.
    files: Vec<Document>,
    /// Where nothing was found, and why.
    attempts: Vec<String>,
    /// Roles to assume with the keys, the first one first.
    roles: Vec<Role>,
    stage: Stage,
}

/// What the reply to come is.
#[derive(Debug, Deserialize, Serialize)]
enum Stage {
    Container,
    ContainerToken,
    Files,
    MetadataKeys { role: String },
    MetadataRole { token: String },
    MetadataToken,
    Process { profile: String },
    Role { source: String },
    WebIdentity { role: Role },
    WebIdentityToken { role: Role },
}

impl Chain {
    fn begin(named: Option<String>, environment: &Document) -> Answer {
        let mut chain = Self {
            named,
            environment: environment.clone(),
            files: Vec::new(),
            attempts: Vec::new(),
            roles: Vec::new(),
            stage: Stage::Files,
        };
        if chain.named.is_some() {
            let reason = "environment: left out, since the account names a profile";
            chain.attempts.push(reason.to_owned());
        } else if let Some(keys) = plan::environment_keys(environment)? {
            return Ok(chain.done(keys));
        } else {
            chain
                .attempts
                .push("environment: AWS_ACCESS_KEY_ID is not set".to_owned());
        }
        Ok(chain.read(CREDENTIALS_FILE))
    }

    fn go_on(mut self, turn: &Turn<'_>) -> Answer {
        match &self.stage {
            Stage::Files => {
                self.files.push(document(turn)?.clone());
                if self.files.len() == 1 {
                    return Ok(self.read(CONFIG_FILE));
                }
                self.search(turn)
            }
            Stage::Process { profile } => {
                let keys = plan::printed_keys(profile, document(turn)?)?;
                self.found(keys, turn)
            }
            Stage::WebIdentityToken { role } => {
                let role = role.clone();
                let step = roles::assume_with_web_identity(&role, document(turn)?, turn)?;
                self.stage = Stage::WebIdentity { role };
                Ok(step.with_state(json!(self)).into())
            }
            Stage::WebIdentity { role } => {
                let keys = roles::keys_of_web_identity(role, turn)?;
                self.found(keys, turn)
            }
            Stage::Role { source } => {
                let keys = roles::keys(source, turn)?;
                self.found(keys, turn)
            }
            Stage::ContainerToken => {
                let step = metadata::ask_container(&self.environment, Some(document(turn)?))?;
                self.stage = Stage::Container;
                Ok(step.with_state(json!(self)).into())
            }
            Stage::Container => {
                let keys = metadata::container_keys(turn)?;
                self.found(keys, turn)
            }
            Stage::MetadataToken => match metadata::token(turn)? {
                Ok(token) => {
                    let step = metadata::ask_role(&token);
                    self.stage = Stage::MetadataRole { token };
                    Ok(step.with_state(json!(self)).into())
                }
                Err(reason) => self.nothing_found(format!("instance metadata: {reason}")),
            },
            Stage::MetadataRole { token } => match metadata::role(turn)? {
                Ok(role) => {
                    let step = metadata::ask_keys(token, &role);
                    self.stage = Stage::MetadataKeys { role };
                    Ok(step.with_state(json!(self)).into())
                }
                Err(reason) => self.nothing_found(format!("instance metadata: {reason}")),
            },
            Stage::MetadataKeys { role } => {
                let keys = metadata::keys(role, turn)?;
                self.found(keys, turn)
            }
        }
    }

    /// Looks at the profile, once both files are read.
    fn search(mut self, turn: &Turn<'_>) -> Answer {
        let profiles = Profiles::new(&self.files);
        let (name, chosen) = plan::profile_name(self.named.as_deref(), &self.environment);
        let name = name.to_owned();
        if chosen && !profiles.has(&name) {
            let places = profiles.locations();
            let message = format!(
                "there is no profile {name:?} in {places}: correct the profile's name, or make it with `aws configure --profile {name}`"
            );
            return Err(ProviderError::new(ErrorKind::Unauthorized, message));
        }
        if let Some(plan) = Plan::of(&profiles, &self.environment, &name, self.named.is_some())? {
            return self.follow(plan, turn);
        }
        let misses = profiles.misses(&name);
        self.attempts.extend(misses);
        if metadata::names_container(&self.environment) {
            return self.follow(Plan::from(Base::Container), turn);
        }
        let reason = "container: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor _FULL_URI is set";
        self.attempts.push(reason.to_owned());
        self.follow(Plan::from(Base::Metadata), turn)
    }

    fn follow(mut self, plan: Plan, turn: &Turn<'_>) -> Answer {
        self.roles = plan.roles;
        match plan.base {
            Base::Keys(keys) => self.found(keys, turn),
            Base::Process {
                profile,
                source,
                field,
            } => {
                self.stage = Stage::Process { profile };
                Ok(Step::run(source, &field, json!(self)))
            }
            Base::WebIdentity(role) => {
                self.stage = Stage::WebIdentityToken { role };
                Ok(self.read(WEB_IDENTITY_TOKEN))
            }
            Base::Container if metadata::has_token_file(&self.environment) => {
                self.stage = Stage::ContainerToken;
                Ok(self.read(CONTAINER_TOKEN))
            }
            Base::Container => {
                let step = metadata::ask_container(&self.environment, None)?;
                self.stage = Stage::Container;
                Ok(step.with_state(json!(self)).into())
            }
            Base::Metadata if metadata::is_disabled(&self.environment) => {
                self.nothing_found("instance metadata: switched off by AWS_EC2_METADATA_DISABLED".to_owned())
            }
            Base::Metadata => {
                self.stage = Stage::MetadataToken;
                Ok(metadata::ask_token().with_state(json!(self)).into())
            }
        }
    }

    /// Keys were found: they are it, unless there are roles to assume with them.
    fn found(mut self, keys: Keys, turn: &Turn<'_>) -> Answer {
        if self.roles.is_empty() {
            return Ok(self.done(keys));
        }
        let role = self.roles.remove(0);
        let step = roles::assume(&role, &keys, turn)?;
        self.stage = Stage::Role {
            source: format!("role {} by {}", role.arn, keys.source),
        };
        Ok(step.with_state(json!(self)).into())
    }

    fn read(self, source: &str) -> Step {
        Step::read(source, json!(self))
    }

    fn done(self, keys: Keys) -> Step {
        let mut fields = BTreeMap::from([
            (ACCESS_KEY.id.to_owned(), CredentialValue::Text(keys.id)),
            (ACCESS_KEY.secret.to_owned(), keys.secret),
        ]);
        fields.extend(keys.token.map(|token| (SESSION_TOKEN.to_owned(), token)));
        Step::done(Outcome::Credentials(CredentialSet {
            fields,
            source: keys.source,
            expires_at: keys.expires_at,
            attempts: self.attempts,
        }))
    }

    fn nothing_found(mut self, last: String) -> Answer {
        self.attempts.push(last);
        let attempts = self.attempts.join("; ");
        Err(ProviderError::new(
            ErrorKind::Unauthorized,
            format!(
                "no credentials found: {attempts}: run `aws configure`, or name `env`, `file` or `command` in the account's \
                 [credentials]"
            ),
        ))
    }
}

impl Keys {
    /// What a request is signed with.
    fn key(&self) -> DocumentKey<'_> {
        DocumentKey {
            id: &self.id,
            secret: name(ACCESS_KEY.secret, &self.secret),
        }
    }

    fn token(&self) -> Option<Expr> {
        let token = self.token.as_ref()?;
        Some(Expr::secret(name(SESSION_TOKEN, token)))
    }
}

/// What a secret is called in a recipe: a document's by its handle, a captured one by its field.
fn name<'a>(field: &'a str, secret: &'a CredentialValue) -> &'a str {
    match secret {
        CredentialValue::Handle(handle) => handle,
        CredentialValue::Kept | CredentialValue::Text(_) => field,
    }
}

fn document<'a>(turn: &Turn<'a>) -> Result<&'a Document, ProviderError> {
    turn.document()?
        .ok_or_else(|| ProviderError::new(ErrorKind::Internal, "there is no document to go on with"))
}

fn unauthorized(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorKind::Unauthorized, message)
}
