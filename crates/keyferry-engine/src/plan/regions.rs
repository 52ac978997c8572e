//! The public half of a loaded generation in the regions that its file names, and where its pair was taken away.

use std::sync::Arc;

use super::places::{Class, Planner};
use super::{Action, MAX_UNWANTED, Subject};
use crate::desired::{KeySpec, OnDrift};
use crate::ledger::{Generation, GenerationState};

impl Planner<'_> {
    /// The regions where the loaded generation has no pair, and may have one.
    pub(super) fn copies(&mut self, spec: &Arc<KeySpec>, loaded: u64) {
        let Some(original) = self.ledger.generations.get(&(spec.name.clone(), loaded)) else {
            return;
        };
        let Some(account) = self
            .account_of(original)
            .filter(|account| account.name == spec.account)
        else {
            return;
        };
        for region in spec.regions(account) {
            let region = region.map(str::to_owned);
            let rows = self.ledger.of_key(&spec.name);
            let rows = rows.filter(|row| row.region == region && row.holds(loaded));
            let (mut serves, mut drifted, mut unwanted) = (false, 0, 0);
            for row in rows {
                match row.state {
                    GenerationState::Requested | GenerationState::Live => serves = true,
                    // One that was never seen may arrive late; one that was is gone.
                    GenerationState::Doubtful if row.missing_since.is_none() => serves = true,
                    GenerationState::Missing | GenerationState::Replaced => drifted += 1,
                    GenerationState::Blocked | GenerationState::Unwanted => unwanted += 1,
                    _ => {}
                }
            }
            // A provider that hides or loses what it is given is not given it for ever.
            if serves
                || drifted + unwanted >= MAX_UNWANTED
                || (drifted > 0 && spec.on_drift == OnDrift::Report)
            {
                continue;
            }
            if let Some(overfull) = self.unfitting.get(&(spec.name.clone(), region.clone())).cloned() {
                let regions = self.plan.overfull.entry(spec.name.clone()).or_default();
                regions.insert(region, overfull);
                continue;
            }
            let subject = Subject::Copying(spec.name.clone(), region.clone());
            if self.is_open(&subject, Some(spec), Some(account)) {
                let key = spec.name.clone();
                self.propose(account, Class::Make, Action::Copy { key, region });
            }
        }
    }

    /// What is to be done about one pair that holds a generation's public half again or elsewhere.
    pub(super) fn copy(&mut self, row: &Generation, loaded: Option<u64>, needs_room: bool, is_suspect: bool) {
        let id = row.id();
        let is_busy = self.observed.jobs.contains_key(&id);
        let is_wanted = loaded.is_some() && loaded == row.copy_of;
        match row.state {
            GenerationState::Requested if is_busy => {}
            GenerationState::Requested if is_wanted && self.observed.absent.contains(&id) => {
                let subject = Subject::Copying(row.key.clone(), row.region.clone());
                let spec = self.desired.keys.get(&row.key);
                if self.is_open(&subject, spec, self.desired.accounts.get(&row.account)) {
                    self.request(row, Class::Make, Action::ImportAgain { id });
                }
            }
            GenerationState::Requested => {
                self.request_when_open(row, Class::Make, Action::Look { id });
            }
            GenerationState::Live if is_suspect || (is_wanted && !self.ledger.is_surplus(row)) => {}
            // It stays known for as long as the key is loaded, so that it is not put back unasked.
            GenerationState::Missing if is_wanted => {}
            GenerationState::Live | GenerationState::Missing if loaded.is_none() && !needs_room => {}
            GenerationState::Live | GenerationState::Missing | GenerationState::Unwanted if !is_busy => {
                self.request_when_open(row, Class::TidyUp, Action::Delete { id });
            }
            GenerationState::Doubtful => self.look_when_due(row),
            _ => {}
        }
    }

    /// Looks again at a pair that was not there, when it is time.
    pub(super) fn look_when_due(&mut self, row: &Generation) {
        let id = row.id();
        let due = self.observed.looks.get(&id).copied().unwrap_or(0);
        if self.observed.jobs.contains_key(&id) {
        } else if due > self.now.uptime {
            self.wake(due);
        } else {
            self.request_when_open(row, Class::TidyUp, Action::Look { id });
        }
    }

    /// Asks about a pair if the list of all made it doubtful; says whether it did.
    pub(super) fn confirm(&mut self, row: &Generation) -> bool {
        let id = row.id();
        let is_suspect = self.observed.suspects.contains(&id);
        if is_suspect && !self.observed.jobs.contains_key(&id) {
            self.request(row, Class::Look, Action::Confirm { id });
        }
        is_suspect
    }
}
