//! What a profile leads to: keys, and the roles to assume with them.

use keyferry_plugin::contract::{Document, ErrorKind, ProviderError};
use serde_json::Value;

use super::profiles::{Profile, Profiles};
use super::roles::Role;
use super::{CONFIG_FILE, CREDENTIALS_FILE, Keys, metadata, unauthorized};

/// Where keys come from, and the roles to assume with them, the first one first.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) base: Base,
    pub(super) roles: Vec<Role>,
}

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Base {
    Container,
    Keys(Keys),
    Metadata,
    /// What the command in this field of this source prints.
    Process {
        profile: String,
        source: &'static str,
        field: String,
    },
    /// The role itself, for a token.
    WebIdentity(Role),
}

impl From<Base> for Plan {
    fn from(base: Base) -> Self {
        Self {
            base,
            roles: Vec::new(),
        }
    }
}

impl Plan {
    /// What a profile leads to; none where it has nothing. `named`: the account names it, so that the environment's web
    /// identity does not count.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what is not in this version, [`ErrorKind::Invalid`] for what contradicts itself,
    /// [`ErrorKind::Unauthorized`] for what is incomplete.
    pub(super) fn of(
        profiles: &Profiles<'_>,
        environment: &Document,
        name: &str,
        named: bool,
    ) -> Result<Option<Self>, ProviderError> {
        let search = Search {
            profiles,
            environment,
        };
        let profile = profiles.profile(name);
        if has_role(&profile) {
            return search.role(name, &profile, &mut vec![name.to_owned()]).map(Some);
        }
        if !named && let Some(role) = web_identity(environment)? {
            return Ok(Some(Base::WebIdentity(role).into()));
        }
        search.keys(name, &profile)
    }
}

struct Search<'a> {
    profiles: &'a Profiles<'a>,
    environment: &'a Document,
}

impl Search<'_> {
    /// The role of a profile, with what it is assumed with. `visited` are the profiles on the way here, itself the last.
    fn role(
        &self,
        name: &str,
        profile: &Profile<'_>,
        visited: &mut Vec<String>,
    ) -> Result<Plan, ProviderError> {
        let role = Role::of(profile, name)?;
        let from = (profile.text("source_profile"), profile.text("credential_source"));
        let mut plan = match from {
            (Some(source), None) => self.source_profile(name, source, visited)?,
            (None, Some(source)) => self.credential_source(name, source)?,
            (Some(_), Some(_)) => {
                let message =
                    format!("profile {name:?} has both source_profile and credential_source: remove one");
                return Err(invalid(message));
            }
            (None, None) => {
                let message = format!(
                    "profile {name:?} has role_arn, but neither source_profile nor credential_source"
                );
                return Err(invalid(message));
            }
        };
        plan.roles.push(role);
        Ok(plan)
    }

    fn source_profile(
        &self,
        name: &str,
        source: &str,
        visited: &mut Vec<String>,
    ) -> Result<Plan, ProviderError> {
        if !self.profiles.has(source) {
            let places = self.profiles.locations();
            let message = format!("profile {name:?} has source_profile {source:?}, which is not in {places}");
            return Err(invalid(message));
        }
        let profile = self.profiles.profile(source);
        // A profile may name itself: its keys, then its role.
        let itself = source == name && profile.has_keys();
        if visited.iter().any(|known| known == source) && !itself {
            let message = format!(
                "the source_profile of profile {name:?} leads in a circle: {}",
                visited.join(", ")
            );
            return Err(invalid(message));
        }
        visited.push(source.to_owned());
        if has_role(&profile) && !profile.has_keys() {
            return self.role(source, &profile, visited);
        }
        self.keys(source, &profile)?.ok_or_else(|| {
            unauthorized(format!(
                "profile {source:?}, which profile {name:?} builds on, has no keys"
            ))
        })
    }

    fn credential_source(&self, name: &str, source: &str) -> Result<Plan, ProviderError> {
        match &*source.to_ascii_lowercase() {
            "environment" => match environment_keys(self.environment)? {
                Some(keys) => Ok(Base::Keys(keys).into()),
                None => Err(unauthorized(format!(
                    "profile {name:?} takes its keys from the environment, where AWS_ACCESS_KEY_ID is not set"
                ))),
            },
            "ec2instancemetadata" => Ok(Base::Metadata.into()),
            "ecscontainer" if metadata::names_container(self.environment) => Ok(Base::Container.into()),
            "ecscontainer" => Err(unauthorized(format!(
                "profile {name:?} takes its keys from the container, of which the environment names no address"
            ))),
            _ => Err(invalid(format!(
                "profile {name:?} has credential_source {source:?}; there are Ec2InstanceMetadata, EcsContainer and Environment"
            ))),
        }
    }

    /// What a profile has besides a role.
    fn keys(&self, name: &str, profile: &Profile<'_>) -> Result<Option<Plan>, ProviderError> {
        if profile.text("web_identity_token_file").is_some() {
            return Err(unsupported(format!(
                "profile {name:?} has a web_identity_token_file, which is not in this version: set \
                 AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN for the daemon, and name no profile"
            )));
        }
        let wants_person = [
            ("sso_session", "single sign-on"),
            ("sso_start_url", "single sign-on"),
            ("login_session", "a login in the browser"),
        ];
        let refused = |fields: &[(&str, &str)]| {
            let mut fields = fields.iter();
            let (_, what) = fields.find(|(field, _)| profile.text(field).is_some())?;
            Some(unsupported(format!(
                "profile {name:?} wants {what}, which is not in this version: give another profile \
                 `credential_process = aws configure export-credentials --profile {name}`, and name that one"
            )))
        };
        if let Some(error) = refused(&wants_person[..2]) {
            return Err(error);
        }
        if let Some(keys) = profile.keys(CREDENTIALS_FILE).map_err(unauthorized)? {
            return Ok(Some(Base::Keys(keys).into()));
        }
        if let Some(error) = refused(&wants_person[2..]) {
            return Err(error);
        }
        if let Some((source, field)) = profile.command() {
            let source = if source == CONFIG_FILE {
                CONFIG_FILE
            } else {
                CREDENTIALS_FILE
            };
            let profile = name.to_owned();
            return Ok(Some(
                Base::Process {
                    profile,
                    source,
                    field,
                }
                .into(),
            ));
        }
        let keys = profile.keys(CONFIG_FILE).map_err(unauthorized)?;
        Ok(keys.map(|keys| Base::Keys(keys).into()))
    }
}

