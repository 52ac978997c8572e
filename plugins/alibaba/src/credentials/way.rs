//! How what a source has leads to an access key: a beginning (an access key, a token, the instance's role, a command, a URL),
//! then the roles to assume, each with the access key before it.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Document, ErrorKind, Outcome, ProviderError, Step,
};
use keyferry_plugin::recipe::Expr;
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metadata::Metadata;
use super::role::{self, Role};
use super::{CONFIG, EXTERNAL, OIDC_TOKEN, Search, internal, uri};
use crate::call::Signer;
use crate::{ACCESS_KEY, SECURITY_TOKEN};

/// An access key: its id, and what stands for its secrets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: CredentialValue,
    pub(super) token: Option<CredentialValue>,
}

/// The rest of the way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Way {
    stage: Stage,
    /// The roles to assume, the next one first.
    roles: Vec<Role>,
    /// Where it began, in words.
    source: String,
    /// When the access key ends, where known.
    expires_at: Option<String>,
    wins: Wins,
}

/// What happens when the way leads nowhere.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Wins {
    /// An error: somebody asked for it.
    Always,
    /// The next source is asked: nobody said that there is anything.
    IfThere,
}

/// What was asked for last; at first, what is to be asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
enum Stage {
    /// Nothing: this access key is there.
    Key(Key),
    /// The output of the command at this pointer of the config file.
    Command(String),
    /// The file with the token for this role.
    Token(Role),
    /// This role, by the token.
    OpenIdConnect(Role),
    /// The role of the instance.
    Metadata(Metadata),
    /// The credentials at this URL.
    Uri(String),
    /// This role, by the access key before it.
    Assume(Role),
}

impl Way {
    pub(super) fn key(key: Key, source: String) -> Self {
        Self::new(Stage::Key(key), source)
    }

    pub(super) fn command(pointer: String, source: String) -> Self {
        Self::new(Stage::Command(pointer), source)
    }

    pub(super) fn open_id_connect(role: Role, source: String) -> Self {
        Self::new(Stage::Token(role), source)
    }

    /// The instance's role of this name; none: the one it has.
    pub(super) fn metadata(role: Option<String>, source: String, wins: Wins) -> Self {
        Self {
            wins,
            ..Self::new(Stage::Metadata(Metadata::new(role)), source)
        }
    }

    pub(super) fn uri(url: &str) -> Result<Self, ProviderError> {
        uri::check(url)?;
        let source = "ALIBABA_CLOUD_CREDENTIALS_URI".to_owned();
        Ok(Self::new(Stage::Uri(url.to_owned()), source))
    }

    fn new(stage: Stage, source: String) -> Self {
        Self {
            stage,
            roles: Vec::new(),
            source,
            expires_at: None,
            wins: Wins::Always,
        }
    }

