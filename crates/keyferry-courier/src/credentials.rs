//! An account's credentials: obtained when first needed, kept until they expire or are refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use keyferry_plugin::contract::Effect;

use crate::enforce::cleaning;
use crate::enforce::reach::Reach;
use crate::job::JobError;
use crate::process::Shared;
use crate::recipe::{Field, Fields};
use crate::secret::Secret;
use crate::setup::CredentialSource;

mod chain;
mod command;
mod document;
mod ini;
mod object;

/// One set of credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) fields: Fields,
    /// Where their operations may send to, besides the manifest's hosts.
    pub(crate) reach: Reach,
    /// Where they came from, in words.
    pub(crate) source: String,
    expires_at: Option<SystemTime>,
}

impl Credentials {
    fn is_fresh(&self) -> bool {
        self.expires_at.is_none_or(|end| end > SystemTime::now() + EARLY)
    }

    fn has_values_of(&self, other: &Self) -> bool {
        let is_same = |((a, ours), (b, theirs)): ((&String, &Field), (&String, &Field))| {
            a == b && ours.value.expose() == theirs.value.expose()
        };
        self.fields.len() == other.fields.len() && self.fields.iter().zip(&other.fields).all(is_same)
    }
}

/// What a source gave, before it is checked against the manifest.
pub(crate) struct Raw {
    pub(crate) fields: BTreeMap<String, Secret>,
    /// RFC 3339.
    pub(crate) expires_at: Option<String>,
    /// Where from, in words.
    pub(crate) source: String,
    /// Where a field is looked for: `the variable X`; for messages.
    pub(crate) places: BTreeMap<String, String>,
}

/// Keeps the account's credentials. Only one thread obtains them at a time; the others wait for it.
#[derive(Default)]
pub(crate) struct Vault {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Credentials>>,
    failure: Option<(Instant, JobError)>,
}

impl Vault {
    /// The credentials, obtained where there are none or they expire soon.
    pub(crate) fn get(&self, shared: &Shared, deadline: Instant) -> Result<Arc<Credentials>, JobError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = state.current.as_ref().filter(|current| current.is_fresh()) {
            return Ok(Arc::clone(current));
        }
        // Jobs that waited for the same failure do not each cause it again.
        if let Some((at, error)) = &state.failure
            && at.elapsed() < FAILURE_KEPT
        {
            return Err(error.clone());
        }
        obtain_into(&mut state, shared, deadline)
    }

    /// New credentials in place of refused ones; none where they are the same.
    pub(crate) fn renew(
        &self,
        shared: &Shared,
        refused: &Arc<Credentials>,
        deadline: Instant,
    ) -> Result<Option<Arc<Credentials>>, JobError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Another job, refused at the same time, may have obtained them meanwhile: perhaps the same ones again.
        let renewed = match &state.current {
            Some(current) if !Arc::ptr_eq(current, refused) => Arc::clone(current),
            _ => obtain_into(&mut state, shared, deadline)?,
        };
        Ok((!renewed.has_values_of(refused)).then_some(renewed))
    }

    /// New credentials.
    pub(crate) fn renewed(&self, shared: &Shared, deadline: Instant) -> Result<Arc<Credentials>, JobError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        obtain_into(&mut state, shared, deadline)
    }
}

fn obtain_into(state: &mut State, shared: &Shared, deadline: Instant) -> Result<Arc<Credentials>, JobError> {
    match obtain(shared, deadline) {
        Ok(credentials) => {
            let credentials = Arc::new(credentials);
            state.current = Some(Arc::clone(&credentials));
            state.failure = None;
            Ok(credentials)
        }
        Err(error) => {
            state.current = None;
            state.failure = Some((Instant::now(), error.clone()));
            Err(error)
        }
    }
}

fn obtain(shared: &Shared, deadline: Instant) -> Result<Credentials, JobError> {
    let failed = |message: String| missing(shared, message);
    let raw = match &shared.setup.credentials {
        CredentialSource::Chain { profile } => chain::obtain(shared, profile.clone(), deadline)?,
        CredentialSource::Command { argv } => command::obtain(shared, argv, deadline).map_err(failed)?,
        CredentialSource::Environment { fields } => environment(shared, fields).map_err(failed)?,
        CredentialSource::File { path } => {
            object::read_file(path, shared.setup.home.as_deref()).map_err(failed)?
        }
    };
    complete(raw, shared).map_err(failed)
}

/// An error that names the account.
fn missing(shared: &Shared, message: String) -> JobError {
    JobError::Credentials {
        message: format!("credentials of account {}: {message}", shared.setup.account.name),
        effect: Effect::None,
    }
}

fn environment(shared: &Shared, fields: &BTreeMap<String, String>) -> Result<Raw, String> {
    let values = shared.line.variables(fields.values().cloned().collect())?;
    let mut raw = Raw {
        fields: BTreeMap::new(),
        expires_at: None,
        source: "environment variables".to_owned(),
        places: fields
            .iter()
            .map(|(field, variable)| (field.clone(), format!("the variable {variable}")))
            .collect(),
    };
    for (field, variable) in fields {
        let value = values
            .iter()
            .find_map(|(name, value)| (name == variable).then_some(value.as_ref()).flatten());
        if let Some(value) = value {
            raw.fields.insert(field.clone(), value.duplicate());
        }
    }
    Ok(raw)
}

/// Checks what a source gave against the manifest.
fn complete(raw: Raw, shared: &Shared) -> Result<Credentials, String> {
    let manifest = &shared.setup.library.manifest;
    let Raw {
        mut fields,
        expires_at,
        source,
        places,
    } = raw;
    let known = manifest
        .credentials
        .keys()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(name) = fields
        .keys()
        .find(|name| !manifest.credentials.contains_key(*name))
    {
        let name = cleaning::clean(name, 60);
        return Err(format!(
            "{source}: there is no field `{name}`; plugin {} has {known}",
            manifest.name
        ));
    }
    let mut checked = Fields::new();
    for (name, rules) in &manifest.credentials {
        let place = places.get(name).cloned().unwrap_or_else(|| source.clone());
        match fields.remove(name).filter(|value| !value.expose().is_empty()) {
            Some(value) if value.expose().iter().any(u8::is_ascii_control) => {
                return Err(format!(
                    "the field `{name}` ({place}) contains a line end or another control character: remove it"
                ));
            }
            Some(value) if std::str::from_utf8(value.expose()).is_err() => {
                return Err(format!("the field `{name}` ({place}) is not UTF-8"));
            }
            Some(value) => {
                checked.insert(
                    name.clone(),
                    Field {
                        of: None,
                        class: rules.class,
                        value,
                    },
                );
            }
            None if rules.optional => {}
            None => {
                return Err(format!(
                    "the field `{name}` is missing or empty: {place} should hold it"
                ));
            }
        }
    }
    let expires_at = match expires_at {
        None => None,
        Some(text) => {
            let shown = cleaning::clean(&text, 40);
            let end = humantime::parse_rfc3339_weak(text.trim()).map_err(|_| {
                format!("{source}: expires_at `{shown}` is not a time like 2026-11-22T01:36:49Z")
            })?;
            if end <= SystemTime::now() {
                return Err(format!(
                    "{source}: they expired at {shown}: obtain new ones there"
                ));
            }
            Some(end)
        }
    };
    Ok(Credentials {
        fields: checked,
        reach: Reach::of_settings(&shared.setup.account, manifest)?,
        source,
        expires_at,
    })
}

/// So long before they expire, credentials are obtained anew.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// So long a failure counts for jobs that come after it.
const FAILURE_KEPT: Duration = Duration::from_secs(2);