/// The profile in force, and whether somebody chose it.
pub(super) fn profile_name<'a>(named: Option<&'a str>, environment: &'a Document) -> (&'a str, bool) {
    let chosen = named
        .or_else(|| environment.text("/AWS_DEFAULT_PROFILE"))
        .or_else(|| environment.text("/AWS_PROFILE"));
    (chosen.unwrap_or("default"), chosen.is_some())
}

/// The keys of the environment; none where there is no id.
pub(super) fn environment_keys(environment: &Document) -> Result<Option<Keys>, ProviderError> {
    let Some(id) = environment.text("/AWS_ACCESS_KEY_ID") else {
        return Ok(None);
    };
    let secret = environment.secret("/AWS_SECRET_ACCESS_KEY").ok_or_else(|| {
        unauthorized(
            "the environment has AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY: set both, or neither",
        )
    })?;
    let token = environment
        .secret("/AWS_SECURITY_TOKEN")
        .or_else(|| environment.secret("/AWS_SESSION_TOKEN"));
    Ok(Some(Keys {
        id: id.to_owned(),
        secret,
        token,
        expires_at: environment.text("/AWS_CREDENTIAL_EXPIRATION").map(str::to_owned),
        source: "environment".to_owned(),
    }))
}

/// The keys that a profile's command printed.
pub(super) fn printed_keys(profile: &str, printed: &Document) -> Result<Keys, ProviderError> {
    let wrong = |what: &str| {
        unauthorized(format!(
            "the credential_process of profile {profile:?} printed {what}"
        ))
    };
    match printed.content.pointer("/Version").and_then(Value::as_u64) {
        Some(1) => {}
        _ => return Err(wrong("no `\"Version\": 1`")),
    }
    Ok(Keys {
        id: printed
            .text("/AccessKeyId")
            .ok_or_else(|| wrong("no AccessKeyId"))?
            .to_owned(),
        secret: printed
            .secret("/SecretAccessKey")
            .ok_or_else(|| wrong("no SecretAccessKey"))?,
        token: printed.secret("/SessionToken"),
        expires_at: printed.text("/Expiration").map(str::to_owned),
        source: format!("credential_process of profile {profile:?}"),
    })
}

/// Whether the chain finds something before or after the profiles by what the environment says.
pub(super) fn environment_counts(environment: &Document) -> bool {
    matches!(environment_keys(environment), Ok(Some(_)))
        || matches!(web_identity(environment), Ok(Some(_)))
        || metadata::names_container(environment)
}

/// The role of the environment's web identity.
fn web_identity(environment: &Document) -> Result<Option<Role>, ProviderError> {
    if environment.text("/AWS_WEB_IDENTITY_TOKEN_FILE").is_none() {
        return Ok(None);
    }
    let arn = environment.text("/AWS_ROLE_ARN").ok_or_else(|| {
        unauthorized(
            "the environment has AWS_WEB_IDENTITY_TOKEN_FILE without AWS_ROLE_ARN: set both, or neither",
        )
    })?;
    Ok(Some(Role::new(arn, environment.text("/AWS_ROLE_SESSION_NAME"))))
}

/// A token's file makes a role one of web identity.
fn has_role(profile: &Profile<'_>) -> bool {
    profile.text("role_arn").is_some() && profile.text("web_identity_token_file").is_none()
}

fn invalid(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Invalid, message)
}

fn unsupported(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, message)
}
