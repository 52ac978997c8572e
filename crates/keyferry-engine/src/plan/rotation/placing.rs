//! Which hosts are worked on now: verifying, putting, promoting, and taking off what is superseded.

use super::beginning::named;
use super::{HostFacts, Rotation};
use crate::desired::Rotate;
use crate::ledger::{HostState, Placement, PlacementState};
use crate::plan::places::Planner;
use crate::plan::{Action, Over, Subject};

/// Something to do on one host, before it is known whether its turn has come.
struct Work {
    /// Hosts that can be reached come first, and of those the ones that were begun.
    rank: (bool, u8),
    /// Whether it brings the target there, which goes by the canary.
    is_placing: bool,
    address: String,
    action: Action,
}

/// How the target fares.
#[derive(Default)]
struct Tally {
    verified: usize,
    failed: Vec<String>,
    /// Neither parked nor blocked.
    ready: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn place(&mut self, rotation: &Rotation<'a>) {
        let Some(target) = rotation.target() else {
            return;
        };
        if rotation.hosts.is_empty() {
            if rotation.staged == Some(target) {
                let key = rotation.key;
                self.rotation_waits(
                    rotation,
                    &format!(
                        "nobody can see generation {target} log in, for all of its hosts were given up: keyferry host retry \
                         HOST takes one back, and keyferry rollback {key} gives the generation up"
                    ),
                );
            }
            return;
        }
        let tally = self.tally(rotation, target);
        let canary = rotation.spec.map_or(1, |spec| spec.deploy.canary);
        let needed = canary.min(tally.ready);
        let id = (rotation.key.to_owned(), target);
        if rotation.staged == Some(target) && tally.verified >= needed.max(1) {
            // The hosts go on when it is so.
            self.plan.actions.push(Action::Promote { id });
            return;
        }
        let is_halted = !rotation.is_urged(self)
            && tally.failed.len() >= MANY_FAILURES
            && tally.failed.len() * 3 > tally.verified + tally.failed.len();
        if is_halted {
            let failed: Vec<&str> = tally.failed.iter().map(String::as_str).collect();
            let hosts = named(&failed);
            self.rotation_waits(
                rotation,
                &format!("it failed on {hosts}: no further host is begun until one of them works"),
            );
        }
        let mut work: Vec<Work> = Vec::new();
        for host in &rotation.hosts {
            if let Some(found) = self.work_on(rotation, host, target)
                && !(is_halted && found.is_placing && found.rank.1 == UNBEGUN)
            {
                work.push(found);
            }
        }
        work.sort_by_key(|work| work.rank);
        let busy = self.busy_hosts(rotation.key);
        let mut free = self.free_hosts(rotation);
        let mut placing = match tally.verified < needed {
            true => (needed - tally.verified).saturating_sub(busy),
            false => usize::MAX,
        };
        for work in work {
            if free == 0 {
                break;
            }
            if work.is_placing && placing == 0 {
                continue;
            }
            free -= 1;
            placing -= usize::from(work.is_placing);
            self.taken.insert(work.address);
            self.plan.actions.push(work.action);
        }
    }

    /// How many hosts are being worked on for a key.
    pub(in crate::plan) fn busy_hosts(&self, key: &str) -> usize {
        self.observed
            .host_tasks
            .values()
            .filter(|busy| *busy == key)
            .count()
    }

    /// How many more hosts may be worked on for a key now.
    pub(in crate::plan) fn free_hosts(&self, rotation: &Rotation<'a>) -> usize {
        let at_once = rotation.spec.map_or(16, |spec| spec.deploy.at_once).max(1);
        at_once.saturating_sub(self.busy_hosts(rotation.key))
    }

    /// Whether something is being done on a host, or is about to be.
    pub(in crate::plan) fn is_busy(&self, address: &str) -> bool {
        self.observed.host_tasks.contains_key(address) || self.taken.contains(address)
    }

    /// Whether the last failure on a host, if any, keeps it from being tried now.
    pub(super) fn is_host_open(&mut self, rotation: &Rotation<'a>, address: &str) -> bool {
        self.observed.retries.is_empty()
            || self.is_open(
                &Subject::Host(rotation.key.to_owned(), address.to_owned()),
                rotation.spec,
                None,
            )
    }

    fn tally(&self, rotation: &Rotation<'a>, target: u64) -> Tally {
        let mut tally = Tally::default();
        for host in &rotation.hosts {
            tally.ready += usize::from(!host.is(HostState::Parked) && !host.is(HostState::Blocked));
            if rotation.is_verified(host, target) {
                tally.verified += 1;
                continue;
            }
            if self.observed.retries.is_empty() {
                continue;
            }
            let subject = Subject::Host(rotation.key.to_owned(), host.address.to_string());
            let retry = self.observed.retries.get(&subject);
            let failed = retry.filter(|retry| !retry.is_outdated(rotation.spec, None));
            // Where its line was never put, it was not it that was refused.
            let stands = rotation.placement(host, target).is_some();
            let is_its_fault = |kind: &str| match kind {
                "another_key" | "no_login" | "refused" => stands,
                kind => !NOT_ITS_FAULT.contains(&kind),
            };
            if failed.is_some_and(|retry| is_its_fault(&retry.error.kind)) {
                tally.failed.push(host.address.to_string());
            }
        }
        tally
    }

