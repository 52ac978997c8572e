//! The vendor's own credential chain, as its SDK goes through it. The first that holds wins:
//!
//! 1. the environment: `VOLCENGINE_ACCESS_KEY`, `VOLCENGINE_SECRET_KEY`, and where it is set `VOLCENGINE_SESSION_TOKEN`;
//! 2. OpenID Connect, when `VOLCENGINE_OIDC_ROLE_TRN` and `VOLCENGINE_OIDC_TOKEN_FILE` are set: not in this version, so it
//!    is refused rather than passed over;
//! 3. `~/.volcengine/config.json` of the command line, or the file of `VOLCENGINE_CLI_CONFIG_FILE`: the profile of
//!    `VOLCENGINE_PROFILE`, else the file's `current`, else `default`; modes `AK`, `StsToken`, `RamRoleArn` (over STS) and
//!    `EcsRole` (over the metadata service);
//! 4. what the vendor's older package reads: `VOLC_ACCESSKEY` and `VOLC_SECRETKEY`, `~/.volc/credentials`,
//!    `~/.volc/config`;
//! 5. the role of the instance, unless `VOLCENGINE_ECS_METADATA_DISABLED` is `true`: the one of
//!    `VOLCENGINE_ECS_METADATA`, else the first.
//!
//! An account that names a profile means that one of 3: everything else is left out.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, Document, ErrorKind, Outcome, ProviderError, Reply, Step,
};
use keyferry_plugin::signing::DocumentKey;
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{ACCESS_KEY, SECURITY_TOKEN, config, metadata, role};

/// Names of the sources in the manifests.
pub(crate) const ENVIRONMENT: &str = "environment";
pub(crate) const CONFIG: &str = "config";
const OLDER_CREDENTIALS: &str = "older_credentials";
const OLDER_CONFIG: &str = "older_config";

/// The next step on the way to the account's credentials.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when what would win is not in this version; [`ErrorKind::Unauthorized`] with every
/// attempt when nothing is found.
pub fn credentials(credentials: &Credentials, turn: &Turn<'_>) -> Answer {
    let Some(reply) = turn.reply else {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    };
    let Reply::Document(document) = reply else {
        let search: Search = turn.state()?;
        return match search.stage {
            Stage::Role => role::assumed(search, turn),
            _ => metadata::answered(search, turn),
        };
    };
    let mut search = match &*document.source {
        ENVIRONMENT => Search {
            profile: credentials.profile.clone(),
            ..Search::default()
        },
        _ => turn.state()?,
    };
    let finding = match &*document.source {
        ENVIRONMENT if search.profile.is_some() => {
            Finding::Absent("left out, since the account names a profile".to_owned())
        }
        ENVIRONMENT => search.environment(document),
        CONFIG => config::find(document, search.profile.as_deref()),
        OLDER_CREDENTIALS => older(document, "/default/access_key_id", "/default/secret_access_key"),
        _ => older(document, "/ak", "/sk"),
    };
    match finding {
        Finding::Absent(reason) => {
            search.attempts.push(format!("{}: {reason}", document.location));
            search.look_on(credentials.profile.is_some(), &document.source)
        }
        Finding::Key(key) => Ok(search.done(key)),
        Finding::Refused(message) => Err(ProviderError::new(ErrorKind::Unsupported, message)),
        Finding::Instance { role } => {
            search.role = Some(role);
            Ok(metadata::ask(search))
        }
        Finding::Role {
            id,
            secret,
            role_trn,
            source,
        } => {
            let key = DocumentKey {
                id: &id,
                secret: &secret,
            };
            search.source = source;
            Ok(role::assume(
                search.waiting_for(Stage::Role),
                turn,
                key,
                &role_trn,
            ))
        }
    }
}

/// What lasts from step to step.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Search {
    /// The profile to look for; none: the file's own default.
    profile: Option<String>,
    /// The role of the instance, where something names it.
    pub(crate) role: Option<String>,
    /// The metadata service's own token.
    pub(crate) token: String,
    metadata_disabled: bool,
    /// The access key of the older package's variables: id and handle.
    older: Option<(String, String)>,
    /// The answer that is waited for.
    pub(crate) stage: Stage,
    /// Where the credentials come from that an answer will hold.
    pub(crate) source: String,
    /// Where nothing was found, and why.
    attempts: Vec<String>,
}

/// An answer that is waited for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) enum Stage {
    #[default]
    Documents,
    MetadataToken,
    MetadataRoles,
    MetadataKey,
    Role,
}

/// What a source holds.
pub(crate) enum Finding {
    Absent(String),
    /// The role of the machine itself.
    Instance {
        role: String,
    },
    Key(Key),
    /// What would win, and is not in this version.
    Refused(String),
    /// A role that is assumed with this key.
    Role {
        id: String,
        secret: String,
        role_trn: String,
        source: String,
    },
}

pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: CredentialValue,
    pub(crate) token: Option<CredentialValue>,
    pub(crate) source: String,
}

