//! The world: hosts and pairs as they are, and an engine that does what was planned.

use std::time::Duration;

use super::super::rotation::offered;
use super::super::*;
use super::chance::Chance;
use crate::desired::{HostList, Rotate};
use crate::ledger::{PlacementState, Stage, Write};

pub(super) const HOSTS: [&str; 3] = ["h0", "h1", "h2"];
pub(super) const NAMES: [&str; 2] = ["a", "b"];

/// A host as it is.
#[derive(Clone, Debug)]
pub(super) struct RealHost {
    pub(super) is_up: bool,
    pub(super) lines: BTreeSet<GenerationId>,
}

/// Something under way.
#[derive(Clone, Debug)]
pub(super) enum Running {
    Import(GenerationId),
    Look(GenerationId),
    Delete(GenerationId),
    Instances(GenerationId),
    OnHost(Action),
}

pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) ledger: LedgerView,
    pub(super) observed: Observed,
    pub(super) now: Moment,
    pub(super) chance: Chance,
    pub(super) hosts: BTreeMap<String, RealHost>,
    pub(super) pairs: BTreeSet<GenerationId>,
    /// Instances that name a pair.
    pub(super) instances: BTreeMap<GenerationId, Vec<String>>,
    pub(super) running: Vec<Running>,
    pub(super) is_stormy: bool,
    /// Keys seen to log in since this process began.
    seen: BTreeSet<(String, String)>,
    pub(super) last: Plan,
    pub(super) log: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut desired = Desired::default();
        desired
            .accounts
            .insert("account".to_owned(), account("account", None));
        for name in NAMES {
            let mut spec = KeySpec::clone(&spec(name, GeneratedBy::Keyferry, true));
            let count = 1 + chance.below(HOSTS.len());
            let listed = if name == "a" { &HOSTS[..] } else { &HOSTS[..count] };
            spec.hosts = Some(HostList::Listed(
                listed.iter().map(|host| (*host).to_owned()).collect(),
            ));
            spec.rotate = Some(Rotate {
                every: Duration::from_secs(1_000 * 86_400),
                grace: Duration::from_secs(60),
                between: None,
            });
            spec.deploy.canary = chance.below(3);
            spec.deploy.at_once = 1 + chance.below(3);
            desired.keys.insert(name.to_owned(), Arc::new(spec));
        }
        let mut observed = Observed::default();
        if chance.one_in(2) {
            observed.can_list_instances.insert("account".to_owned());
        }
        let real = RealHost {
            is_up: true,
            lines: BTreeSet::new(),
        };
        Self {
            desired,
            ledger: LedgerView::default(),
            observed,
            now: Moment {
                uptime: 1_000_000,
                wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
                local_minute: 0,
            },
            chance,
            hosts: HOSTS
                .iter()
                .map(|host| ((*host).to_owned(), real.clone()))
                .collect(),
            pairs: BTreeSet::new(),
            instances: BTreeMap::new(),
            running: Vec::new(),
            is_stormy: true,
            seen: BTreeSet::new(),
            last: Plan::default(),
            log: Vec::new(),
        }
    }

    /// As the engine does after every event.
    pub(super) fn plan_and_begin(&mut self) {
        for _ in 0..1_000 {
            let plan = plan(&self.desired, &self.ledger, &self.observed, self.now);
            self.last = plan.clone();
            if plan.actions.is_empty() {
                return;
            }
            for action in plan.actions {
                self.log.push(format!("{action:?}"));
                self.begin(action);
            }
        }
        panic!(
            "it never stops planning: {:#?}",
            self.log.split_off(self.log.len() - 20)
        );
    }

    pub(super) fn something_happens(&mut self) {
        match self.chance.below(40) {
            0..=21 if !self.running.is_empty() => {
                let index = self.chance.below(self.running.len());
                let running = self.running.remove(index);
                self.log.push(format!("ends: {running:?}"));
                self.end(running);
            }
            22..=25 => {
                let seconds = [1, 30, 70, 3_600][self.chance.below(4)];
                self.pass(seconds * 1_000);
            }
            26..=28 => {
                let host = HOSTS[self.chance.below(HOSTS.len())];
                let is_up = self.chance.one_in(2);
                self.hosts.get_mut(host).expect("it is there").is_up = is_up;
                self.log.push(format!("{host} is up: {is_up}"));
            }
            29 => self.crash(),
            30..=34 => self.change(|row, now| row.rotate_asked_at = Some(now)),
            35 => self.change(|row, now| row.paused_at = Some(now)),
            36 => self.change(|row, _| row.paused_at = None),
            37 => {
                let name = NAMES[self.chance.below(NAMES.len())];
                self.observed.urged.insert(name.to_owned());
                self.observed.retries.clear();
            }
            38 => {
                let name = NAMES[self.chance.below(NAMES.len())].to_owned();
                if let Some(&n) = self.observed.loaded.get(&name) {
                    self.instances.insert((name, n), vec![format!("i-{n}")]);
                }
            }
            _ => self.roll_back(),
        }
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.log.push(format!("{milliseconds} ms pass"));
        self.now.uptime += milliseconds;
        self.now.wall += Duration::from_millis(milliseconds);
    }

    fn change(&mut self, change: impl Fn(&mut KeyRow, i64)) {
        let name = NAMES[self.chance.below(NAMES.len())];
        let mut row = self.ledger.key(name);
        change(&mut row, self.now.wall_ms());
        self.log.push(format!("{row:?}"));
        self.ledger.keys.insert(name.to_owned(), row);
    }

    /// The user wants an earlier generation back that the agent still has.
    fn roll_back(&mut self) {
        let name = NAMES[self.chance.below(NAMES.len())];
        let earlier = self.ledger.originals(name).rfind(|row| {
            let logs_in = |placement: &crate::ledger::Placement| {
                placement.n == row.n && placement.state == PlacementState::Verified
            };
            row.stage == Stage::Earlier
                && self.observed.in_agent.contains(&row.id())
                && self.ledger.placements_of(name).any(logs_in)
        });
        if let Some(id) = earlier.map(|row| row.id()) {
            self.log.push(format!("back to {id:?}"));
            self.promote(&id);
        }
    }

    pub(super) fn promote(&mut self, id: &GenerationId) {
        let now = self.now.wall_ms();
        self.observed.loaded.insert(id.0.clone(), id.1);
        let rows = self.ledger.generations.values_mut();
        for row in rows.filter(|row| row.key == id.0 && row.copy_of.is_none()) {
            if row.n == id.1 {
                row.stage = Stage::Active;
                row.promoted_at = Some(now);
                row.superseded_at = None;
            } else if row.stage != Stage::Earlier {
                row.stage = Stage::Earlier;
                row.superseded_at = Some(now);
            }
        }
    }

    /// The process is killed: what was under way took place or did not, and nobody knows.
    fn crash(&mut self) {
        self.log.push("crash".to_owned());
        for running in std::mem::take(&mut self.running) {
            if self.chance.one_in(2) {
                self.takes_place(&running);
            }
        }
        self.observed = Observed {
            can_list_instances: self.observed.can_list_instances.clone(),
            ..Observed::default()
        };
        self.seen.clear();
    }

    /// A client that logs in with the agent, to each host where that worked before.
    pub(super) fn nobody_is_locked_out(&mut self) {
        for row in self.ledger.placements.values() {
            let is_staged = self
                .ledger
                .generations
                .get(&(row.key.clone(), row.n))
                .is_some_and(|row| row.stage == Stage::Staged);
            let is_seen = row.state == PlacementState::Verified && !is_staged;
            if is_seen && self.observed.in_agent.contains(&(row.key.clone(), row.n)) {
                self.seen.insert((row.key.clone(), row.host.clone()));
            }
        }
        for (key, host) in &self.seen {
            let host_key = self
                .ledger
                .hosts
                .get(host)
                .and_then(|row| row.pinned_host_key.as_deref());
            let offered = offered(&self.last, key, host_key);
            let lines = &self.hosts[host].lines;
            let logs_in = offered.iter().any(|n| {
                let id = (key.clone(), *n);
                self.observed.in_agent.contains(&id) && lines.contains(&id)
            });
            assert!(
                logs_in,
                "{key} does not log in to {host} any more: offered {offered:?}, there {lines:?}\n{}",
                self.log.join("\n")
            );
        }
    }

    pub(super) fn the_storm_is_over(&mut self) {
        self.log.push("the storm is over".to_owned());
        self.is_stormy = false;
        self.instances.clear();
        for host in self.hosts.values_mut() {
            host.is_up = true;
        }
        for name in NAMES {
            let row = KeyRow {
                paused_at: None,
                ..self.ledger.key(name)
            };
            self.ledger.keys.insert(name.to_owned(), row);
        }
    }

    pub(super) fn comes_to_rest(&mut self) {
        for _ in 0..10_000 {
            self.plan_and_begin();
            self.nobody_is_locked_out();
            if !self.running.is_empty() {
                let running = self.running.remove(0);
                self.log.push(format!("ends: {running:?}"));
                self.end(running);
            } else if let Some(at) = self.last.wake_at {
                // The next rotation is due in years.
                if at >= self.now.uptime + 3_600_000 && self.is_at_rest() {
                    return;
                }
                self.pass(at - self.now.uptime);
            } else {
                break;
            }
        }
        assert!(
            self.is_at_rest(),
            "it does not come to rest: waits {:?}, agent {:?}, pairs {:?}, hosts {:?}, retries {:?}, placements {:#?}\n{}",
            self.last.rotations_wait,
            self.observed.in_agent,
            self.pairs,
            self.hosts,
            self.observed.retries,
            self.ledger.placements,
            self.log.join("\n")
        );
    }

    /// Only the active generations are left, each on all of its key's hosts.
    fn is_at_rest(&self) -> bool {
        let active: BTreeSet<GenerationId> = self
            .observed
            .loaded
            .iter()
            .map(|(key, n)| (key.clone(), *n))
            .collect();
        let is_right = |(name, host): (&String, &RealHost)| {
            let wanted = active.iter().filter(|(key, _)| {
                let Some(HostList::Listed(hosts)) = &self.desired.keys[key].hosts else {
                    return false;
                };
                hosts.contains(name)
            });
            host.lines == wanted.cloned().collect()
        };
        active.len() == NAMES.len()
            && self.running.is_empty()
            && self.pairs == active
            && self.observed.in_agent == active
            && self.ledger.generations.keys().cloned().collect::<BTreeSet<_>>() == active
            && self.hosts.iter().all(is_right)
            && self
                .ledger
                .placements
                .values()
                .all(|row| row.state == PlacementState::Verified)
            && self.ledger.keys.values().all(|row| row.rotate_asked_at.is_none())
    }

    pub(super) fn write(&mut self, write: Write) {
        self.ledger.apply(write);
    }

    pub(super) fn fail(&mut self, subject: Subject, kind: &str) {
        let spec = self.desired.keys.get(subject.key()).cloned();
        let account = match subject {
            Subject::Host(..) => None,
            _ => self.desired.accounts.get("account").cloned(),
        };
        let failures = self
            .observed
            .retries
            .get(&subject)
            .map_or(1, |retry| retry.failures + 1);
        let mut error = error();
        error.kind = kind.to_owned();
        let wait = 1_000 << failures.min(8);
        let retry = Retry {
            failures,
            not_before: Some(self.now.uptime + wait),
            needs_room: false,
            spec,
            account,
            error,
        };
        self.observed.retries.insert(subject, retry);
    }
}
