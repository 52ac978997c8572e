//! Keeps an account's credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Credentials, obtain};
use crate::job::JobError;
use crate::process::Shared;
use crate::setup::CredentialSource;

/// The credentials of an account, for each region where a login may differ by it. Only one thread obtains them at a time;
/// the others wait for what comes of it.
#[derive(Default)]
pub(crate) struct Vault {
    places: Mutex<HashMap<Option<String>, Arc<Mutex<State>>>>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Credentials>>,
    failure: Option<(Instant, JobError)>,
}

impl Vault {
    /// The credentials, obtained where there are none or they expire soon.
    pub(crate) fn get(
        &self,
        shared: &Shared,
        region: Option<&str>,
        deadline: Instant,
    ) -> Result<Arc<Credentials>, JobError> {
        let place = self.place(shared, region);
        let mut state = lock(&place);
        if let Some(current) = state.current.as_ref().filter(|current| current.is_fresh()) {
            return Ok(Arc::clone(current));
        }
        // Jobs that waited for the same failure do not each cause it again.
        if let Some((at, error)) = &state.failure
            && at.elapsed() < FAILURE_KEPT
        {
            return Err(error.clone());
        }
        obtain_into(&mut state, shared, region, deadline)
    }

    /// New credentials in place of refused ones; none where they are the same, or a new login has just not helped.
    pub(crate) fn renew(
        &self,
        shared: &Shared,
        region: Option<&str>,
        refused: &Arc<Credentials>,
        deadline: Instant,
    ) -> Result<Option<Arc<Credentials>>, JobError> {
        let place = self.place(shared, region);
        let mut state = lock(&place);
        // Another job, refused at the same time, may have obtained them meanwhile: perhaps the same ones again.
        let renewed = match &state.current {
            Some(current) if !Arc::ptr_eq(current, refused) => Arc::clone(current),
            _ if refused.is_fruitless() => return Ok(None),
            _ => {
                let mut credentials = obtain(shared, region, deadline).inspect_err(|error| {
                    state.current = None;
                    state.failure = Some((Instant::now(), error.clone()));
                })?;
                credentials.renewed_at = Some(Instant::now());
                let credentials = Arc::new(credentials);
                state.current = Some(Arc::clone(&credentials));
                state.failure = None;
                credentials
            }
        };
        Ok((!renewed.has_values_of(refused)).then_some(renewed))
    }

    /// New credentials. Where there are none to be had, those that are still good are kept.
    pub(crate) fn renewed(
        &self,
        shared: &Shared,
        region: Option<&str>,
        deadline: Instant,
    ) -> Result<Arc<Credentials>, JobError> {
        let place = self.place(shared, region);
        let mut state = lock(&place);
        let before = state.current.clone();
        obtain_into(&mut state, shared, region, deadline).inspect_err(|_| {
            state.current = before.filter(|credentials| credentials.is_fresh());
        })
    }

    fn place(&self, shared: &Shared, region: Option<&str>) -> Arc<Mutex<State>> {
        // The plugin sees the region, and may ask the vendor for what belongs to it: a project, a host.
        let asks_plugin = shared.setup.library.manifest.login
            || matches!(shared.setup.credentials, CredentialSource::Chain { .. });
        let key = region.filter(|_| asks_plugin).map(str::to_owned);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(key).or_default())
    }
}

fn lock(place: &Mutex<State>) -> MutexGuard<'_, State> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn obtain_into(
    state: &mut State,
    shared: &Shared,
    region: Option<&str>,
    deadline: Instant,
) -> Result<Arc<Credentials>, JobError> {
    match obtain(shared, region, deadline) {
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

/// So long a failure counts for jobs that come after it.
const FAILURE_KEPT: Duration = Duration::from_secs(2);
