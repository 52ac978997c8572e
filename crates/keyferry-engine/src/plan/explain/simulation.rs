//! A world in which every step works, for one key.

use std::time::Duration;

mod outcome;

use crate::desired::Desired;
use crate::engine::Moment;
use crate::ledger::{HostState, LedgerView, Placement, PlacementState};
use crate::plan::{Action, Observed, Plan, Retry, Subject};
use crate::snapshot::StatusError;

/// An uptime that is not waited for.
pub(super) const NEVER: u64 = u64::MAX / 4;

pub(super) struct Simulation {
    key: String,
    desired: Desired,
    ledger: LedgerView,
    observed: Observed,
    pub(super) now: Moment,
}

impl Simulation {
    /// The world of one key as it is, with what is under way left out: it is planned again.
    pub(super) fn of(
        desired: &Desired,
        ledger: &LedgerView,
        observed: &Observed,
        now: Moment,
        key: &str,
    ) -> Self {
        let is_retiring = ledger.key(key).retire_asked_at.is_some();
        let is_own = |other: &String| other == key;
        let spec = desired.keys.get(key).cloned();
        let mut simulation = Self {
            key: key.to_owned(),
            desired: Desired {
                daemon: desired.daemon.clone(),
                accounts: desired.accounts.clone(),
                keys: spec.iter().map(|spec| (key.to_owned(), spec.clone())).collect(),
                ..Desired::default()
            },
            ledger: LedgerView {
                installation: ledger.installation.clone(),
                // Whether other keys are held, or end too.
                keys: ledger
                    .keys
                    .iter()
                    .filter(|(other, _)| is_retiring || is_own(other))
                    .map(owned)
                    .collect(),
                generations: ledger.of_key(key).map(|row| (row.id(), row.clone())).collect(),
                hosts: ledger.hosts.clone(),
                // Over which other key a line may go.
                placements: ledger
                    .placements
                    .iter()
                    .filter(|((other, ..), _)| is_retiring || is_own(other))
                    .map(owned)
                    .collect(),
                trusted: ledger
                    .trusted
                    .iter()
                    .filter(|((other, ..), _)| is_retiring || is_own(other))
                    .map(owned)
                    .collect(),
                last_effect: ledger.last_effect,
                ..LedgerView::default()
            },
            observed: Observed {
                ready: observed
                    .ready
                    .iter()
                    .filter(|(other, _)| is_own(other))
                    .map(owned)
                    .collect(),
                halves: observed
                    .halves
                    .iter()
                    .filter(|(other, _)| is_own(other))
                    .cloned()
                    .collect(),
                absent: observed.absent.clone(),
                loaded: observed.loaded.clone(),
                published: observed.published.clone(),
                retries: observed
                    .retries
                    .iter()
                    .filter(|(subject, _)| subject.key() == key)
                    .map(owned)
                    .collect(),
                looks: observed.looks.clone(),
                limits: observed.limits.clone(),
                in_agent: observed
                    .in_agent
                    .iter()
                    .filter(|(other, _)| is_retiring || is_own(other))
                    .cloned()
                    .collect(),
                host_lists: observed
                    .host_lists
                    .iter()
                    .map(|(key, (hosts, _))| (key.clone(), (hosts.clone(), NEVER)))
                    .collect(),
                refused_logins: observed
                    .refused_logins
                    .iter()
                    .filter(|(other, ..)| is_own(other))
                    .cloned()
                    .collect(),
                instances: observed
                    .instances
                    .iter()
                    .map(|(id, (names, _))| (id.clone(), (names.clone(), NEVER)))
                    .collect(),
                can_list_instances: observed.can_list_instances.clone(),
                replaced: observed
                    .replaced
                    .iter()
                    .filter(|((other, _), _)| is_own(other))
                    .map(owned)
                    .collect(),
                recovery_verified: observed.recovery_verified.clone(),
                urged: observed.urged.clone(),
                ..Observed::default()
            },
            now,
        };
        for id in observed.jobs.keys().filter(|(other, _)| is_own(other)) {
            simulation.arrive(id);
        }
        let away: Vec<String> = simulation
            .ledger
            .hosts
            .values()
            .filter(|row| matches!(row.state, HostState::Parked | HostState::Blocked))
            .map(|row| row.address.clone())
            .collect();
        for host in away {
            let retry = Retry {
                failures: 1,
                not_before: None,
                needs_room: false,
                spec: spec.clone(),
                account: None,
                error: stays_away(),
            };
            let subject = Subject::Host(key.to_owned(), host);
            simulation.observed.retries.insert(subject, retry);
        }
        simulation
    }

    /// What is done now for the key.
    pub(super) fn plan(&self) -> Plan {
        crate::plan::plan_for(&self.desired, &self.ledger, &self.observed, self.now, &self.key)
    }