    /// The same; this role is assumed at its end.
    pub(super) fn assuming(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    pub(super) fn named(self, source: String) -> Self {
        Self { source, ..self }
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The first step.
    pub(super) fn begin(self, search: Search, turn: &Turn<'_>) -> Answer {
        match self.stage.clone() {
            Stage::Key(key) => self.arrive(key, search, turn),
            Stage::Command(pointer) => Ok(Step::run(CONFIG, &pointer, self.kept_in(search))),
            Stage::Token(_) => Ok(Step::read(OIDC_TOKEN, self.kept_in(search))),
            Stage::Metadata(metadata) => {
                let step = metadata.send();
                Ok(step.with_state(self.kept_in(search)).into())
            }
            Stage::Uri(url) => Ok(uri::send(&url).with_state(self.kept_in(search)).into()),
            Stage::OpenIdConnect(_) | Stage::Assume(_) => Err(internal("a way begins in its middle")),
        }
    }

    /// The step after what the last one led to.
    pub(super) fn go_on(mut self, mut search: Search, turn: &Turn<'_>) -> Answer {
        match self.stage.clone() {
            Stage::Token(role) => {
                let document = turn
                    .document()?
                    .ok_or_else(|| internal("a document is missing"))?;
                let token = document.found.then(|| document.secret("")).flatten();
                let Some(CredentialValue::Handle(token)) = token else {
                    let location = &document.location;
                    return Err(ProviderError::new(
                        ErrorKind::Unauthorized,
                        format!("{}: there is no token in {location}", self.source),
                    ));
                };
                let step = role::send_with_token(&role, &token, turn)?;
                self.stage = Stage::OpenIdConnect(role);
                Ok(step.with_state(self.kept_in(search)).into())
            }
            Stage::Command(_) => {
                let document = turn
                    .document()?
                    .ok_or_else(|| internal("a document is missing"))?;
                let (key, expires_at) = external(document, &self.source)?;
                self.expires_at = expires_at;
                self.arrive(key, search, turn)
            }
            Stage::OpenIdConnect(role) => {
                let issued = role::read(turn, "AssumeRoleWithOIDC", &self.source)?;
                self.was_issued(issued.expires_at, &role);
                self.arrive(issued.key, search, turn)
            }
            Stage::Assume(role) => {
                let issued = role::read(turn, "AssumeRole", &self.source)?;
                self.was_issued(issued.expires_at, &role);
                self.arrive(issued.key, search, turn)
            }
            Stage::Uri(url) => {
                let issued = uri::read(turn, &url)?;
                self.expires_at = issued.expires_at;
                self.arrive(issued.key, search, turn)
            }
            Stage::Metadata(mut metadata) => match metadata.read(turn, &search.environment) {
                Ok(Some(issued)) => {
                    self.expires_at = issued.expires_at;
                    self.arrive(issued.key, search, turn)
                }
                Ok(None) => {
                    let step = metadata.send();
                    self.stage = Stage::Metadata(metadata);
                    Ok(step.with_state(self.kept_in(search)).into())
                }
                Err(error) if self.wins == Wins::IfThere => {
                    search.missed(&format!("metadata service: {}", error.message));
                    search.next_source(turn)
                }
                Err(error) => Err(ProviderError {
                    message: format!("{}: {}", self.source, error.message),
                    ..error
                }),
            },
            Stage::Key(_) => Err(internal("an access key was asked for")),
        }
    }

    fn was_issued(&mut self, expires_at: Option<String>, role: &Role) {
        self.expires_at = expires_at;
        self.source = format!("role {} by {}", role.arn, self.source);
    }

    /// An access key is there: it assumes the next role, or is what was looked for.
    fn arrive(mut self, key: Key, search: Search, turn: &Turn<'_>) -> Answer {
        if !self.roles.is_empty() {
            let role = self.roles.remove(0);
            let call = role::call(&role, key.signer(), turn)?;
            self.stage = Stage::Assume(role);
            return Ok(call.with_state(self.kept_in(search)).send());
        }
        let mut fields = BTreeMap::from([
            (ACCESS_KEY.id.to_owned(), CredentialValue::Text(key.id)),
            (ACCESS_KEY.secret.to_owned(), key.secret),
        ]);
        fields.extend(key.token.map(|token| (SECURITY_TOKEN.to_owned(), token)));
        Ok(Step::done(Outcome::Credentials(CredentialSet {
            fields,
            source: self.source,
            expires_at: self.expires_at,
            attempts: search.attempts,
        })))
    }

    fn kept_in(self, search: Search) -> Value {
        json!(Search {
            way: Some(self),
            ..search
        })
    }
}

impl Key {
    fn signer(&self) -> Signer {
        let secret = |value: &CredentialValue, field: &str| match value {
            CredentialValue::Handle(handle) => Expr::secret(handle),
            CredentialValue::Kept | CredentialValue::Text(_) => Expr::secret(field),
        };
        Signer {
            id: Expr::text(&self.id),
            secret: secret(&self.secret, ACCESS_KEY.secret),
            token: self.token.as_ref().map(|token| secret(token, SECURITY_TOKEN)),
        }
    }
}

/// What the command of a profile printed.
fn external(document: &Document, source: &str) -> Result<(Key, Option<String>), ProviderError> {
    let missing = |what: &str| {
        ProviderError::new(
            ErrorKind::Unauthorized,
            format!("what the command of {source} printed has no {what}"),
        )
    };
    if document.source != EXTERNAL {
        return Err(internal("the document is no command's output"));
    }
    let token = document.secret("/sts_token");
    if document.text("/mode") == Some("StsToken") && token.is_none() {
        return Err(missing("sts_token"));
    }
    let id = document.text("/access_key_id");
    let secret = document.secret("/access_key_secret");
    let key = Key {
        id: id.ok_or_else(|| missing("access_key_id"))?.to_owned(),
        secret: secret.ok_or_else(|| missing("access_key_secret"))?,
        token,
    };
    Ok((key, document.text("/expiration").map(str::to_owned)))
}
