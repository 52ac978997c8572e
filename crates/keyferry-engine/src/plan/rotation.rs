//! A key's rotation: what of it is where, and what follows from that.
//!
//! Two rules hold whatever else is decided here. A line is taken off a host only over a generation that was seen to log in
//! there and is in the agent. And a generation that a host needs is offered to it.

use std::borrow::Cow;
use std::sync::Arc;

mod beginning;
mod ending;
mod offers;
mod placing;
mod renewing;
mod retiring;

pub use beginning::due_at;

use super::hosts::{gather, is_forgotten, listed};
use super::places::Planner;
use super::{Action, Subject};
use crate::desired::{HostList, KeySpec};
use crate::ledger::{HostRow, HostState, KeyRow, Placement, PlacementState, Stage};

/// What is known of one key's rotation.
pub(super) struct Rotation<'a> {
    pub(super) key: &'a str,
    pub(super) spec: Option<&'a Arc<KeySpec>>,
    pub(super) row: Option<&'a KeyRow>,
    /// The generation that is offered.
    pub(super) active: Option<u64>,
    /// The next one, in the agent and offered to nobody yet.
    pub(super) staged: Option<u64>,
    /// Whether the key has hosts, known ones or not.
    pub(super) has_hosts: bool,
    /// Without those that the user gave up.
    pub(super) hosts: Vec<HostFacts<'a>>,
    /// In the order of host and generation.
    placements: Vec<&'a Placement>,
    /// Generations that may stand on a host, the oldest first; whether on one that is not parked.
    standing: Vec<(u64, bool)>,
    pub(super) held: bool,
    pub(super) paused: bool,
    pub(super) retiring: bool,
}

/// A key on one host.
pub(super) struct HostFacts<'a> {
    pub(super) address: Cow<'a, str>,
    pub(super) row: Option<&'a HostRow>,
    /// Where in the list of placements its own are.
    from: usize,
    to: usize,
}

impl HostFacts<'_> {
    pub(super) fn is(&self, state: HostState) -> bool {
        self.row.is_some_and(|row| row.state == state)
    }
}

impl<'a> Rotation<'a> {
    pub(super) fn new(planner: &Planner<'a>, key: &'a str) -> Self {
        let ledger = planner.ledger;
        let observed = planner.observed;
        let spec = planner.desired.keys.get(key);
        let row = ledger.keys.get(key);
        let listed = spec.and_then(|spec| listed(spec, observed)).unwrap_or_default();
        let active = observed.loaded.get(key).copied();
        let staged = ledger
            .originals(key)
            .rfind(|row| {
                row.stage == Stage::Staged && Some(row.n) != active && planner.is_in_agent(key, row.n)
            })
            .map(|row| row.n);
        let (key_hosts, placed) = gather(listed, ledger, key);
        let mut rotation = Self {
            key,
            spec,
            row,
            active,
            staged,
            has_hosts: spec.is_some_and(|spec| spec.hosts.is_some()),
            hosts: Vec::with_capacity(key_hosts.len()),
            placements: Vec::with_capacity(placed.len()),
            standing: Vec::new(),
            held: row.is_some_and(|row| row.held_at.is_some()),
            // One for a command ends, whatever was said of another that had its name.
            paused: row.is_some_and(|row| {
                row.is_behind() || (row.is_paused(planner.now.wall_ms()) && !row.is_for_command())
            }),
            retiring: row.is_some_and(|row| row.retire_asked_at.is_some()),
        };
        let mut placed = placed.into_iter().peekable();
        for (index, (address, _, row)) in key_hosts.into_iter().enumerate() {
            let from = rotation.placements.len();
            while let Some((_, placement)) = placed.next_if(|(place, _)| *place == index) {
                rotation.placements.push(placement);
            }
            if is_forgotten(row) {
                rotation.placements.truncate(from);
                continue;
            }
            let facts = HostFacts {
                row,
                address,
                from,
                to: rotation.placements.len(),
            };
            let holds_up = !facts.is(HostState::Parked);
            for placement in &rotation.placements[from..] {
                match rotation.standing.iter_mut().find(|(n, _)| *n == placement.n) {
                    Some((_, known)) => *known |= holds_up,
                    None => rotation.standing.push((placement.n, holds_up)),
                }
            }
            rotation.hosts.push(facts);
        }
        rotation.standing.sort_unstable();
        rotation.has_hosts |= !rotation.standing.is_empty();
        rotation
    }

    /// The generation that belongs on the hosts.
    pub(super) fn target(&self) -> Option<u64> {
        self.staged.or(self.active)
    }

    /// Whether a line of that generation may stand on a host.
    pub(super) fn stands(&self, n: u64) -> bool {
        self.standing.iter().any(|(standing, _)| *standing == n)
    }

    /// What may stand on a host, the oldest generation first.
    pub(super) fn on(&self, host: &HostFacts<'_>) -> &[&'a Placement] {
        &self.placements[host.from..host.to]
    }

