//! The planner: desired state against observed state gives what to do now. Pure: no I/O, no clock, no chance.
//!
//! It is asked after every event and says everything that may begin at once, within each account's limit. What was
//! begun shows in [`Observed`] at the next question, so the same answer is never acted on twice.

use std::collections::{BTreeMap, BTreeSet};

mod blocked;
pub(crate) mod expiry;
mod explain;
mod hosts;
mod keys;
mod limits;
mod observed;
mod places;
mod rate;
mod regions;
mod rotation;
mod trusted;

#[cfg(test)]
mod tests;

pub use explain::{after_reboot, explain};
pub use hosts::{KeyHost, host_of, hosts_of, user};
pub use limits::{Limit, Overfull};
pub use observed::{Observed, Retry, Subject};
pub use places::{DEFAULT_CONCURRENT, max_concurrent};
pub use rate::{DEFAULT_PER_SECOND, Rate, max_per_second};
pub use rotation::due_at;
pub(crate) use trusted::{needs_touch, trusted_options};

use crate::desired::Desired;
use crate::engine::{Moment, Offer};
use crate::ledger::{LedgerView, Purpose, Selector, TrustedId};
use crate::snapshot::LOCKED;
use places::Planner;

/// A key with that many pairs that it could not delete gets no other.
pub const MAX_UNWANTED: usize = 3;

/// A generation's identity: the key's name and the number.
pub type GenerationId = (String, u64);

/// One thing to do now.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Ask about one pair that the list of all made doubtful.
    Confirm {
        /// The generation.
        id: GenerationId,
    },
    /// Register the public half of the loaded generation in a region where it has no pair.
    Copy {
        /// The key.
        key: String,
        /// The region.
        region: Option<String>,
    },
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
    /// Look at all pairs of an account.
    Survey {
        /// The account.
        account: String,
    },
    /// Find out which hosts a key has, where a file or a program says so.
    ListHosts {
        /// The key.
        key: String,
    },
    /// Ask which instances name a generation's pair.
    ListInstances {
        /// The generation.
        id: GenerationId,
    },
    /// Offer a staged generation everywhere, and call the active one an earlier one.
    Promote {
        /// The generation.
        id: GenerationId,
    },
    /// Put a generation's line on a host.
    Put {
        /// The generation.
        id: GenerationId,
        /// The host's address.
        host: String,
    },
    /// Take lines off a host, over a login with a key that stays.
    TakeOff {
        /// The key that stays.
        over: Over,
        /// The host's address.
        host: String,
        /// Whose lines go; not empty.
        lines: Vec<GenerationId>,
    },
    /// Put the line of another public key than ours on a host.
    PutTrusted {
        /// With what keyferry logs in.
        over: GenerationId,
        /// The host's address.
        host: String,
        /// `TYPE BASE64`.
        public_key: String,
        /// What it is there for.
        purpose: Purpose,
    },
    /// Take lines of foreign keys off a host that the key's file says it replaces.
    Replace {
        /// With what keyferry logs in, which stays.
        over: GenerationId,
        /// The host's address.
        host: String,
        /// Whose lines go, each `SHA256:...`; not empty.
        fingerprints: Vec<String>,
    },
    /// Take off a host what the user wants off it, whoever put it there.
    Revoke {
        /// The host's address.
        host: String,
        /// Which lines.
        selector: Selector,
    },
    /// Take lines of other public keys than ours off a host.
    TakeOffTrusted {
        /// The key on whose hosts they stand.
        key: String,
        /// With what keyferry logs in, which stays.
        over: Over,
        /// The host's address.
        host: String,
        /// Whose lines go, each `TYPE BASE64`; not empty.
        public_keys: Vec<String>,
    },
    /// Have the agent forget a generation.
    Unload {
        /// The generation.
        id: GenerationId,
    },
    /// See whether the recovery identity logs in at a host.
    VerifyRecovery {
        /// A generation that does.
        over: GenerationId,
        /// The host's address.
        host: String,
    },
    /// See whether a generation logs in at a host.
    Verify {
        /// The generation.
        id: GenerationId,
        /// The host's address.
        host: String,
    },
}

/// With what a login is made when lines are taken off.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Over {
    /// A generation that was seen to log in there; of another key, where this one ends. Only where the user accepted that a
    /// host has no way in any more, its own line is among those that go: then no login can follow, and none is tried.
    Generation(GenerationId),
    /// The recovery identity, which was seen to log in there.
    Recovery,
}

/// Why a key gets nothing now, although nothing failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waiting {
    /// The account of an old pair is gone, or has another plugin, endpoint or place now.
    AccountOfPair {
        /// The account.
        account: String,
        /// Its plugin when the pair was made.
        plugin: String,
        /// Its endpoint then; none: the vendor's own.
        endpoint: Option<String>,
        /// Where its settings led then ([`Account::place`](crate::desired::Account::place)).
        place: String,
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
    /// What the files ask for is more than the account's limit, and this key is among those that do not fit.
    Overfull(Overfull),
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
    /// Regions where a loaded key's public half does not fit, by key.
    pub overfull: BTreeMap<String, BTreeMap<Option<String>, Overfull>>,
    /// To whom each generation in the agent is to be offered.
    pub offers: BTreeMap<GenerationId, Offer>,
    /// The host keys of hosts that the recovery identity is to be offered to.
    pub lend: BTreeSet<Vec<u8>>,
    /// Why another's line that is not wanted any more stays, in words.
    pub trust_waits: BTreeMap<TrustedId, String>,
    /// Why a rotation that is wanted does not go on, by key, in words.
    pub rotations_wait: BTreeMap<String, String>,
    /// When a time is over that a key's rotation waits for, by key (milliseconds of uptime).
    pub goes_on_at: BTreeMap<String, u64>,
    /// When to ask again if nothing happens before (milliseconds of uptime).
    pub wake_at: Option<u64>,
    /// When the next account's pairs are due to be looked at, where nothing else is (milliseconds of uptime).
    pub survey_at: Option<u64>,
}