    /// What has become of it.
    #[cfg(test)]
    pub(super) fn parts(&self) -> (&LedgerView, &Observed) {
        (&self.ledger, &self.observed)
    }

    pub(super) fn pass_until(&mut self, uptime: u64) {
        let passed = uptime.saturating_sub(self.now.uptime).max(1);
        let minutes = (passed + self.now.wall_ms().unsigned_abs() % 60_000) / 60_000;
        let minute = (u64::from(self.now.local_minute) + minutes) % 1_440;
        self.now = Moment {
            uptime: self.now.uptime + passed,
            wall: self.now.wall + Duration::from_millis(passed),
            local_minute: u16::try_from(minute).unwrap_or_default(),
        };
    }

    /// Whether nothing of an earlier generation is left that could go.
    pub(super) fn is_through(&self, key: &str) -> bool {
        let active = self.observed.loaded.get(key).copied();
        let in_agent = self
            .observed
            .in_agent
            .iter()
            .any(|(other, n)| other == key && Some(*n) != active);
        let is_away = |host: &str| {
            let state = self.ledger.hosts.get(host).map(|row| row.state);
            matches!(
                state,
                Some(HostState::Parked | HostState::Blocked | HostState::Forgotten)
            )
        };
        let stands = |row: &Placement| Some(row.n) != active && !is_away(&row.host);
        !in_agent && !self.ledger.placements_of(key).any(stands)
    }

    /// Whether a step is worth showing: a login that only shows that a key is not there yet is not, and neither is a line
    /// that is written anew from time to time.
    pub(super) fn shows(&self, action: &Action) -> bool {
        match action {
            Action::Verify { id, host } => {
                let placement = self.placement(id, host);
                placement.is_some_and(|placement| placement.verified_at.is_none())
            }
            Action::Put { id, host } => {
                let placement = self.placement(id, host);
                placement.is_none_or(|placement| placement.state != PlacementState::Verified)
            }
            Action::Publish { .. } | Action::Survey { .. } => false,
            _ => true,
        }
    }

    pub(super) fn generation_of(&self, action: &Action) -> Option<u64> {
        match action {
            Action::Confirm { id }
            | Action::Delete { id }
            | Action::Doubt { id }
            | Action::ImportAgain { id }
            | Action::ListInstances { id }
            | Action::Load { id }
            | Action::Look { id }
            | Action::Promote { id }
            | Action::Publish { id }
            | Action::Put { id, .. }
            | Action::Unload { id }
            | Action::Verify { id, .. } => Some(id.1),
            Action::Create { key } | Action::Generate { key } | Action::Import { key } => {
                Some(self.ledger.key(key).last_n + 1)
            }
            Action::TakeOff { lines, .. } => lines.first().map(|(_, n)| *n),
            Action::PutTrusted { .. }
            | Action::Replace { .. }
            | Action::Revoke { .. }
            | Action::TakeOffTrusted { .. }
            | Action::VerifyRecovery { .. } => None,
            Action::Copy { key, .. } => self.observed.loaded.get(key).copied(),
            Action::Forget { .. } | Action::ListHosts { .. } | Action::Survey { .. } => None,
        }
    }

    pub(super) fn reason_to_begin(&self, key: &str) -> String {
        let Some(active) = self.observed.loaded.get(key) else {
            return match self.ledger.key(key).last_n {
                0 => "it has no key yet".to_owned(),
                _ => "its private half is gone".to_owned(),
            };
        };
        match self.ledger.key(key).rotate_asked_at {
            Some(_) => "a rotation was asked for".to_owned(),
            None => format!("generation {active} has served its time"),
        }
    }

    /// Whether a step is the first one of a next generation for which nobody has asked.
    pub(super) fn begins_another(&self, action: &Action) -> bool {
        let key = action.key();
        matches!(action, Action::Create { .. } | Action::Generate { .. })
            && self.observed.loaded.contains_key(key)
            && self.ledger.key(key).rotate_asked_at.is_none()
    }

    pub(super) fn is_retiring(&self, key: &str) -> bool {
        self.ledger.key(key).retire_asked_at.is_some()
    }

    /// Whether a key's next generation is staged first.
    pub(super) fn is_to_be_staged(&self, key: &str) -> bool {
        let has_hosts = self
            .desired
            .keys
            .get(key)
            .is_some_and(|spec| spec.hosts.is_some())
            || self.ledger.placements_of(key).next().is_some();
        has_hosts && self.observed.loaded.contains_key(key)
    }

    fn placement(&self, (key, n): &(String, u64), host: &str) -> Option<&Placement> {
        self.ledger.placements.get(&(key.clone(), *n, host.to_owned()))
    }
}

fn owned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn stays_away() -> StatusError {
    StatusError {
        kind: "unreachable".to_owned(),
        code: None,
        message: String::new(),
        request_id: None,
        remedy: None,
        retry_at: None,
    }
}
