//! What status shows, made from what the engine knows.

use std::collections::BTreeSet;

mod hosts;
mod regions;
mod trust;

use super::Engine;
use super::failure::SETTINGS;
use crate::desired::{FileReport, FileState, KeyFolder, KeySpec, Standstill};
use crate::ledger::{Generation, GenerationState, ORPHANS};
use crate::plan::{MAX_UNWANTED, Retry, Subject, Waiting};
use crate::private_key::PublicKey;
use crate::snapshot::{
    AccountStatus, Asked, FileStatus, FurtherProblem, KeyState, KeyStatus, RETIRED, Snapshot, StatusError,
    Timestamp,
};

impl Engine {
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut names: BTreeSet<&str> = self.desired.keys.keys().map(String::as_str).collect();
        names.extend(self.view.generations.keys().map(|(key, _)| key.as_str()));
        names.retain(|name| *name != ORPHANS && self.is_something(name));
        let unusable = self.unusable_settings();
        let accounts = self.desired.accounts.values().map(|account| {
            let (survey_error, checked_at) = self.survey_status(&account.name);
            let error = self.account_errors.get(&account.name).cloned();
            AccountStatus {
                name: account.name.clone(),
                plugin: account.plugin.clone(),
                region: account.region.clone(),
                endpoint: account.endpoint.clone(),
                insecure_http: account.insecure_http,
                error: unusable
                    .clone()
                    .or_else(|| error.map(|error| self.explained(&account.name, error)))
                    .or(survey_error),
                checked_at,
            }
        });
        let files = self
            .desired
            .files
            .iter()
            .filter(|file| !self.is_of_ended_key(file));
        let files = files.map(|file| FileStatus {
            path: file.path.display().to_string(),
            state: file.state,
            line: file.line,
            column: file.column,
            message: file.message.clone(),
            further: file.further.iter().map(FurtherProblem::from).collect(),
        });
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keys: names.into_iter().map(|name| self.key_status(name)).collect(),
            accounts: accounts.collect(),
            plugins: Vec::new(),
            files: files.collect(),
            trusted: self.trusted_status(),
            revoked: self.revoked_status(),
            ledger: self.ledger_error.clone(),
            locked: self.observed.locked,
            idle: self.running.is_empty() && self.wake_at.is_none() && self.unwritten.is_empty(),
        }
    }

    /// Whether a file went with everything that was made for it: then nothing in it stays in force.
    fn is_of_ended_key(&self, file: &FileReport) -> bool {
        let KeyFolder::Listed(folder) = &self.desired.key_folder else {
            return false;
        };
        let name = file
            .path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".toml"));
        file.state == FileState::Missing
            && file.path.parent() == Some(folder)
            && name.is_some_and(|name| !self.is_something(name))
    }

    /// Whether a key is declared, or there is still something of it: history alone is nothing to show.
    pub(super) fn is_something(&self, name: &str) -> bool {
        self.desired.keys.get(name).is_some_and(|spec| spec.present)
            || self.observed.loaded.contains_key(name)
            || self.view.is_held(name)
            || self.view.of_key(name).any(|row| !row.state.is_final())
    }

    fn key_status(&self, name: &str) -> KeyStatus {
        let spec = self.desired.keys.get(name);
        let loaded = self.observed.loaded.get(name);
        let held = self.view.is_held(name);
        let shown = match loaded {
            Some(n) => self.view.generations.get(&(name.to_owned(), *n)),
            None => self.view.originals(name).next_back(),
        };
        let requested = self
            .view
            .originals(name)
            .find(|row| row.state == GenerationState::Requested);
        let is_busy = self.observed.generating.contains(name)
            || self.observed.halves.iter().any(|(key, _)| key == name)
            || requested.is_some_and(|row| self.observed.jobs.contains_key(&row.id()));

        let failure = self.making_error(name, spec, requested);
        let (state, error) = match loaded {
            _ if held => (KeyState::Held, None),
            // Whoever waits for a key may use its public half next.
            Some(n) if !self.is_published(name, *n) => (KeyState::Creating, failure),
            Some(_) => (KeyState::Loaded, failure),
            None if is_busy && failure.is_none() => (KeyState::Creating, None),
            None if is_busy && !self.backs_off(name) => (KeyState::Creating, failure),
            None if matches!(self.waiting.get(name), Some(Waiting::FileMissing)) => (KeyState::Lost, failure),
            None if failure.is_some() && self.makes_room(name) => (KeyState::Creating, failure),
            None if failure.is_some() => (KeyState::Failed, failure),
            None if requested.is_some() => (KeyState::Creating, None),
            None => (KeyState::Pending, None),
        };
        let (regions, drift) = match loaded {
            Some(&n) => self.regions(name, spec.map(AsRef::as_ref), n),
            None => (Vec::new(), None),
        };
        let (rotation, hosts) = self.rotation(name);
        let drifted = drift.and_then(|_| regions.iter().find_map(|region| region.error.clone()));
        let error = error
            .or(drifted)
            .or_else(|| self.remark(name, spec, loaded.and(shown)));

        let is_made = loaded.is_some() || matches!(state, KeyState::Held | KeyState::Lost);
        let public = shown
            .filter(|_| is_made)
            .and_then(|row| PublicKey::from_blob(row.blob.as_deref()?));
        let algorithm = shown
            .filter(|_| is_made)
            .map(|row| row.algorithm)
            .or(spec.map(|spec| spec.algorithm));
        KeyStatus {
            name: name.to_owned(),
            account: spec
                .map(|spec| spec.account.clone())
                .or_else(|| shown.map(|row| row.account.clone())),
            generation: shown.filter(|_| is_made).or(requested).map(|row| row.n),
            state,
            algorithm: algorithm.map(|algorithm| algorithm.name().to_owned()),
            fingerprint: public.as_ref().map(PublicKey::fingerprint),
            public_key: public.map(|public| public.line(shown.map_or(name, |row| &row.pair_name))),
            error,
            asked: self.asked(name),
            drift,
            regions,
            rotation,
            hosts,
            exec: self.exec_status(name),
        }
    }

    /// The account whose answer a key waits for, the longest first.
    fn asked(&self, name: &str) -> Option<Asked> {
        let of_key = (name.to_owned(), 0)..=(name.to_owned(), u64::MAX);
        let asked = self.asked_since.range(of_key);
        let (id, since) = asked.min_by_key(|(_, since)| since.uptime)?;
        Some(Asked {
            account: self.observed.jobs.get(id)?.clone(),
            since: Timestamp(since.wall),
        })
    }

    /// Whether the key did not fit, and a lost pair of its own is being deleted: then it is tried again at once.
    fn makes_room(&self, name: &str) -> bool {
        let making = self.observed.retries.get(&Subject::Making(name.to_owned()));
        making.is_some_and(|retry| retry.needs_room)
            && self.view.of_key(name).any(|row| {
                let goes = matches!(
                    row.state,
                    GenerationState::Live | GenerationState::Missing | GenerationState::Unwanted
                );
                let subject = Subject::Generation(row.key.clone(), row.n);
                goes && !self.observed.retries.contains_key(&subject)
            })
    }

    /// Whether the public half is on the disk, or the disk refused it, which a remark says.
    fn is_published(&self, name: &str, n: u64) -> bool {
        self.observed.published.get(name) == Some(&n)
            || self.view.is_for_command(name)
            || self
                .observed
                .retries
                .contains_key(&Subject::Publishing(name.to_owned()))
    }

    /// Whether the next step of a key waits for a time.
    fn backs_off(&self, name: &str) -> bool {
        let now = self.clock.now().uptime;
        let making = self.observed.retries.get(&Subject::Making(name.to_owned()));
        let nothing_runs = !self.observed.jobs.keys().any(|(key, _)| key == name)
            && !self.observed.generating.contains(name);
        nothing_runs && making.is_some_and(|retry| retry.not_before.is_none_or(|at| at > now))
    }

    /// What keeps a key from being loaded.
    fn making_error(
        &self,
        name: &str,
        spec: Option<&std::sync::Arc<KeySpec>>,
        requested: Option<&Generation>,
    ) -> Option<StatusError> {
        if let Some(unusable) = self.unusable_settings() {
            return Some(unusable);
        }
        if let Some(older) = self.older_ledger(name) {
            return Some(older);
        }
        let account = spec.and_then(|spec| self.desired.accounts.get(&spec.account));
        let making = self.observed.retries.get(&Subject::Making(name.to_owned()));
        // What failed under an earlier file says nothing about this one.
        let making = making.filter(|retry| !retry.is_outdated(spec, account));
        let looking = requested.and_then(|row| {
            self.observed
                .retries
                .get(&Subject::Generation(name.to_owned(), row.n))
        });
        if let Some(retry) = looking {
            return Some(retry.error.clone());
        }
        let account = account.map_or("", |account| &account.name);
        let failed = making.map(|retry| self.explained(account, retry.error.clone()));
        let Some(waiting) = self.waiting.get(name) else {
            return failed;
        };
        match waiting {
            Waiting::AccountOfPair { pair_name, .. } => {
                match requested.is_some_and(|row| row.pair_name == *pair_name) {
                    true => account_of_pair(waiting),
                    // An older pair's account.
                    false => failed,
                }
            }
            Waiting::FileMissing => {
                let (message, remedy) = self.absence_remark(name).unwrap_or_else(|| {
                    let message = format!(
                        "keys/{name}.toml is missing, and the private half was lost when keyferry stopped: nothing new is made"
                    );
                    let remedy = format!(
                        "put the file back for a new key, or keyferry retire {name} to have its pair deleted; without either \
                         it stays at the provider as it is"
                    );
                    (message, remedy)
                });
                Some(remark("missing", message, &remedy))
            }
            Waiting::NoAccount { account } => Some(remark(
                "account",
                format!("there is no account named {account}"),
                &format!("add accounts/{account}.toml, or correct account in keys/{name}.toml"),
            )),
            Waiting::Overfull(overfull) => Some(regions::too_many(overfull)),
            Waiting::UnwantedPairs => {
                let tidying = self.tidying_error(name);
                // After a restart: nothing has failed yet, and when they are gone the key goes on.
                if tidying.is_none() && self.is_tidied_up(name) {
                    return failed;
                }
                let cause = tidying
                    .as_ref()
                    .map(|error| format!(": {}", error.message))
                    .unwrap_or_default();
                Some(StatusError {
                    message: format!(
                        "{MAX_UNWANTED} unused pairs of this key could not be deleted, so no other is made{cause}"
                    ),
                    ..tidying.unwrap_or_else(|| {
                        remark(
                            "unwanted_pairs",
                            String::new(),
                            "nothing: keyferry goes on when they are deleted",
                        )
                    })
                })
            }
        }
    }

    /// Whether the user ended the key, and nothing of it is left.
    fn is_retired(&self, name: &str) -> bool {
        let row = self.view.key(name);
        row.retire_asked_at.is_some()
            && !row.is_for_command()
            && self
                .view
                .of_key(name)
                .all(|generation| generation.state.is_final())
    }

    /// That nobody knows what `keyferry.toml` asks for.
    fn unusable_settings(&self) -> Option<StatusError> {
        let standstill = self.desired.standstill();
        let is_unusable = standstill == Some(Standstill::Settings);
        let remedy = "keyferry check says what is wrong with it";
        is_unusable.then(|| remark(SETTINGS, Standstill::Settings.to_string(), remedy))
    }

    fn tidying_error(&self, name: &str) -> Option<StatusError> {
        let rows = self.view.of_key(name);
        let mut errors = rows.filter_map(|row| {
            self.observed
                .retries
                .get(&Subject::Generation(name.to_owned(), row.n))
                .map(|Retry { error, .. }| error.clone())
        });
        errors.next()
    }

    /// Whether a pair that nobody needs can be deleted: with the account that it was made with.
    fn is_tidied_up(&self, name: &str) -> bool {
        let mut rows = self.view.of_key(name);
        rows.any(|row| {
            let account = self.desired.accounts.get(&row.account);
            row.state == GenerationState::Unwanted && account.is_some_and(|account| row.is_of(account))
        })
    }

    /// What is worth knowing about a key that fares as it should.
    fn remark(
        &self,
        name: &str,
        spec: Option<&std::sync::Arc<KeySpec>>,
        loaded: Option<&Generation>,
    ) -> Option<StatusError> {
        if let Some((message, remedy)) = self.absence_remark(name) {
            return Some(remark("missing", message, &remedy));
        }
        if spec.is_some_and(|spec| spec.present) && self.is_retired(name) {
            return Some(remark(
                RETIRED,
                format!("{name} was retired, and keys/{name}.toml still declares it: no other key is made"),
                &format!("remove the file; or keyferry resume {name}, if the key is to be made anew"),
            ));
        }
        if let Some(error) = self.tidying_error(name) {
            return Some(error);
        }
        if let Some(retry) = self.observed.retries.get(&Subject::Publishing(name.to_owned())) {
            return Some(retry.error.clone());
        }
        // The hosts that were listed before stay in force: nothing else tells that the list is not read.
        let listing = self.observed.retries.get(&Subject::HostList(name.to_owned()));
        if let Some(retry) = listing.filter(|retry| retry.spec.as_ref() == spec) {
            return Some(retry.error.clone());
        }
        if let Some(waiting @ Waiting::AccountOfPair { .. }) = self.waiting.get(name) {
            return account_of_pair(waiting);
        }
        if let Some(row) = self
            .view
            .of_key(name)
            .find(|row| row.state == GenerationState::Blocked)
        {
            let remedy =
                format!("look at that pair at the provider; keyferry resume {name} has it looked at again");
            return Some(remark("blocked", row.note.clone().unwrap_or_default(), &remedy));
        }
        let loaded = loaded?;
        let Some(spec) = spec.filter(|spec| spec.present) else {
            let message = format!("keys/{name}.toml is missing; the key keeps serving");
            return Some(remark(
                "missing",
                message,
                "put the file back, or let it be: nothing is taken away",
            ));
        };
        let account = self.desired.accounts.get(&spec.account);
        let region = spec
            .region
            .as_ref()
            .or_else(|| account.and_then(|account| account.region.as_ref()));
        let is_same = spec.account == loaded.account
            && spec.algorithm == loaded.algorithm
            && spec.generated_by == loaded.made_by
            && region == loaded.region.as_ref();
        (!is_same).then(|| {
            remark(
                "changed",
                format!("keys/{name}.toml or its account has changed since this key was made; the key keeps serving"),
                "nothing: the change applies to the next generation",
            )
        })
    }
}

/// What to say about a pair whose account is not what it was. `waiting` is [`Waiting::AccountOfPair`].
fn account_of_pair(waiting: &Waiting) -> Option<StatusError> {
    let Waiting::AccountOfPair {
        account,
        plugin,
        endpoint,
        place,
        pair_name,
    } = waiting
    else {
        return None;
    };
    let place = match endpoint {
        Some(endpoint) => format!("at endpoint {endpoint}"),
        None if !place.is_empty() => format!("with {place}"),
        None => "at the vendor's own endpoint".to_owned(),
    };
    Some(remark(
        "account",
        format!(
            "pair {pair_name} was made with account {account}, plugin {plugin}, {place}: that account is gone or \
             changed now"
        ),
        &format!("put accounts/{account}.toml back as it was, so that keyferry can look after the pair"),
    ))
}

fn remark(kind: &str, message: String, remedy: &str) -> StatusError {
    StatusError {
        kind: kind.to_owned(),
        code: None,
        message,
        request_id: None,
        remedy: Some(remedy.to_owned()),
        retry_at: None,
    }
}
