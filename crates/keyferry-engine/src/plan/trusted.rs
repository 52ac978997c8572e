//! Other public keys than ours on the hosts of a key: the recovery identity, `also_trust`, grants; and what is revoked.
//!
//! All of it goes over a generation that was seen to log in at that host and is in the agent. The line of a recovery
//! identity, which is the way back in when private halves are gone, goes only when another recovery identity was seen to
//! log in there, or when the user said that it may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::hosts::is_forgotten;
use super::places::Planner;
use super::{Action, GenerationId, Over, Subject, expiry};
use crate::desired::KeySpec;
use crate::ledger::{HostState, PlacementState, Purpose, RevocationState, Trusted};

mod replaced;

/// How many hosts are looked through for revoked lines at the same time.
const REVOKED_AT_ONCE: usize = 16;

/// What a line is to be: what for, and until when (milliseconds since 1970 UTC).
type Wanted<'a> = BTreeMap<&'a str, (Purpose, Option<i64>)>;

impl Planner<'_> {
    /// What is to be done about other public keys at the hosts of a key.
    pub(super) fn trusted(&mut self, key: &str) {
        let row = self.ledger.key(key);
        // Beside a key for one command nobody is let in: that is its pattern's to do.
        if row.is_paused(self.now.wall_ms())
            || row.held_at.is_some()
            || row.retire_asked_at.is_some()
            || row.is_for_command()
        {
            return;
        }
        let Some(spec) = self.desired.keys.get(key) else {
            return;
        };
        // Most keys have none of it, and many hosts.
        let is_nothing = self.desired.daemon.recovery.is_none()
            && spec.deploy.also_trust.is_empty()
            && self.ledger.trusted_of(key).next().is_none();
        if is_nothing {
            return;
        }
        let planned = self
            .plan
            .actions
            .iter()
            .filter(|action| action.key() == key && action.host().is_some());
        let busy = self.busy_hosts(key) + planned.count();
        let mut free = spec.deploy.at_once.max(1).saturating_sub(busy);
        for (host, over) in self.entries(key) {
            let Some(action) = self.next_at(key, spec, &host, over) else {
                continue;
            };
            if free > 0 && !self.is_busy(&host) && self.may_work_at(key, spec, &host) {
                free -= 1;
                self.taken.insert(host);
                self.plan.actions.push(action);
            }
        }
    }

    /// The hosts of a key where keyferry can log in, each with the newest generation that does.
    fn entries(&self, key: &str) -> BTreeMap<String, GenerationId> {
        let placements = self.ledger.placements_of(key).filter(|placement| {
            placement.state == PlacementState::Verified && self.is_in_agent(key, placement.n)
        });
        // Of one host they come in the order of the generations.
        placements
            .map(|placement| (placement.host.clone(), (key.to_owned(), placement.n)))
            .collect()
    }

    fn next_at(&mut self, key: &str, spec: &Arc<KeySpec>, host: &str, over: GenerationId) -> Option<Action> {
        let desired = self.desired;
        let identity = desired
            .daemon
            .recovery
            .as_ref()
            .map(|recovery| recovery.public_key.as_str());
        let rows: Vec<&Trusted> = self.ledger.trusted_at(key, host).collect();
        let mut wanted = Wanted::new();
        let now = self.now.wall_ms();
        for row in rows
            .iter()
            .filter(|row| row.purpose == Purpose::Grant && row.state != PlacementState::Removing)
        {
            if row.until.is_none_or(|until| until > now) {
                wanted.insert(&row.public_key, (Purpose::Grant, row.until));
            }
        }
        if spec.present {
            for public_key in &spec.deploy.also_trust {
                wanted.insert(public_key, (Purpose::AlsoTrust, None));
            }
        }
        if let Some(identity) = identity {
            wanted.insert(identity, (Purpose::Recovery, None));
        }
        // A line of ours with the same key would be taken for this one.
        wanted.retain(|public_key, _| !self.is_ours(key, public_key));

        let login = (over.0.clone(), over.1, host.to_owned());
        let beside = self
            .ledger
            .placements
            .get(&login)
            .and_then(|line| line.file.clone());
        for (public_key, (purpose, until)) in &wanted {
            let row = rows.iter().find(|row| row.public_key == **public_key);
            let stands = |expiry: fn(SystemTime) -> String| {
                let options = options(spec, *purpose, *until, expiry);
                row.is_some_and(|row| row.line.starts_with(&before_the_comment(&options, public_key)))
            };
            // Where the generation logs in sshd reads: beside it they belong.
            let is_elsewhere =
                row.is_some_and(|row| row.file.is_some() && beside.is_some() && row.file != beside);
            // What an earlier version wrote is left: it ends at the same time.
            let is_there = row.is_some_and(|row| row.is_there() && row.purpose == *purpose)
                && !is_elsewhere
                && (stands(expiry::option) || stands(expiry::earlier_option));
            if !is_there {
                return Some(Action::PutTrusted {
                    over,
                    host: host.to_owned(),
                    public_key: (*public_key).to_owned(),
                    purpose: *purpose,
                });
            }
        }
        let recovery = rows.iter().find(|row| Some(&*row.public_key) == identity);
        let mut gone = Vec::new();
        for row in rows.iter().filter(|row| !wanted.contains_key(&*row.public_key)) {
            let may_go = row.state == PlacementState::Removing
                || match row.purpose {
                    Purpose::AlsoTrust => spec.present,
                    Purpose::Grant => true,
                    Purpose::Recovery => recovery.is_some_and(|row| row.state == PlacementState::Verified),
                };
            if may_go {
                gone.push(row.public_key.clone());
            } else if row.purpose == Purpose::Recovery {
                let why = match identity {
                    None => "no other recovery identity is named",
                    Some(_) => "the new one was not seen to log in there yet",
                };
                self.plan
                    .trust_waits
                    .insert(row.id(), format!("the old recovery identity stays: {why}"));
            }
        }
        if !gone.is_empty() {
            return Some(Action::TakeOffTrusted {
                key: key.to_owned(),
                over: Over::Generation(over),
                host: host.to_owned(),
                public_keys: gone,
            });
        }
        // Last, for it may fail for long, and keeps nothing else from being done.
        let is_to_be_tried = recovery.is_some_and(|row| self.is_recovery_to_be_tried(row, &over));
        let subject = Subject::Recovery(key.to_owned(), host.to_owned());
        (is_to_be_tried && self.is_open(&subject, Some(spec), None)).then(|| Action::VerifyRecovery {
            over,
            host: host.to_owned(),
        })
    }

    /// Whether the recovery identity is to log in where its line stands: once for each generation, and while somebody waits.
    fn is_recovery_to_be_tried(&self, row: &Trusted, over: &GenerationId) -> bool {
        let generation = self.ledger.generations.get(over);
        let since = generation.map_or(0, |generation| generation.requested_at);
        let asked = self.observed.recovering.get(&row.host);
        let is_due = row.state != PlacementState::Verified
            || row.verified_at.is_none_or(|at| at < since)
            || asked.is_some_and(|asked| row.verified_at < Some(*asked));
        is_due && (!needs_touch(&row.public_key) || asked.is_some())
    }

    /// A key that ends takes those with it that were let in beside it, over a login that stays. The recovery identity stays
    /// in where no other key has put it there too: it may be all that logs in.
    pub(super) fn trusted_of_an_ending_key(&mut self, key: &str) {
        let row = self.ledger.key(key);
        if row.retire_asked_at.is_none() || row.held_at.is_some() {
            return;
        }
        if row.is_paused(self.now.wall_ms()) {
            if let Some(until) = row.goes_on_at() {
                self.wake_at_wall(until);
            }
            return;
        }
        let mut hosts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for row in self.ledger.trusted_of(key) {
            if self.may_go_with_its_key(row) {
                hosts.entry(&row.host).or_default().push(row.public_key.clone());
            }
        }
        let spec = self.desired.keys.get(key);
        for (host, public_keys) in hosts {
            let over = self.entry_of_others(key, host, &public_keys);
            let Some(over) = over.or_else(|| self.own_last_entry(key, host)) else {
                continue;
            };
            // What blocks a host may pass by itself (a full disk, a network with another host of that name): it is tried
            // again in its time.
            let is_fit = !is_forgotten(self.ledger.hosts.get(host));
            let subject = Subject::Trusted(key.to_owned(), host.to_owned());
            if is_fit && !self.is_busy(host) && self.is_open(&subject, spec, None) {
                self.taken.insert(host.to_owned());
                self.plan.actions.push(Action::TakeOffTrusted {
                    key: key.to_owned(),
                    over,
                    host: host.to_owned(),
                    public_keys,
                });
            }
        }
    }

    /// Whether another's line goes with the key that it was put beside.
    pub(in crate::plan) fn may_go_with_its_key(&self, row: &Trusted) -> bool {
        row.state == PlacementState::Removing
            || row.purpose != Purpose::Recovery
            || self.ledger.trusted.values().any(|other| {
                let is_same = other.host == row.host && other.public_key == row.public_key;
                is_same && other.key != row.key && other.is_there() && !self.ends(&other.key)
            })
    }

    /// The key's own login at a host where the user accepted that none stays: it goes last.
    fn own_last_entry(&self, key: &str, host: &str) -> Option<Over> {
        let accepts = self.ledger.keys.get(key).is_some_and(|row| row.accepts(host));
        let own = self.ledger.placements_of(key).rfind(|placement| {
            placement.host == host
                && placement.state == PlacementState::Verified
                && self.is_in_agent(key, placement.n)
        });
        own.filter(|_| accepts)
            .map(|own| Over::Generation((key.to_owned(), own.n)))
    }

    /// Whether the recovery identity was seen to log in at a host, and can without a person or has one.
    pub(in crate::plan) fn recovery_logs_in(&self, host: &str) -> bool {
        let recovery = self.desired.daemon.recovery.as_ref();
        recovery.is_some_and(|recovery| {
            self.observed.recovery_verified.contains_key(host)
                && (!needs_touch(&recovery.public_key) || self.observed.recovering.contains_key(host))
        })
    }

    /// A login at a host that stays when a key and these others are gone.
    fn entry_of_others(&self, key: &str, host: &str, going: &[String]) -> Option<Over> {
        let mut others = self.ledger.placements.values().filter(|placement| {
            placement.host == host
                && placement.key != key
                && placement.state == PlacementState::Verified
                && self.is_in_agent(&placement.key, placement.n)
                && !self.ledger.is_held(&placement.key)
                && !self.ends(&placement.key)
        });
        if let Some(other) = others.next() {
            return Some(Over::Generation((other.key.clone(), other.n)));
        }
        let identity = &self.desired.daemon.recovery.as_ref()?.public_key;
        (self.recovery_logs_in(host) && !going.contains(identity)).then_some(Over::Recovery)
    }

    fn ends(&self, key: &str) -> bool {
        self.ledger
            .keys
            .get(key)
            .is_some_and(|row| row.retire_asked_at.is_some() || row.is_for_command())
    }

    fn is_ours(&self, key: &str, public_key: &str) -> bool {
        let blob = keyferry_hosts::public_blob(public_key);
        blob.is_none() || self.ledger.of_key(key).any(|generation| generation.blob == blob)
    }

    fn may_work_at(&mut self, key: &str, spec: &Arc<KeySpec>, host: &str) -> bool {
        !is_forgotten(self.ledger.hosts.get(host))
            && self.is_open(
                &Subject::Trusted(key.to_owned(), host.to_owned()),
                Some(spec),
                None,
            )
            && self.is_open(&Subject::Host(key.to_owned(), host.to_owned()), Some(spec), None)
    }

    /// Grants end by time, if nothing happens before. `key`: those of this one alone.
    pub(super) fn ends_of_grants(&mut self, key: Option<&str>) {
        let now = self.now.wall_ms();
        let ends = self
            .ledger
            .trusted
            .values()
            .filter(|row| row.state != PlacementState::Removing && key.is_none_or(|key| row.key == key));
        let next = ends
            .filter_map(|row| row.until)
            .filter(|until| *until > now)
            .min();
        if let Some(next) = next {
            let at = self.now.uptime.saturating_add(next.abs_diff(now));
            self.plan.survey_at = Some(self.plan.survey_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// What the user wants off hosts, whoever put it there.
    pub(super) fn revocations(&mut self) {
        let mut free = REVOKED_AT_ONCE.saturating_sub(self.observed.revoking.len());
        for row in self.ledger.revocations.values() {
            let is_wanted = matches!(row.state, RevocationState::Asked | RevocationState::Removing);
            let is_wanted = is_wanted && !is_forgotten(self.ledger.hosts.get(&row.host));
            let subject = Subject::Revocation(row.host.clone());
            if !is_wanted || free == 0 || self.is_busy(&row.host) || !self.is_open(&subject, None, None) {
                continue;
            }
            free -= 1;
            self.taken.insert(row.host.clone());
            self.plan.actions.push(Action::Revoke {
                host: row.host.clone(),
                selector: row.selector.clone(),
            });
        }
    }

    /// The host keys of hosts where no key of ours logs in now, and the recovery identity should: it is offered to them.
    pub(super) fn lends(&mut self) {
        let Some(recovery) = &self.desired.daemon.recovery else {
            return;
        };
        let ways_in = self.ledger.placements.values().filter(|placement| {
            placement.state == PlacementState::Verified && self.is_in_agent(&placement.key, placement.n)
        });
        let ways_in: BTreeSet<(&str, &str)> = ways_in
            .map(|placement| (placement.key.as_str(), placement.host.as_str()))
            .collect();
        for row in self.ledger.trusted.values() {
            if row.public_key != recovery.public_key || row.state == PlacementState::Removing {
                continue;
            }
            let has_way_in = ways_in.contains(&(row.key.as_str(), row.host.as_str()));
            let host = self
                .ledger
                .hosts
                .get(&row.host)
                .filter(|host| host.state != HostState::Forgotten);
            if let (false, Some(pinned)) = (has_way_in, host.and_then(|host| host.pinned_host_key.clone())) {
                self.plan.lend.insert(pinned);
            }
        }
    }
}

/// Whether a key's owner has to be there when it signs.
pub(crate) fn needs_touch(public_key: &str) -> bool {
    public_key.starts_with("sk-")
}

/// What another's line begins with: all but the comment.
pub(super) fn beginning(spec: &KeySpec, public_key: &str, purpose: Purpose, until: Option<i64>) -> String {
    before_the_comment(&trusted_options(spec, purpose, until), public_key)
}

fn before_the_comment(options: &str, public_key: &str) -> String {
    match options {
        "" => format!("{public_key} "),
        options => format!("{options} {public_key} "),
    }
}

/// The options of another's line. A grant has those of the key's own lines, and its end, so that the host itself stops to
/// let it in when keyferry does not come to take it off. The ways back in are bound by nothing: that is what they are for.
pub(crate) fn trusted_options(spec: &KeySpec, purpose: Purpose, until: Option<i64>) -> String {
    options(spec, purpose, until, expiry::option)
}

fn options(spec: &KeySpec, purpose: Purpose, until: Option<i64>, expiry: fn(SystemTime) -> String) -> String {
    if purpose != Purpose::Grant {
        return String::new();
    }
    let mut options = spec.deploy.options.clone();
    if let Some(until) = until {
        let seconds = u64::try_from(until / 1_000).unwrap_or_default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        if !options.is_empty() {
            options.push(',');
        }
        options.push_str(&expiry(time));
    }
    options
}

#[cfg(test)]
mod tests;
