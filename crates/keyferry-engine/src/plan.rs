//! The planner: desired state against observed state gives what to do now. Pure: no I/O, no clock, no chance.
//!
//! It is asked after every event and says everything that may begin at once, within each account's limit. What was
//! begun shows in [`Observed`] at the next question, so the same answer is never acted on twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyferry_plugin::contract::Algorithm;

use crate::desired::{Account, Desired, GeneratedBy, KeySpec};
use crate::engine::Moment;
use crate::ledger::{Generation, GenerationState, LedgerView};
use crate::snapshot::StatusError;

#[cfg(test)]
mod tests;

/// Requests in flight per account, where nothing else is said.
pub const DEFAULT_CONCURRENT: usize = 8;
/// A key with that many pairs that it could not delete gets no other.
pub const MAX_UNWANTED: usize = 3;

/// A generation's identity: the key's name and the number.
pub type GenerationId = (String, u64);

/// What the engine knows beyond files and ledger.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Keys for which a private half is being made here.
    pub generating: BTreeSet<String>,
    /// Private halves made here for which no pair was asked yet.
    pub ready: BTreeMap<String, Algorithm>,
    /// Generations with a request in flight, and its account.
    pub jobs: BTreeMap<GenerationId, String>,
    /// Generations whose private half is in our hands and not yet in the agent.
    pub halves: BTreeSet<GenerationId>,
    /// Generations that were looked for and are not there.
    pub absent: BTreeSet<GenerationId>,
    /// What the agent has, held or not.
    pub loaded: BTreeMap<String, u64>,
    /// Public halves on the disk.
    pub published: BTreeMap<String, u64>,
    /// Public halves being written.
    pub publishing: BTreeSet<String>,
    /// What failed, and when it may be tried again.
    pub retries: BTreeMap<Subject, Retry>,
    /// When a doubtful generation is looked for next (milliseconds of uptime); none: now.
    pub looks: BTreeMap<GenerationId, u64>,
    /// When a key last had a request sent, as a count of requests.
    pub served: BTreeMap<String, u64>,
}

/// What can fail by itself.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// Looking up or deleting one generation's pair.
    Generation(String, u64),
    /// Bringing a key into the agent.
    Making(String),
    /// Writing a key's public half.
    Publishing(String),
}

impl Subject {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Self::Generation(key, _) | Self::Making(key) | Self::Publishing(key) => key,
        }
    }
}

/// A failure and what follows from it.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How often in a row.
    pub failures: u32,
    /// Uptime in milliseconds; none: not until a file changes or the user asks.
    pub not_before: Option<u64>,
    /// Whether deleting the key's lost pairs makes room.
    pub needs_room: bool,
    /// The key's file then.
    pub spec: Option<Arc<KeySpec>>,
    /// The account's file then.
    pub account: Option<Arc<Account>>,
    /// What status shows.
    pub error: StatusError,
}

impl Retry {
    /// Whether the files say something else than when it failed.
    pub fn is_outdated(&self, spec: Option<&Arc<KeySpec>>, account: Option<&Arc<Account>>) -> bool {
        self.spec.as_ref() != spec || self.account.as_ref() != account
    }
}

/// One thing to do now.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Ask the provider to make a pair: the key's next generation.
    Create {
        /// The key.
        key: String,
    },
    /// Delete a pair of ours, after comparing it with what the ledger knows.
    Delete {
        /// The generation.
        id: GenerationId,
    },
    /// Wait no longer for a generation that nobody can look for, and whose private half is lost.
    Doubt {
        /// The generation.
        id: GenerationId,
    },
    /// Wipe a private half that nobody needs any more.
    Forget {
        /// The key.
        key: String,
    },
    /// Make a private half.
    Generate {
        /// The key.
        key: String,
    },
    /// Register the public half of a ready private one: the key's next generation.
    Import {
        /// The key.
        key: String,
    },
    /// Register a generation again that did not arrive.
    ImportAgain {
        /// The generation.
        id: GenerationId,
    },
    /// Put a private half into the agent.
    Load {
        /// The generation.
        id: GenerationId,
    },
    /// Find out whether a generation's pair is there.
    Look {
        /// The generation.
        id: GenerationId,
    },
    /// Write a public half to the disk.
    Publish {
        /// The generation.
        id: GenerationId,
    },
}

/// Why a key gets nothing now, although nothing failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waiting {
    /// The account of an old pair is gone, or has another plugin or endpoint now.
    AccountOfPair {
        /// The account.
        account: String,
        /// Its plugin when the pair was made.
        plugin: String,
        /// Its endpoint then; none: the vendor's own.
        endpoint: Option<String>,
        /// The pair's name.
        pair_name: String,
    },
    /// The key's file is missing, and its private half lost.
    FileMissing,
    /// The key's file names an account that is not there.
    NoAccount {
        /// The account.
        account: String,
    },
    /// [`MAX_UNWANTED`] pairs of it could not be deleted.
    UnwantedPairs,
}

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// All may begin at once.
    pub actions: Vec<Action>,
    /// By key.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to ask again if nothing happens before (milliseconds of uptime).
    pub wake_at: Option<u64>,
}

