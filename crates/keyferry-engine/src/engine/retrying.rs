//! Keeping failures: what status shows, and when they are tried again.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyferry_hosts::HostErrorKind;

use super::Engine;
use super::failure::{FILE_MISSING, Failure, PLUGIN, Pace, SETTINGS};
use crate::desired::Account;
use crate::plan::{Retry, Subject, max_per_second};

impl Engine {
    /// Remembers a failure and when to try again.
    pub(super) fn fail(&mut self, subject: Subject, failure: &Failure) {
        // Nothing was found out, and nothing is begun before it is unlocked.
        if failure.kind == HostErrorKind::Locked.name() {
            return;
        }
        let now = self.clock.now();
        let spec = self.desired.keys.get(subject.key()).cloned();
        let account = match &subject {
            Subject::Generation(key, n) | Subject::Instances(key, n) => {
                let row = self.view.generations.get(&(key.clone(), *n));
                row.and_then(|row| self.desired.accounts.get(&row.account))
                    .cloned()
            }
            // No provider has to do with it.
            Subject::Host(..)
            | Subject::HostList(_)
            | Subject::Recovery(..)
            | Subject::Revocation(_)
            | Subject::Trusted(..) => None,
            Subject::Copying(..) | Subject::Making(_) | Subject::Publishing(_) => spec
                .as_ref()
                .and_then(|spec| self.desired.accounts.get(&spec.account))
                .cloned(),
        };
        let before = self.observed.retries.get(&subject);
        let before = before.filter(|retry| !retry.is_outdated(spec.as_ref(), account.as_ref()));
        let failures = before.map_or(1, |retry| retry.failures.saturating_add(1));
        let clock = Arc::clone(&self.clock);
        let delay = failure.delay(failures, |limit| clock.random(limit));
        let mut not_before = delay.map(|delay| now.uptime.saturating_add(delay));
        // It was begun before the user said that all is well now.
        if account.is_some() && self.resumed.remove(subject.key()) {
            not_before = Some(now.uptime);
        }
        if let (true, Some(account)) = (failure.kind == "throttled", &account) {
            // The step has its own growing delay too: others of the account may well succeed meanwhile.
            not_before = not_before.max(Some(self.slow_down(account, failure)));
        }
        let mut error = failure.status();
        error.retry_at = not_before.map(|at| crate::snapshot::Timestamp(now.wall_at(at)));
        tracing::warn!(
            key = subject.key(),
            kind = failure.kind,
            code = failure.code,
            request_id = failure.request_id,
            message = failure.message,
            retry_in_ms = not_before.map(|at| at.saturating_sub(now.uptime)),
            "a step failed"
        );
        if let (true, Some(account)) = (failure.of_account, &account) {
            self.account_errors.insert(account.name.clone(), error.clone());
        }
        if let (PLUGIN, Pace::Never, Some(account)) = (failure.kind, failure.pace, &account) {
            // What is wrong with it now: that it is no longer so is seen later.
            let found = self.plugins.manifest(&account.plugin);
            self.manifests.insert(account.plugin.clone(), found);
        }
        let needs_room = failure.kind == "quota";
        if let (true, Some(account)) = (needs_room, &account) {
            // Whose pairs fill it is worth knowing.
            self.survey_for_quota(account);
        }
        self.observed.retries.insert(
            subject,
            Retry {
                failures,
                not_before,
                needs_room,
                spec,
                account,
                error,
            },
        );
    }

    /// The provider says that it is asked too much: that is said to the whole account. Gives the uptime in milliseconds until
    /// which nothing is begun.
    pub(super) fn slow_down(&mut self, account: &Account, failure: &Failure) -> u64 {
        let now = self.clock.now().uptime;
        let per_second = max_per_second(&self.desired, account);
        let rate = self.observed.rates.entry(account.name.clone()).or_default();
        // Of the requests that were under way together each says the same.
        if rate.paused_until <= now {
            rate.refusals = rate.refusals.saturating_add(1);
        }
        let clock = Arc::clone(&self.clock);
        let delay = failure.delay(rate.refusals, |limit| limit / 2 + clock.random(limit / 2));
        if rate.paused_until <= now || failure.retry_after.is_some() {
            rate.pause(now.saturating_add(delay.unwrap_or_default()), per_second);
        }
        rate.paused_until
    }

    /// As [`Self::fail`], for a ledger that could not be written.
    pub(super) fn fail_for_disk(&mut self, subject: Subject, message: String) {
        let remedy = format!("{}: keyferry tries again", self.ledger_remedy());
        self.fail(subject, &Failure::local("ledger", message, &remedy, Pace::Soon));
    }

    /// Asks anew about plugins that could not be used. What failed for one that can be used now is tried again, and what
    /// failed for its settings where those of the network are others.
    pub(super) fn forget_failures_that_were_mended(&mut self, is_other_network: bool) {
        let unusable = self.manifests.iter().filter(|(_, found)| found.is_err());
        let unusable: Vec<String> = unusable.map(|(plugin, _)| plugin.clone()).collect();
        self.manifests.retain(|_, found| found.is_ok());
        let usable = unusable
            .into_iter()
            .filter(|plugin| self.manifest(plugin).is_ok());
        let usable: BTreeSet<String> = usable.collect();
        if usable.is_empty() && !is_other_network {
            return;
        }
        self.observed.retries.retain(|_, retry| {
            let plugin = retry.account.as_ref().map(|account| &account.plugin);
            let is_mended = match retry.error.kind.as_str() {
                PLUGIN => plugin.is_some_and(|plugin| usable.contains(plugin)),
                SETTINGS => is_other_network,
                _ => false,
            };
            !is_mended || retry.not_before.is_some()
        });
        self.forget_errors_of_changed_accounts();
        if !usable.is_empty() {
            self.find_limits();
        }
    }

    /// What waits for a key's file is tried again when files have changed.
    pub(super) fn forget_missing_files(&mut self) {
        let is_missing = |retry: &Retry| retry.error.kind == FILE_MISSING;
        self.observed.retries.retain(|_, retry| !is_missing(retry));
    }

    /// An account whose file says something else is judged anew.
    pub(super) fn forget_errors_of_changed_accounts(&mut self) {
        let retries = &self.observed.retries;
        let desired = &self.desired;
        self.account_errors.retain(|name, _| {
            retries.values().any(|retry| {
                retry
                    .account
                    .as_ref()
                    .is_some_and(|account| account.name == *name)
                    && retry.account.as_ref() == desired.accounts.get(name)
            })
        });
    }
}
