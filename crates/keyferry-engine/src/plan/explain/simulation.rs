//! A world in which every step works, for one key.

use std::time::Duration;

use crate::desired::{Desired, GeneratedBy, KeySpec};
use crate::engine::Moment;
use crate::ledger::{
    Generation, GenerationState, HostState, LedgerView, Placement, PlacementState, Purpose, Stage, Trusted,
    Write,
};
use crate::plan::trusted::beginning;
use crate::plan::{Action, Observed, Plan, Retry, Subject};
use crate::snapshot::StatusError;

/// An uptime that is not waited for.
pub(super) const NEVER: u64 = u64::MAX / 4;

pub(super) struct Simulation {
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
            desired: Desired {
                daemon: desired.daemon.clone(),
                accounts: desired.accounts.clone(),
                keys: spec.iter().map(|spec| (key.to_owned(), spec.clone())).collect(),
                ..Desired::default()
            },
            ledger: LedgerView {
                installation: ledger.installation.clone(),
                keys: ledger
                    .keys
                    .get(key)
                    .map(|row| (key.to_owned(), row.clone()))
                    .into_iter()
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
                    .filter(|((other, ..), _)| is_own(other))
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

    pub(super) fn plan(&self) -> Plan {
        crate::plan::plan_without_end(&self.desired, &self.ledger, &self.observed, self.now)
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
            Action::Verify { id, host } => self.placement(id, host).is_some(),
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

    /// Lets a step work.
    pub(super) fn succeed(&mut self, action: &Action) {
        let key = action.key().to_owned();
        let now = self.now.wall_ms();
        match action {
            Action::Confirm { id } => _ = self.observed.suspects.remove(id),
            Action::Copy { region, .. } => self.copy(&key, region.as_deref()),
            Action::Create { .. } | Action::Import { .. } => self.make(&key),
            Action::Delete { id } => _ = self.ledger.generations.remove(id),
            Action::Doubt { id } => _ = self.ledger.generations.remove(id),
            Action::Forget { .. } => _ = self.observed.ready.remove(&key),
            Action::Generate { .. } => {
                if let Some(spec) = self.desired.keys.get(&key) {
                    self.observed.ready.insert(key, spec.algorithm);
                }
            }
            Action::ImportAgain { id } | Action::Look { id } => self.arrive(id),
            Action::ListHosts { .. } => {
                self.observed.host_lists.entry(key).or_default().1 = NEVER;
            }
            Action::ListInstances { id } => {
                self.observed.instances.entry(id.clone()).or_default().1 = NEVER;
            }
            Action::Load { id } => {
                let is_staged = self.is_to_be_staged(&key);
                self.observed.halves.remove(id);
                self.observed.in_agent.insert(id.clone());
                if let Some(row) = self.ledger.generations.get_mut(id) {
                    row.loaded_at = Some(now);
                    row.stage = Stage::Staged;
                }
                if !is_staged {
                    self.promote(id);
                }
            }
            Action::Promote { id } => self.promote(id),
            Action::Publish { id } => _ = self.observed.published.insert(key, id.1),
            Action::Put { id, host } => {
                self.reached(&key, host);
                self.observed.refused_logins.remove(&(key, id.1, host.clone()));
                self.put(id, host, PlacementState::Placed);
            }
            Action::PutTrusted {
                host,
                public_key,
                purpose,
                ..
            } => self.trust(&key, host, public_key, *purpose),
            Action::Replace {
                host, fingerprints, ..
            } => {
                let done = (key.clone(), host.clone());
                self.observed.replaced.insert(done, fingerprints.clone());
            }
            Action::Revoke { .. } | Action::Survey { .. } => {}
            Action::TakeOffTrusted {
                host, public_keys, ..
            } => {
                for public_key in public_keys {
                    let id = (key.clone(), host.clone(), public_key.clone());
                    self.ledger.trusted.remove(&id);
                }
            }
            Action::VerifyRecovery { host, .. } => {
                let rows = self.ledger.trusted.values_mut();
                for row in rows.filter(|row| row.purpose == Purpose::Recovery && row.host == *host) {
                    row.state = PlacementState::Verified;
                    row.verified_at = Some(now);
                }
                self.observed.recovering.remove(host);
            }
            Action::TakeOff { host, lines, .. } => {
                self.reached(&key, host);
                for (key, n) in lines {
                    self.ledger.placements.remove(&(key.clone(), *n, host.clone()));
                }
            }
            Action::Unload { id } => {
                self.observed.in_agent.remove(id);
                if self.observed.loaded.get(&key) == Some(&id.1) {
                    self.observed.loaded.remove(&key);
                }
            }
            Action::Verify { id, host } => {
                self.reached(&key, host);
                match self.placement(id, host).is_some() {
                    true => self.put(id, host, PlacementState::Verified),
                    // It is taken not to be there by chance.
                    false => _ = self.observed.refused_logins.insert((key, id.1, host.clone())),
                }
            }
        }
    }

    fn placement(&self, (key, n): &(String, u64), host: &str) -> Option<&Placement> {
        self.ledger.placements.get(&(key.clone(), *n, host.to_owned()))
    }

    fn reached(&mut self, key: &str, host: &str) {
        let subject = Subject::Host(key.to_owned(), host.to_owned());
        self.observed.retries.remove(&subject);
    }

    fn put(&mut self, (key, n): &(String, u64), host: &str, state: PlacementState) {
        let now = self.now.wall_ms();
        let seen = (state == PlacementState::Verified).then_some(now);
        let before = self
            .placement(&(key.clone(), *n), host)
            .and_then(|row| row.verified_at);
        self.ledger.apply(Write {
            placements: vec![Placement {
                key: key.clone(),
                n: *n,
                host: host.to_owned(),
                state,
                verified_at: seen.or(before),
                line: None,
                file_hash: None,
                changed_at: now,
            }],
            ..Write::default()
        });
    }

    fn trust(&mut self, key: &str, host: &str, public_key: &str, purpose: Purpose) {
        let Some(spec) = self.desired.keys.get(key) else {
            return;
        };
        let id = (key.to_owned(), host.to_owned(), public_key.to_owned());
        let until = self.ledger.trusted.get(&id).and_then(|row| row.until);
        let trusted = Trusted {
            key: key.to_owned(),
            host: host.to_owned(),
            public_key: public_key.to_owned(),
            purpose,
            line: beginning(spec, public_key, purpose, until),
            state: PlacementState::Placed,
            until,
            verified_at: None,
            changed_at: self.now.wall_ms(),
            note: None,
        };
        self.ledger.trusted.insert(id, trusted);
    }

    fn promote(&mut self, id: &(String, u64)) {
        let now = self.now.wall_ms();
        self.observed.loaded.insert(id.0.clone(), id.1);
        let rows = self.ledger.generations.values_mut();
        for row in rows.filter(|row| row.key == id.0 && row.copy_of.is_none()) {
            if row.n == id.1 {
                row.stage = Stage::Active;
                row.promoted_at = Some(now);
            } else if row.stage != Stage::Earlier {
                row.stage = Stage::Earlier;
                row.superseded_at = Some(now);
            }
        }
    }

    /// The next generation, with its private half in hand.
    fn make(&mut self, key: &str) {
        let Some(spec) = self.desired.keys.get(key).cloned() else {
            return;
        };
        let mut row = self.ledger.key(key);
        row.last_n += 1;
        row.rotate_asked_at = None;
        let generation = self.generation(&spec, row.last_n);
        self.observed.ready.remove(key);
        self.observed.halves.insert(generation.id());
        self.ledger.apply(Write {
            keys: vec![row],
            generations: vec![generation],
            ..Write::default()
        });
    }

    fn copy(&mut self, key: &str, region: Option<&str>) {
        let Some(spec) = self.desired.keys.get(key).cloned() else {
            return;
        };
        let mut row = self.ledger.key(key);
        row.last_n += 1;
        let mut generation = self.generation(&spec, row.last_n);
        generation.copy_of = self.observed.loaded.get(key).copied();
        generation.region = region.map(str::to_owned);
        self.ledger.apply(Write {
            keys: vec![row],
            generations: vec![generation],
            ..Write::default()
        });
    }

    fn generation(&self, spec: &KeySpec, n: u64) -> Generation {
        let account = self.desired.accounts.get(&spec.account);
        Generation {
            key: spec.name.clone(),
            n,
            copy_of: None,
            made_by: spec.generated_by,
            algorithm: spec.algorithm,
            account: spec.account.clone(),
            plugin: account.map(|account| account.plugin.clone()).unwrap_or_default(),
            region: account.and_then(|account| spec.regions(account).next().flatten().map(str::to_owned)),
            endpoint: account.and_then(|account| account.endpoint.clone()),
            blob: None,
            pair_name: format!("{}-{n}", spec.name),
            provider_id: None,
            provider_fingerprint: None,
            state: GenerationState::Live,
            requested_at: self.now.wall_ms(),
            repeated_at: None,
            loaded_at: None,
            missing_since: None,
            delete_asked_at: None,
            note: None,
            stage: Stage::Staged,
            promoted_at: None,
            superseded_at: None,
            place: None,
        }
    }

    /// A pair whose answer is out turns out to be there.
    fn arrive(&mut self, id: &(String, u64)) {
        self.observed.absent.remove(id);
        self.observed.looks.remove(id);
        let Some(row) = self.ledger.generations.get_mut(id) else {
            return;
        };
        match row.state {
            GenerationState::Requested => {
                row.state = GenerationState::Live;
                // A created pair comes with its private half.
                if row.copy_of.is_none() && row.made_by == GeneratedBy::Provider {
                    self.observed.halves.insert(id.clone());
                }
            }
            GenerationState::Doubtful => row.state = GenerationState::Unwanted,
            _ => {}
        }
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