    pub(super) fn placement(&self, host: &HostFacts<'_>, n: u64) -> Option<&'a Placement> {
        self.on(host).iter().find(|placement| placement.n == n).copied()
    }

    /// Whether a generation was seen to log in at a host, and nothing was changed there since.
    pub(super) fn is_verified(&self, host: &HostFacts<'_>, n: u64) -> bool {
        let placement = self.placement(host, n);
        placement.is_some_and(|placement| placement.state == PlacementState::Verified)
    }

    /// Whether the user gave something up: a host, or an instance.
    pub(super) fn is_accepted(&self, what: &str) -> bool {
        self.row.is_some_and(|row| row.accepts(what))
    }

    pub(super) fn is_urged(&self, planner: &Planner<'_>) -> bool {
        planner.observed.urged.contains(self.key)
    }
}

impl<'a> Planner<'a> {
    /// What is to be done about a key in the agent and on its hosts.
    pub(super) fn rotate(&mut self, rotation: &Rotation<'a>) {
        self.offer(rotation);
        self.unload(rotation);
        if rotation.held {
            self.keep_up(rotation);
            return;
        }
        if rotation.paused {
            if let Some(until) = rotation.row.and_then(KeyRow::goes_on_at) {
                self.wake_at_wall(until);
            }
            let reason = match rotation.row.is_some_and(KeyRow::is_behind) {
                true => "the ledger is older than what was done with it",
                false => "it is paused: keyferry resume ends that",
            };
            self.rotation_waits(rotation, reason);
            self.keep_up(rotation);
            return;
        }
        self.list_hosts(rotation);
        self.find_instances(rotation);
        match rotation.retiring {
            true => self.take_off_for_good(rotation),
            false => self.place(rotation),
        }
    }

    /// Whether the agent has a generation.
    pub(super) fn is_in_agent(&self, key: &str, n: u64) -> bool {
        self.observed.loaded.get(key) == Some(&n) || self.observed.in_agent.contains(&(key.to_owned(), n))
    }

    /// Wakes the planner when the wall clock shows that, if nobody sets it.
    pub(super) fn wake_at_wall(&mut self, at: i64) {
        let wait = at.saturating_sub(self.now.wall_ms()).max(1);
        self.wake(self.now.uptime.saturating_add(wait.unsigned_abs()));
    }

    /// Wakes the planner when a time is over that a key's rotation waits for.
    fn goes_on_at(&mut self, rotation: &Rotation<'_>, at: i64) {
        let wait = at.saturating_sub(self.now.wall_ms()).max(1);
        let at = self.now.uptime.saturating_add(wait.unsigned_abs());
        let known = self.plan.goes_on_at.entry(rotation.key.to_owned()).or_insert(at);
        *known = at.min(*known);
        self.wake(at);
    }

    /// Whether a time that began at `since` is over. One that has not begun is: the clock was ahead when that was noted.
    fn is_over(&self, since: i64, over: i64) -> bool {
        let now = self.now.wall_ms();
        over <= now || since.saturating_sub(now) > CLOCK_SLACK
    }

    /// Says why a rotation does not go on; what was said first stays in front.
    pub(super) fn rotation_waits(&mut self, rotation: &Rotation<'_>, reason: &str) {
        let said = self
            .plan
            .rotations_wait
            .entry(rotation.key.to_owned())
            .or_default();
        if said.contains(reason) {
            return;
        }
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(reason);
    }

    /// Asks a file or a program for the hosts, when what it said is old.
    fn list_hosts(&mut self, rotation: &Rotation<'a>) {
        let Some(spec) = rotation.spec.filter(|spec| spec.present) else {
            return;
        };
        if !matches!(spec.hosts, Some(HostList::Command(_) | HostList::File(_)))
            || rotation.active.is_none()
            || self.observed.listing_hosts.contains(rotation.key)
        {
            return;
        }
        if let Some((_, listed_at)) = self.observed.host_lists.get(rotation.key) {
            let age = match rotation.is_urged(self) {
                true => URGED_LIST_AGE,
                false => LIST_AGE,
            };
            if self.now.uptime < listed_at.saturating_add(age) {
                self.wake(listed_at.saturating_add(LIST_AGE));
                return;
            }
        }
        let key = rotation.key.to_owned();
        if self.is_open(&Subject::HostList(key.clone()), Some(spec), None) {
            self.plan.actions.push(Action::ListHosts { key });
        }
    }

    /// Has the agent forget what is over: its pair is gone, and no line of it stands anywhere.
    fn unload(&mut self, rotation: &Rotation<'a>) {
        let key = rotation.key.to_owned();
        let in_agent = self.observed.in_agent.range((key.clone(), 0)..=(key, u64::MAX));
        for id in in_agent {
            if rotation.staged == Some(id.1) || (rotation.active == Some(id.1) && !rotation.retiring) {
                continue;
            }
            let row = self.ledger.generations.get(id);
            let is_without_pair = row.is_none_or(|row| retiring::has_no_pair(row.state));
            if is_without_pair && !self.is_needed(rotation, id.1) {
                self.plan.actions.push(Action::Unload { id: id.clone() });
            }
        }
    }

    /// Asks once which instances name the pairs of earlier generations: to whom they are offered depends on it.
    fn find_instances(&mut self, rotation: &Rotation<'a>) {
        let key = rotation.key.to_owned();
        for (_, n) in self.observed.in_agent.range((key.clone(), 0)..=(key, u64::MAX)) {
            let is_earlier = rotation.active != Some(*n) && rotation.staged != Some(*n);
            if is_earlier && rotation.stands(*n) {
                self.ask_once_for_instances(rotation, *n);
            }
        }
    }
}

/// By so much clocks are set back now and then (milliseconds).
const CLOCK_SLACK: i64 = 3_600_000;

/// A list of hosts is asked for again after that long (milliseconds).
const LIST_AGE: u64 = 600_000;

/// And when the user wants something, after that long: what he asked for is what he sees now.
const URGED_LIST_AGE: u64 = 5_000;
