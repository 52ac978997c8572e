//! The compute service of a region: its URL, and the microversions that it announces.

use std::fmt;
use std::str::FromStr;

use keyferry_plugin::contract::{Effect, ErrorKind, HttpStep, List, ProviderError, Response};
use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Login, TOKEN, annotate, fault, split_url};

/// The newest microversion whose key pairs this plugin knows: the first in which Nova makes none itself.
const NEWEST: Microversion = Microversion(2, 92);
/// The last in which Nova makes pairs.
const LAST_GENERATING: Microversion = Microversion(2, 91);
/// The first with a pair's type.
const TYPED: Microversion = Microversion(2, 2);
/// The first with pages.
const PAGED: Microversion = Microversion(2, 35);
/// Pairs per page, where nobody asks for a number. Nova's own limit is 1000 unless the operator set another.
const PAGE_SIZE: u32 = 500;

/// The compute service that a login led to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Compute {
    url: String,
    least: Microversion,
    greatest: Microversion,
    /// The one that the account asks for.
    pinned: Option<Microversion>,
}

impl Compute {
    /// The service of this operation's session.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when there is none.
    pub fn of(turn: &Turn<'_>) -> Result<Self, ProviderError> {
        let compute = turn.context.session.get("compute").map(Self::deserialize);
        compute
            .and_then(Result::ok)
            .ok_or_else(|| ProviderError::new(ErrorKind::Internal, "there is no session: log in first"))
    }

    /// The step of a login that asks the service for its microversions.
    pub(crate) fn negotiate(login: Login) -> Answer {
        let (origin, path) = split_url(document_url(&login.url))?;
        let path = if path.is_empty() { "/" } else { path };
        let request = HttpRequest::new("GET", origin, path).with_header("accept", "application/json");
        Ok(HttpStep::new(request).with_state(json!({"login": login})).into())
    }

    /// What came of [`Self::negotiate`]; none when it was not asked yet.
    pub(crate) fn negotiated(turn: &Turn<'_>) -> Result<Option<(Self, Login)>, ProviderError> {
        let Some(login) = turn.state.get("login") else {
            return Ok(None);
        };
        let no_answer = || ProviderError::new(ErrorKind::Internal, "the reply is not what was asked for");
        let login = Login::deserialize(login).map_err(|_| no_answer())?;
        let pinned = login.microversion.as_deref().map(str::parse).transpose()?;
        let response = turn.response(Effect::None)?.ok_or_else(no_answer)?;
        Ok(Some((
            Self::announced(login.url.clone(), pinned, response)?,
            login,
        )))
    }

    /// Reads `{"version": {"version", "min_version"}}`.
    fn announced(
        url: String,
        pinned: Option<Microversion>,
        response: &Response,
    ) -> Result<Self, ProviderError> {
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        let version = |field| {
            body["version"][field]
                .as_str()
                .unwrap_or_default()
                .parse::<Microversion>()
        };
        match (response.status, version("min_version"), version("version")) {
            (200, Ok(least), Ok(greatest)) => Ok(Self {
                url,
                least,
                greatest,
                pinned,
            }),
            (status @ (401 | 403 | 429 | 500..), _, _) => {
                let kind = match status {
                    401 | 403 => ErrorKind::Unauthorized,
                    429 => ErrorKind::Throttled,
                    _ => ErrorKind::Unavailable,
                };
                let message = format!("nova answered with status {status}");
                Err(annotate(ProviderError::new(kind, message), response))
            }
            (status, _, _) => {
                let words = fault(response).words;
                let message = format!(
                    "{url} announces no microversions (status {status}; {words}): is it a compute API 2.1?"
                );
                Err(annotate(
                    ProviderError::new(ErrorKind::Unsupported, message),
                    response,
                ))
            }
        }
    }

    /// The public part of this login's session.
    pub(crate) fn session(self, login: &Login) -> Value {
        json!({
            "project_id": login.project_id,
            "user_id": login.user_id,
            "region": login.region,
            "microversion": self.version().ok(),
            "compute": self,
        })
    }