/// Plans.
pub fn plan(desired: &Desired, ledger: &LedgerView, observed: &Observed, now: Moment) -> Plan {
    let mut plan = plan_without_end(desired, ledger, observed, now);
    // The wall clock may be set meanwhile, and the hours of the day may be moved.
    let latest = now.uptime.saturating_add(LONGEST_WAIT);
    plan.wake_at = plan.wake_at.map(|at| at.min(latest));
    plan.survey_at = plan.survey_at.map(|at| at.min(latest));
    plan
}

/// As [`plan`], which asks to be woken now and then all the same.
fn plan_without_end(desired: &Desired, ledger: &LedgerView, observed: &Observed, now: Moment) -> Plan {
    let mut planner = Planner::new(desired, ledger, observed, now);
    for key in keys(desired, ledger, observed) {
        planner.key(key);
    }
    for key in desired.keys.keys() {
        planner.trusted(key);
        planner.replaced(key);
    }
    for key in ledger.keys.keys() {
        planner.trusted_of_an_ending_key(key);
    }
    planner.revocations();
    planner.blocked_hosts();
    planner.lends();
    planner.ends_of_grants(None);
    planner.surveys();
    let mut plan = planner.choose();
    if observed.locked {
        plan.wait_for_unlock();
    }
    plan
}

/// As [`plan_without_end`], of one key alone; what is known of others is taken into account.
fn plan_for<'a>(
    desired: &'a Desired,
    ledger: &'a LedgerView,
    observed: &'a Observed,
    now: Moment,
    key: &'a str,
) -> Plan {
    let mut planner = Planner::new(desired, ledger, observed, now);
    planner.key(key);
    if desired.keys.contains_key(key) {
        planner.trusted(key);
        planner.replaced(key);
    }
    planner.trusted_of_an_ending_key(key);
    planner.ends_of_grants(Some(key));
    planner.choose()
}

/// All keys of which there is anything.
fn keys<'a>(desired: &'a Desired, ledger: &'a LedgerView, observed: &'a Observed) -> BTreeSet<&'a str> {
    let mut keys: BTreeSet<&str> = desired.keys.keys().map(String::as_str).collect();
    keys.extend(ledger.generations.keys().map(|(key, _)| key.as_str()));
    keys.extend(observed.in_agent.iter().map(|(key, _)| key.as_str()));
    let mut placed = ledger.placements.keys().next();
    while let Some((key, ..)) = placed {
        keys.insert(key);
        let last = (key.clone(), u64::MAX, String::new());
        placed = ledger.placements.range(last..).next().map(|(id, _)| id);
    }
    keys.extend(observed.ready.keys().map(String::as_str));
    keys
}

impl Plan {
    /// Leaves out what is done at hosts, and says why: all of it needs a signature of ours, at the latest when a key is to be
    /// seen to log in.
    fn wait_for_unlock(&mut self) {
        let actions = std::mem::take(&mut self.actions);
        let (at_hosts, others): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| action.host().is_some());
        self.actions = others;
        let keys = at_hosts.iter().map(Action::key).filter(|key| !key.is_empty());
        for key in keys {
            self.rotations_wait.insert(key.to_owned(), LOCKED.to_owned());
        }
    }
}

/// Milliseconds.
const LONGEST_WAIT: u64 = 3_600_000;

impl Action {
    /// The host where it is done, of what is done on one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Put { host, .. }
            | Self::PutTrusted { host, .. }
            | Self::Replace { host, .. }
            | Self::Revoke { host, .. }
            | Self::TakeOff { host, .. }
            | Self::TakeOffTrusted { host, .. }
            | Self::Verify { host, .. }
            | Self::VerifyRecovery { host, .. } => Some(host),
            _ => None,
        }
    }

    /// The key; of a survey, the account.
    pub fn key(&self) -> &str {
        match self {
            Self::TakeOff { lines, .. } => lines.first().map_or("", |(key, _)| key),
            Self::Survey { account } => account,
            Self::Revoke { .. } => "",
            Self::PutTrusted { over, .. }
            | Self::Replace { over, .. }
            | Self::VerifyRecovery { over, .. } => &over.0,
            Self::Copy { key, .. }
            | Self::Create { key }
            | Self::ListHosts { key }
            | Self::TakeOffTrusted { key, .. }
            | Self::Forget { key }
            | Self::Generate { key }
            | Self::Import { key } => key,
            Self::Confirm { id }
            | Self::Delete { id }
            | Self::Doubt { id }
            | Self::ImportAgain { id }
            | Self::ListInstances { id }
            | Self::Load { id }
            | Self::Look { id }
            | Self::Promote { id }
            | Self::Publish { id }
            | Self::Put { id, .. }
            | Self::Unload { id }
            | Self::Verify { id, .. } => &id.0,
        }
    }
}
