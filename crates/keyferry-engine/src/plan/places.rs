//! Who comes first: the free places of each account, its rate, and what failed and is not due yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::limits::Unfitting;
use super::{Action, Observed, Plan, Subject, Waiting, max_per_second};
use crate::desired::{Account, Desired, KeySpec};
use crate::engine::Moment;
use crate::ledger::{Generation, LedgerView};

/// Requests in flight per account, where nothing else is said.
pub const DEFAULT_CONCURRENT: usize = 8;

/// How many requests of an account may be in flight.
pub fn max_concurrent(desired: &Desired, account: &Account) -> usize {
    account
        .max_concurrent
        .or(desired.daemon.max_concurrent)
        .unwrap_or(DEFAULT_CONCURRENT)
        .clamp(1, 64)
}

/// A plan in the making.
pub(super) struct Planner<'a> {
    pub(super) desired: &'a Desired,
    pub(super) ledger: &'a LedgerView,
    pub(super) observed: &'a Observed,
    pub(super) now: Moment,
    pub(super) plan: Plan,
    pub(super) unfitting: Unfitting,
    /// Hosts on which something is about to begin.
    pub(super) taken: BTreeSet<String>,
    candidates: Vec<Candidate<'a>>,
}

/// An action that takes one of an account's places.
struct Candidate<'a> {
    account: &'a Arc<Account>,
    class: Class,
    served: u64,
    action: Action,
}