    /// What is to be done on a host now.
    fn work_on(&mut self, rotation: &Rotation<'a>, host: &HostFacts<'a>, target: u64) -> Option<Work> {
        let is_away = host.is(HostState::Parked) || host.is(HostState::Blocked);
        // Nothing holds that up: a line that ends lets nobody in any more. But where it is refused, which a host does for good
        // that takes its type of key no more, the next generation is tried every other time.
        let is_next = self.is_turn_of_next(rotation, host, target);
        if let Some(action) = self.upkeep(rotation, host).filter(|_| !is_next) {
            return Some(Work {
                rank: (is_away, BEGUN),
                is_placing: false,
                address: host.address.to_string(),
                action,
            });
        }
        let placement = rotation.placement(host, target);
        let state = placement.map(|placement| placement.state);
        let (action, order) = if state == Some(PlacementState::Verified) {
            let next = self.on_a_verified_host(rotation, host);
            (next.or_else(|| self.look_again(rotation, host, target))?, BEGUN)
        } else {
            if self.is_busy(&host.address) || !self.is_host_open(rotation, &host.address) {
                return None;
            }
            let id = (rotation.key.to_owned(), target);
            let address = host.address.to_string();
            let is_refused = self.is_refused(rotation.key, target, &host.address);
            // What was tried and is due again is no further host.
            let subject = Subject::Host(rotation.key.to_owned(), address.clone());
            let was_tried = self.observed.retries.contains_key(&subject);
            let order = match placement.is_some() || is_refused || was_tried {
                true => BEGUN,
                false => UNBEGUN,
            };
            // It may be there already, or be there after all.
            let action = match is_refused {
                false => Action::Verify { id, host: address },
                true => Action::Put { id, host: address },
            };
            (action, order)
        };
        Some(Work {
            rank: (is_away, order),
            is_placing: state != Some(PlacementState::Verified),
            address: host.address.to_string(),
            action,
        })
    }

    /// Whether an even number of refusals came from a host where the target does not log in yet: the first may be its own.
    fn is_turn_of_next(&self, rotation: &Rotation<'a>, host: &HostFacts<'a>, target: u64) -> bool {
        let subject = Subject::Host(rotation.key.to_owned(), host.address.to_string());
        let failed = self.observed.retries.get(&subject);
        let is_refusal = |kind: &str| matches!(kind, "another_key" | "refused");
        failed.is_some_and(|retry| retry.failures % 2 == 0 && is_refusal(&retry.error.kind))
            && !rotation.is_verified(host, target)
    }

    pub(super) fn is_refused(&self, key: &str, n: u64, address: &str) -> bool {
        let refused = &self.observed.refused_logins;
        !refused.is_empty() && refused.contains(&(key.to_owned(), n, address.to_owned()))
    }

    /// One that could not be reached is tried again, also where nothing is left to do: that it is back is worth knowing.
    fn look_again(&mut self, rotation: &Rotation<'a>, host: &HostFacts<'a>, target: u64) -> Option<Action> {
        if !host.is(HostState::Parked)
            || self.is_busy(&host.address)
            || !self.is_host_open(rotation, &host.address)
        {
            return None;
        }
        let id = (rotation.key.to_owned(), target);
        let host = host.address.to_string();
        Some(Action::Verify { id, host })
    }

    /// Where the target logs in, the lines that it supersedes are taken off.
    fn on_a_verified_host(&mut self, rotation: &Rotation<'a>, host: &HostFacts<'a>) -> Option<Action> {
        let active = rotation.active?;
        let placement = rotation.placement(host, active)?;
        if placement.state != PlacementState::Verified || !self.is_in_agent(rotation.key, active) {
            return None;
        }
        let lines = self.superseded(rotation, host, placement);
        if lines.is_empty() || self.is_busy(&host.address) || !self.is_host_open(rotation, &host.address) {
            return None;
        }
        Some(Action::TakeOff {
            over: Over::Generation((rotation.key.to_owned(), active)),
            host: host.address.to_string(),
            lines,
        })
    }

    /// The lines of other generations that may go from a host where the active one was seen to log in: at once those whose
    /// private half is gone, the others when their time of grace is over.
    fn superseded(
        &mut self,
        rotation: &Rotation<'a>,
        host: &HostFacts<'a>,
        active: &Placement,
    ) -> Vec<(String, u64)> {
        let others = rotation.on(host);
        if others.len() < 2 {
            return Vec::new();
        }
        let is_other = |n: u64| n != active.n && Some(n) != rotation.staged;
        let row = self.ledger.generations.get(&(active.key.clone(), active.n));
        let promoted = row.and_then(|row| row.promoted_at.or(row.loaded_at));
        let since = promoted.max(active.verified_at).unwrap_or(active.changed_at);
        let over = since.saturating_add(grace(rotation));
        let is_over = self.is_over(since, over);
        let mut lines = Vec::new();
        for placement in others.iter().filter(|placement| is_other(placement.n)) {
            // One whose half is in hand is about to be loaded.
            let id = (placement.key.clone(), placement.n);
            let is_lost = !self.is_in_agent(rotation.key, placement.n) && !self.observed.halves.contains(&id);
            if is_over || is_lost {
                lines.push(id);
            } else {
                self.goes_on_at(rotation, over);
            }
        }
        lines
    }
}

/// How long an earlier generation stays beside the active one, in milliseconds.
pub(super) fn grace(rotation: &Rotation<'_>) -> i64 {
    let rotate = rotation.spec.and_then(|spec| spec.rotate.as_ref());
    rotate.map_or(DEFAULT_GRACE, |Rotate { grace, .. }| {
        i64::try_from(grace.as_millis()).unwrap_or(i64::MAX)
    })
}

/// A day.
const DEFAULT_GRACE: i64 = 86_400_000;

const BEGUN: u8 = 0;
const UNBEGUN: u8 = 1;

/// So many failures, and more than a third of all that were tried, speak against the generation and not against the hosts.
const MANY_FAILURES: usize = 3;

/// Failures that say nothing about the generation.
const NOT_ITS_FAULT: [&str; 3] = ["jump_refused", "needs_person", "unreachable"];