/// Plans.
pub fn plan(desired: &Desired, ledger: &LedgerView, observed: &Observed, now: Moment) -> Plan {
    let mut planner = Planner {
        desired,
        ledger,
        observed,
        now,
        plan: Plan::default(),
        candidates: Vec::new(),
    };
    let mut keys: BTreeSet<&str> = desired.keys.keys().map(String::as_str).collect();
    keys.extend(ledger.generations.keys().map(|(key, _)| key.as_str()));
    keys.extend(observed.ready.keys().map(String::as_str));
    for key in keys {
        planner.key(key);
    }
    planner.choose();
    planner.plan
}

/// How many requests of an account may be in flight.
pub fn max_concurrent(desired: &Desired, account: &Account) -> usize {
    account
        .max_concurrent
        .or(desired.daemon.max_concurrent)
        .unwrap_or(DEFAULT_CONCURRENT)
        .clamp(1, 64)
}

struct Planner<'a> {
    desired: &'a Desired,
    ledger: &'a LedgerView,
    observed: &'a Observed,
    now: Moment,
    plan: Plan,
    candidates: Vec<Candidate>,
}

/// An action that takes one of an account's places.
struct Candidate {
    account: Arc<Account>,
    class: Class,
    served: u64,
    action: Action,
}

/// Keys come before tidying up.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Class {
    Make,
    TidyUp,
}