/// Keys come before tidying up, and that before looking at what is there.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Class {
    Make,
    TidyUp,
    Look,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        desired: &'a Desired,
        ledger: &'a LedgerView,
        observed: &'a Observed,
        now: Moment,
    ) -> Self {
        let mut planner = Self {
            desired,
            ledger,
            observed,
            now,
            plan: Plan::default(),
            unfitting: Unfitting::default(),
            taken: BTreeSet::new(),
            candidates: Vec::new(),
        };
        planner.count_pairs();
        planner
    }

    /// The account that a generation was made with, if it still is what it was.
    pub(super) fn account_of(&self, generation: &Generation) -> Option<&'a Arc<Account>> {
        let account = self.desired.accounts.get(&generation.account);
        account.filter(|account| generation.is_of(account))
    }

    /// A request about a generation, unless an earlier one failed and its time has not come.
    pub(super) fn request_when_open(&mut self, generation: &Generation, class: Class, action: Action) {
        let account = self.desired.accounts.get(&generation.account);
        let subject = Subject::Generation(generation.key.clone(), generation.n);
        let spec = self
            .observed
            .retries
            .get(&subject)
            .and_then(|retry| retry.spec.clone());
        if self.is_open(&subject, spec.as_ref(), account) {
            self.request(generation, class, action);
        }
    }

    /// A request about a generation: with the account it was made with, or not at all.
    pub(super) fn request(&mut self, generation: &Generation, class: Class, action: Action) {
        match self.account_of(generation) {
            Some(account) => self.propose(account, class, action),
            None => {
                let waiting = Waiting::AccountOfPair {
                    account: generation.account.clone(),
                    plugin: generation.plugin.clone(),
                    endpoint: generation.endpoint.clone(),
                    place: generation.place.clone().unwrap_or_default(),
                    pair_name: generation.pair_name.clone(),
                };
                self.plan.waiting.entry(generation.key.clone()).or_insert(waiting);
            }
        }
    }

    pub(super) fn propose(&mut self, account: &'a Arc<Account>, class: Class, action: Action) {
        let served = self.observed.served.get(action.key()).copied().unwrap_or(0);
        self.candidates.push(Candidate {
            account,
            class,
            served,
            action,
        });
    }

    /// Looks at the accounts whose time has come.
    pub(super) fn surveys(&mut self) {
        for (name, &due) in &self.observed.surveys {
            let Some(account) = self.desired.accounts.get(name) else {
                continue;
            };
            if self.observed.surveying.contains(name) {
                continue;
            }
            if due <= self.now.uptime {
                self.propose(
                    account,
                    Class::Look,
                    Action::Survey {
                        account: name.clone(),
                    },
                );
            } else {
                let earlier = self.plan.survey_at.map_or(due, |earlier| earlier.min(due));
                self.plan.survey_at = Some(earlier);
            }
        }
    }

    /// Fills the free places of every account, as fast as it may be asked: making before tidying up, and of equals the
    /// key that waited longest.
    pub(super) fn choose(mut self) -> Plan {
        let mut in_flight: BTreeMap<&str, usize> = BTreeMap::new();
        for account in self.observed.jobs.values().chain(&self.observed.surveying) {
            *in_flight.entry(account).or_default() += 1;
        }
        // A question that a look leads to takes that look's place, which may be the only one: one at a time.
        let mut riding: BTreeSet<&str> = BTreeSet::new();
        for (id, account) in &self.observed.jobs {
            let is_of_look = self.observed.suspects.contains(id) && self.observed.surveying.contains(account);
            if is_of_look && riding.insert(account) {
                *in_flight.entry(account).or_default() -= 1;
            }
        }
        // Private halves take no request's place, but no more wait for one than can be sent at once. One that failed
        // and waits for its next try, or for the user, keeps none from being made.
        let mut halves: BTreeMap<&str, usize> = BTreeMap::new();
        let sendable = self.observed.ready.keys().filter(|key| !self.backs_off(key));
        for key in self.observed.generating.iter().chain(sendable) {
            if let Some(spec) = self.desired.keys.get(key) {
                *halves.entry(&spec.account).or_default() += 1;
            }
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_by(|one, other| {
            (one.class, one.served, &one.action).cmp(&(other.class, other.served, &other.action))
        });
        // Several copies of a pair may wait for one answer.
        candidates.dedup_by(|one, other| one.action == other.action);
        let mut rates = self.observed.rates.clone();
        for candidate in candidates {
            let Candidate { account, action, .. } = candidate;
            let is_request = !matches!(action, Action::Generate { .. });
            let rides = matches!(action, Action::Confirm { .. })
                && self.observed.surveying.contains(&account.name)
                && !riding.contains(account.name.as_str());
            let taken = match is_request {
                true => in_flight.entry(&account.name).or_default(),
                false => halves.entry(&account.name).or_default(),
            };
            if !rides && *taken >= max_concurrent(self.desired, account) {
                continue;
            }
            if is_request {
                let per_second = max_per_second(self.desired, account);
                let rate = rates.entry(account.name.clone()).or_default();
                let next = rate.next(per_second);
                if next > self.now.uptime {
                    self.wake(next);
                    continue;
                }
                rate.begun(self.now.uptime, per_second);
            }
            match rides {
                true => _ = riding.insert(&account.name),
                false => *taken += 1,
            }
            self.plan.actions.push(action);
        }
        self.plan
    }

    /// Whether making this key failed and its next try is not due.
    fn backs_off(&self, key: &str) -> bool {
        let spec = self.desired.keys.get(key);
        let account = spec.and_then(|spec| self.desired.accounts.get(&spec.account));
        let retry = self.observed.retries.get(&Subject::Making(key.to_owned()));
        retry.is_some_and(|retry| {
            !retry.is_outdated(spec, account) && retry.not_before.is_none_or(|at| at > self.now.uptime)
        })
    }

    /// Whether something may be tried now. If only time is missing, planning is asked for then.
    pub(super) fn is_open(
        &mut self,
        subject: &Subject,
        spec: Option<&Arc<KeySpec>>,
        account: Option<&Arc<Account>>,
    ) -> bool {
        let Some(retry) = self.observed.retries.get(subject) else {
            return true;
        };
        if retry.is_outdated(spec, account) {
            return true;
        }
        match retry.not_before {
            Some(at) if at <= self.now.uptime => true,
            Some(at) => {
                self.wake(at);
                false
            }
            None => false,
        }
    }

    pub(super) fn wake(&mut self, at: u64) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
