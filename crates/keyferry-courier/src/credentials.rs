//! An account's credentials: obtained when first needed, together with the session of a login where the vendor has one,
//! and kept until they expire or are refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use keyferry_plugin::contract::{Effect, ErrorKind, ProviderError};
use serde_json::Value;

use crate::enforce::reach::Reach;
use crate::job::{JobError, JobResult, Preview};
use crate::process::Shared;
use crate::recipe::{Field, Fields};
use crate::setup::CredentialSource;

mod chain;
mod command;
mod document;
mod given;
mod ini;
mod object;
mod profiles;
mod protected;
mod result;
mod source;
mod vault;
mod yaml;

pub(crate) use profiles::profiles;
pub(crate) use vault::Vault;

/// One set of credentials, and what a login gave with them.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) fields: Fields,
    /// Where they came from, in words.
    pub(crate) source: String,
    /// What was looked at before, and why it was not taken.
    pub(crate) attempts: Vec<String>,
    /// The public part of the session, for the plugin; null where there is none.
    pub(crate) session: Value,
    /// Where requests may go besides the manifest's hosts.
    pub(crate) reach: Reach,
    /// By this machine's clock.
    expires_at: Option<SystemTime>,
    obtained_at: SystemTime,
    /// Whether they replaced refused ones, and when.
    renewed_at: Option<Instant>,
    /// Whether an operation with them was not refused.
    accepted: AtomicBool,
}

impl Credentials {
    /// When they end (RFC 3339), where known.
    pub(crate) fn expires_at(&self) -> Option<String> {
        let end = self.expires_at?;
        Some(humantime::format_rfc3339_seconds(end).to_string())
    }

    /// Notes that the provider took them.
    pub(crate) fn note_accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    fn is_fresh(&self) -> bool {
        let Some(end) = self.expires_at else { return true };
        let lifetime = end.duration_since(self.obtained_at).unwrap_or_default();
        end > SystemTime::now() + EARLY.min(lifetime / EARLY_PART)
    }

    /// Whether obtaining them anew would only repeat what was just done: they replaced refused ones, and no provider has
    /// taken them since.
    fn is_fruitless(&self) -> bool {
        !self.accepted.load(Ordering::Relaxed) && self.renewed_at.is_some_and(|at| at.elapsed() < FRUITLESS)
    }

    fn has_values_of(&self, other: &Self) -> bool {
        let is_same = |((a, ours), (b, theirs)): ((&String, &Field), (&String, &Field))| {
            a == b && ours.value.expose() == theirs.value.expose()
        };
        self.session == other.session
            && self.fields.len() == other.fields.len()
            && self.fields.iter().zip(&other.fields).all(is_same)
    }
}

/// What came of asking for credentials.
pub(crate) enum Obtained {
    Credentials(Credentials),
    /// For a preview: the first request that would have to be sent to obtain them.
    Shown(JobResult),
}

/// Credentials for a preview, or the request that would obtain them: nothing is sent.
pub(crate) fn for_preview(
    shared: &Shared,
    region: Option<&str>,
    preview: &Preview,
    deadline: Instant,
) -> Result<Obtained, JobError> {
    ask(shared, region, Some(preview), deadline)
}

/// Obtains them.
fn obtain(shared: &Shared, region: Option<&str>, deadline: Instant) -> Result<Credentials, JobError> {
    match ask(shared, region, None, deadline)? {
        Obtained::Credentials(credentials) => Ok(credentials),
        Obtained::Shown(_) => Err(missing(shared, "they were not obtained".to_owned())),
    }
}

/// From where the account says, and by a login where the manifest wants one.
fn ask(
    shared: &Shared,
    region: Option<&str>,
    preview: Option<&Preview>,
    deadline: Instant,
) -> Result<Obtained, JobError> {
    let failed = |message: String| missing(shared, message);
    let raw = match &shared.setup.credentials {
        CredentialSource::Chain { profile } => {
            let start = chain::Start::Chain(profile.clone());
            return chain::obtain(shared, region, start, preview, deadline);
        }
        CredentialSource::Command { argv } => command::obtain(shared, argv, deadline).map_err(failed)?,
        CredentialSource::Environment { fields } => given::environment(shared, fields).map_err(failed)?,
        CredentialSource::File { path } => {
            object::read_file(path, shared.setup.home.as_deref()).map_err(failed)?
        }
    };
    let given = given::complete(raw, shared).map_err(failed)?;
    match shared.setup.library.manifest.login {
        true => chain::obtain(shared, region, chain::Start::Login(given), preview, deadline),
        false => Ok(Obtained::Credentials(given)),
    }
}

/// An error that names the account: its credentials are not there, and no provider was asked.
fn missing(shared: &Shared, message: String) -> JobError {
    JobError::Credentials {
        error: Box::new(named(shared, ProviderError::new(ErrorKind::Invalid, message))),
        answered: false,
        attempts: Vec::new(),
    }
}

fn named(shared: &Shared, error: ProviderError) -> ProviderError {
    ProviderError {
        message: format!(
            "credentials of account {}: {}",
            shared.setup.account.name, error.message
        ),
        effect: Effect::None,
        ..error
    }
}

/// So long before they expire, credentials are obtained anew; or when this part of their life is left, if that is later.
const EARLY: Duration = Duration::from_secs(5 * 60);
const EARLY_PART: u32 = 10;
/// So long credentials that replaced refused ones, and are refused too, are not replaced again.
const FRUITLESS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting(life: u64, left: u64) -> Credentials {
        let now = SystemTime::now();
        let end = now + Duration::from_secs(left);
        Credentials {
            fields: Fields::new(),
            source: String::new(),
            attempts: Vec::new(),
            session: Value::Null,
            reach: Reach::default(),
            expires_at: Some(end),
            obtained_at: end - Duration::from_secs(life),
            renewed_at: None,
            accepted: AtomicBool::new(false),
        }
    }

    #[test]
    fn credentials_are_renewed_at_a_tenth_of_their_life_and_at_most_five_minutes_early() {
        for (life, left, fresh) in [
            (86_400, 330, true),
            (86_400, 270, false),
            (600, 90, true),
            (600, 50, false),
            (30, 20, true),
            (30, 5, true),
            (30, 2, false),
        ] {
            assert_eq!(lasting(life, left).is_fresh(), fresh, "{life} {left}");
        }
    }

    #[test]
    fn what_replaced_refused_ones_and_is_refused_too_is_not_replaced_at_once() {
        let mut credentials = lasting(600, 600);
        assert!(!credentials.is_fruitless());
        credentials.renewed_at = Some(Instant::now());
        assert!(credentials.is_fruitless());
        credentials.note_accepted();
        assert!(!credentials.is_fruitless());
    }
}