impl Planner<'_> {
    fn key(&mut self, key: &str) {
        let spec = self.desired.keys.get(key);
        let account = spec.and_then(|spec| self.desired.accounts.get(&spec.account));
        let held = self.ledger.is_held(key);
        let loaded = self.observed.loaded.get(key).copied();
        let making = Subject::Making(key.to_owned());
        let needs_room = self
            .observed
            .retries
            .get(&making)
            .is_some_and(|retry| retry.needs_room);

        let present = spec.filter(|spec| spec.present);
        let could_make = present.is_some() && account.is_some() && !held && loaded.is_none();
        let mut under_way = false;
        let mut unwanted = 0;
        for generation in self.ledger.of_key(key) {
            let id = generation.id();
            let busy = self.observed.jobs.contains_key(&id);
            let in_hand = self.observed.halves.contains(&id);
            match generation.state {
                GenerationState::Requested => {
                    under_way = true;
                    if busy {
                    } else if in_hand && self.observed.absent.contains(&id) {
                        if self.is_open(&making, spec, account) {
                            self.request(generation, Class::Make, Action::ImportAgain { id });
                        }
                    } else if !in_hand && could_make && self.account_of(generation).is_none() {
                        self.doubt(generation);
                    } else {
                        self.request_when_open(generation, Class::Make, Action::Look { id });
                    }
                }
                GenerationState::Live if in_hand => {
                    under_way = true;
                    if !held && self.is_open(&making, spec, account) {
                        self.plan.actions.push(Action::Load { id });
                    }
                }
                GenerationState::Live if loaded == Some(generation.n) => self.publish(id),
                GenerationState::Live => {
                    let superseded = loaded.is_some() || (needs_room && !held);
                    if superseded && !busy {
                        self.request_when_open(generation, Class::TidyUp, Action::Delete { id });
                    }
                }
                GenerationState::Unwanted => {
                    unwanted += usize::from(generation.loaded_at.is_none());
                    if !busy {
                        self.request_when_open(generation, Class::TidyUp, Action::Delete { id });
                    }
                }
                GenerationState::Doubtful => {
                    let due = self.observed.looks.get(&id).copied().unwrap_or(0);
                    if busy {
                    } else if due > self.now.uptime {
                        self.wake(due);
                    } else {
                        self.request_when_open(generation, Class::TidyUp, Action::Look { id });
                    }
                }
                GenerationState::Blocked
                | GenerationState::Deleted
                | GenerationState::Gone
                | GenerationState::Foreign
                | GenerationState::Absent => {}
            }
        }

        let wanted = present.filter(|_| !held && loaded.is_none() && !under_way);
        if present.is_none() && !held && loaded.is_none() && !under_way {
            self.plan.waiting.insert(key.to_owned(), Waiting::FileMissing);
        }
        match wanted {
            Some(spec) => self.make(spec, unwanted),
            None if self.observed.ready.contains_key(key) => {
                self.plan.actions.push(Action::Forget { key: key.to_owned() });
            }
            None => {}
        }
    }

    /// The next step towards a new generation.
    fn make(&mut self, spec: &Arc<KeySpec>, unwanted: usize) {
        let key = spec.name.clone();
        let ready = self.observed.ready.get(&key).copied();
        let fits = spec.generated_by == GeneratedBy::Keyferry && ready == Some(spec.algorithm);
        if ready.is_some() && !fits {
            self.plan.actions.push(Action::Forget { key });
            return;
        }
        let Some(account) = self.desired.accounts.get(&spec.account) else {
            self.plan.waiting.insert(
                key,
                Waiting::NoAccount {
                    account: spec.account.clone(),
                },
            );
            return;
        };
        if unwanted >= MAX_UNWANTED {
            self.plan.waiting.insert(key, Waiting::UnwantedPairs);
            return;
        }
        if !self.is_open(&Subject::Making(key.clone()), Some(spec), Some(account)) {
            return;
        }
        let action = match spec.generated_by {
            GeneratedBy::Provider => Action::Create { key },
            GeneratedBy::Keyferry if ready.is_some() => Action::Import { key },
            GeneratedBy::Keyferry if self.observed.generating.contains(&key) => return,
            GeneratedBy::Keyferry => Action::Generate { key },
        };
        self.propose(account, Class::Make, action);
    }

    fn publish(&mut self, id: GenerationId) {
        let (key, n) = &id;
        let is_done = self.observed.published.get(key) == Some(n) || self.observed.publishing.contains(key);
        let subject = Subject::Publishing(key.clone());
        // No file changes how the disk fares: only time and the user do.
        let known = self.observed.retries.get(&subject);
        let (spec, account) = known
            .map(|retry| (retry.spec.clone(), retry.account.clone()))
            .unwrap_or_default();
        if !is_done && self.is_open(&subject, spec.as_ref(), account.as_ref()) {
            self.plan.actions.push(Action::Publish { id });
        }
    }

    /// The next generation need not wait for the account of this one.
    fn doubt(&mut self, generation: &Generation) {
        let subject = Subject::Generation(generation.key.clone(), generation.n);
        let known = self.observed.retries.get(&subject);
        let (spec, account) = known
            .map(|retry| (retry.spec.clone(), retry.account.clone()))
            .unwrap_or_default();
        // Closed while the disk refuses to note it.
        if self.is_open(&subject, spec.as_ref(), account.as_ref()) {
            self.plan.actions.push(Action::Doubt { id: generation.id() });
        }
    }

    /// The account that a generation was made with, if it still is what it was.
    fn account_of(&self, generation: &Generation) -> Option<&Arc<Account>> {
        let account = self.desired.accounts.get(&generation.account);
        account.filter(|account| generation.is_of(account))
    }

    /// A request about a generation, unless an earlier one failed and its time has not come.
    fn request_when_open(&mut self, generation: &Generation, class: Class, action: Action) {
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
    fn request(&mut self, generation: &Generation, class: Class, action: Action) {
        match self.account_of(generation).cloned() {
            Some(account) => self.propose(&account, class, action),
            None => {
                let waiting = Waiting::AccountOfPair {
                    account: generation.account.clone(),
                    plugin: generation.plugin.clone(),
                    endpoint: generation.endpoint.clone(),
                    pair_name: generation.pair_name.clone(),
                };
                self.plan.waiting.entry(generation.key.clone()).or_insert(waiting);
            }
        }
    }

    fn propose(&mut self, account: &Arc<Account>, class: Class, action: Action) {
        let served = self.observed.served.get(action.key()).copied().unwrap_or(0);
        self.candidates.push(Candidate {
            account: Arc::clone(account),
            class,
            served,
            action,
        });
    }

    /// Fills the free places of every account: making before tidying up, and of equals the key that waited longest.
    fn choose(&mut self) {
        let mut in_flight: BTreeMap<&str, usize> = BTreeMap::new();
        for account in self.observed.jobs.values() {
            *in_flight.entry(account).or_default() += 1;
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
        self.candidates.sort_by(|one, other| {
            (one.class, one.served, &one.action).cmp(&(other.class, other.served, &other.action))
        });
        for candidate in &self.candidates {
            let taken = match candidate.action {
                Action::Generate { .. } => halves.entry(&candidate.account.name).or_default(),
                _ => in_flight.entry(&candidate.account.name).or_default(),
            };
            if *taken < max_concurrent(self.desired, &candidate.account) {
                *taken += 1;
                self.plan.actions.push(candidate.action.clone());
            }
        }
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
    fn is_open(
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

    fn wake(&mut self, at: u64) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Action {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Self::Create { key } | Self::Forget { key } | Self::Generate { key } | Self::Import { key } => {
                key
            }
            Self::Delete { id }
            | Self::Doubt { id }
            | Self::ImportAgain { id }
            | Self::Load { id }
            | Self::Look { id }
            | Self::Publish { id } => &id.0,
        }
    }
}