impl Search {
    /// The same, when a request was sent.
    pub(crate) fn waiting_for(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    fn environment(&mut self, document: &Document) -> Finding {
        let secret = document.secret("/VOLCENGINE_SECRET_KEY");
        let reason = match (document.text("/VOLCENGINE_ACCESS_KEY"), secret) {
            (Some(id), Some(secret)) => {
                return Finding::Key(Key {
                    id: id.to_owned(),
                    secret,
                    token: document.secret("/VOLCENGINE_SESSION_TOKEN"),
                    source: "environment".to_owned(),
                });
            }
            (None, _) => "VOLCENGINE_ACCESS_KEY is not set",
            (_, None) => "VOLCENGINE_SECRET_KEY is not set",
        };
        let oidc = ["/VOLCENGINE_OIDC_ROLE_TRN", "/VOLCENGINE_OIDC_TOKEN_FILE"];
        if oidc.iter().all(|variable| document.text(variable).is_some()) {
            return Finding::Refused(
                "the environment asks for OpenID Connect (VOLCENGINE_OIDC_ROLE_TRN, VOLCENGINE_OIDC_TOKEN_FILE), which \
                 is not in this version: unset one of them, or name a `profile`, `env`, `file` or `command` in the \
                 account's [credentials]"
                    .to_owned(),
            );
        }
        let older = document
            .text("/VOLC_ACCESSKEY")
            .zip(handle(document, "/VOLC_SECRETKEY"));
        self.older = older.map(|(id, secret)| (id.to_owned(), secret));
        self.profile = document.text("/VOLCENGINE_PROFILE").map(str::to_owned);
        self.role = document.text("/VOLCENGINE_ECS_METADATA").map(str::to_owned);
        let disabled = document.text("/VOLCENGINE_ECS_METADATA_DISABLED");
        self.metadata_disabled = disabled.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Finding::Absent(reason.to_owned())
    }

    /// The source after this one.
    fn look_on(mut self, of_account: bool, source: &str) -> Answer {
        match (source, self.older.take()) {
            (ENVIRONMENT, older) => Ok(Step::read(CONFIG, json!(Self { older, ..self }))),
            (CONFIG, _) if of_account => Err(self.nothing_found()),
            (CONFIG, Some((id, secret))) => Ok(self.done(Key {
                id,
                secret: CredentialValue::Handle(secret),
                token: None,
                source: "environment, VOLC_ACCESSKEY".to_owned(),
            })),
            (CONFIG, None) => Ok(Step::read(OLDER_CREDENTIALS, json!(self))),
            (OLDER_CREDENTIALS, _) => Ok(Step::read(OLDER_CONFIG, json!(self))),
            _ if self.metadata_disabled => {
                self.without_metadata("switched off by VOLCENGINE_ECS_METADATA_DISABLED")
            }
            _ => Ok(metadata::ask(self)),
        }
    }

    /// The end of the chain.
    pub(crate) fn without_metadata(mut self, reason: &str) -> Answer {
        self.attempts.push(format!("metadata service: {reason}"));
        Err(self.nothing_found())
    }

    fn nothing_found(&self) -> ProviderError {
        let attempts = self.attempts.join("; ");
        ProviderError::new(
            ErrorKind::Unauthorized,
            format!(
                "no credentials found: {attempts}; run `ve configure set`, or name `env`, `file` or `command` in the \
                 account's [credentials]"
            ),
        )
    }

    fn done(self, key: Key) -> Step {
        let fields = [
            (ACCESS_KEY.id, Some(CredentialValue::Text(key.id))),
            (ACCESS_KEY.secret, Some(key.secret)),
            (SECURITY_TOKEN, key.token),
        ];
        self.with_fields(fields, key.source, None)
    }

    fn with_fields(
        self,
        fields: [(&str, Option<CredentialValue>); 3],
        source: String,
        expires_at: Option<String>,
    ) -> Step {
        let fields: BTreeMap<String, CredentialValue> = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        Step::done(Outcome::Credentials(CredentialSet {
            fields,
            source,
            expires_at,
            attempts: self.attempts,
        }))
    }
}

/// A temporary key whose secret parts were lifted out of an answer.
pub(crate) fn temporary(mut search: Search, id: &str, expires_at: Option<&str>) -> Step {
    let source = std::mem::take(&mut search.source);
    let fields = [
        (ACCESS_KEY.id, Some(CredentialValue::Text(id.to_owned()))),
        (ACCESS_KEY.secret, Some(CredentialValue::Kept)),
        (SECURITY_TOKEN, Some(CredentialValue::Kept)),
    ];
    search.with_fields(fields, source, expires_at.map(str::to_owned))
}

fn older(document: &Document, id: &str, secret: &str) -> Finding {
    match (document.text(id), document.secret(secret)) {
        _ if !document.found => Finding::Absent("no such file".to_owned()),
        (Some(id), Some(secret)) => Finding::Key(Key {
            id: id.to_owned(),
            secret,
            token: None,
            source: document.location.clone(),
        }),
        _ => Finding::Absent(format!("no {} and {}", &id[1..], &secret[1..])),
    }
}

pub(crate) fn handle(document: &Document, pointer: &str) -> Option<String> {
    match document.secret(pointer)? {
        CredentialValue::Handle(handle) => Some(handle),
        _ => None,
    }
}