    /// The microversion for everything but [`Self::generating`]: the newest that both sides know.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when they have none in common, or not the one that the account asks for.
    pub fn version(&self) -> Result<Microversion, ProviderError> {
        self.within(self.pinned.unwrap_or(self.greatest.min(NEWEST)))
    }

    /// The microversion for a pair that Nova makes.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when there is none, with the way to go on.
    pub fn generating(&self) -> Result<Microversion, ProviderError> {
        let version = self.pinned.unwrap_or(self.greatest.min(LAST_GENERATING));
        if version.max(self.least) > LAST_GENERATING {
            let why = match self.pinned {
                Some(pinned) => format!("`microversion` says {pinned}"),
                None => format!("this nova begins at {}", self.least),
            };
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!(
                    "nova makes pairs up to microversion {LAST_GENERATING}, and {why}: say `generated_by = \"keyferry\"` in the key, so that its public half is imported"
                ),
            ));
        }
        self.within(version)
    }

    fn within(&self, version: Microversion) -> Result<Microversion, ProviderError> {
        let (least, greatest) = (self.least, self.greatest);
        if (least..=greatest).contains(&version) && version <= NEWEST {
            return Ok(version);
        }
        let message = match self.pinned {
            Some(pinned) => format!(
                "`microversion` says {pinned}, but this nova has {least} to {greatest}, and keyferry knows up to {NEWEST}: choose one of both, or leave it out"
            ),
            None => {
                format!("this nova has microversions {least} to {greatest}, keyferry knows up to {NEWEST}")
            }
        };
        Err(ProviderError::new(ErrorKind::Unsupported, message))
    }

    /// Asks for the page of a list after this name; before 2.35, for the whole of it.
    ///
    /// # Errors
    /// Those of [`Self::version`].
    pub fn list(&self, list: &List, marker: Option<String>) -> Result<HttpStep, ProviderError> {
        let version = self.version()?;
        let mut request = self.request("GET", "", version, Value::Null);
        if version >= PAGED {
            let limit = list.page_size.unwrap_or(PAGE_SIZE).max(1);
            request = request.with_query("limit", limit.to_string());
            if let Some(marker) = &marker {
                request = request.with_query("marker", &**marker);
            }
        }
        Ok(HttpStep::new(request).with_state(marker))
    }

    /// A request about pairs; `pair` is the body, where it is not null.
    pub fn request(&self, method: &str, below: &str, version: Microversion, mut pair: Value) -> HttpRequest {
        // The URL was split when it was asked for its microversions.
        let (origin, path) = split_url(&self.url).unwrap_or_default();
        let mut request = HttpRequest::new(method, origin, &format!("{path}/os-keypairs{below}"))
            .with_header("accept", "application/json")
            .with_header("openstack-api-version", format!("compute {version}"))
            .with_header("x-openstack-nova-api-version", version.to_string())
            .with_header("x-auth-token", Expr::secret(TOKEN));
        if !pair.is_null() {
            if version >= TYPED {
                pair["type"] = json!("ssh");
            }
            request = request
                .with_header("content-type", "application/json")
                .with_body(json!({"keypair": pair}).to_string());
        }
        request
    }
}

/// The URL of the version's own document: above the project's part of a URL that has one.
pub(crate) fn document_url(url: &str) -> &str {
    match url.rsplit_once('/') {
        Some((above, _))
            if above
                .rsplit('/')
                .next()
                .is_some_and(|segment| segment.starts_with("v2")) =>
        {
            above
        }
        _ => url,
    }
}

/// A microversion: `2.10` comes after `2.2`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Microversion(u16, u16);

impl FromStr for Microversion {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Self, ProviderError> {
        let parts = text.trim().split_once('.');
        let numbers = parts.and_then(|(major, minor)| Some(Self(major.parse().ok()?, minor.parse().ok()?)));
        numbers.ok_or_else(|| {
            ProviderError::new(ErrorKind::Invalid, format!("{text:?} is no microversion like 2.10: correct `microversion` in the account's [settings]"))
        })
    }
}

impl TryFrom<String> for Microversion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: ProviderError| error.message)
    }
}

impl From<Microversion> for String {
    fn from(version: Microversion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}
