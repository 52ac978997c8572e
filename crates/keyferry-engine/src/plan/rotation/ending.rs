//! A key that ends: its lines are taken off each host over another login that was seen to work there.

use std::collections::HashMap;

use super::beginning::named;
use super::{HostFacts, Rotation};
use crate::ledger::{KeyRow, Placement, PlacementState};
use crate::plan::places::Planner;
use crate::plan::{Action, GenerationId, Over};
use crate::snapshot::Timestamp;

impl<'a> Planner<'a> {
    pub(super) fn take_off_for_good(&mut self, rotation: &Rotation<'a>) {
        let mut free = self.free_hosts(rotation);
        let mut left: Vec<&str> = Vec::new();
        let mut lost: Vec<&str> = Vec::new();
        let others = self.ways_in_of_others(rotation);
        for host in &rotation.hosts {
            let lines = rotation.on(host).iter();
            let lines: Vec<_> = lines
                .map(|placement| (placement.key.clone(), placement.n))
                .collect();
            if lines.is_empty() {
                continue;
            }
            let over = match self.other_way_in(host, &others) {
                Some(over) => over,
                None if rotation.is_accepted(&host.address) => {
                    match self.own_way_in(rotation, host) {
                        // Those who were let in beside the key go over it, before it goes itself.
                        Some(own) if self.others_go_first(own) => {}
                        Some(own) => {
                            let over = Over::Generation((own.key.clone(), own.n));
                            self.take_off_now(rotation, host, over, lines, &mut free);
                        }
                        None => lost.push(&host.address),
                    }
                    continue;
                }
                None => {
                    left.push(&host.address);
                    // It stays for now, and so do its lines.
                    if free > 0
                        && let Some(action) = self.upkeep(rotation, host)
                    {
                        free -= 1;
                        self.taken.insert(host.address.to_string());
                        self.plan.actions.push(action);
                    }
                    continue;
                }
            };
            self.take_off_now(rotation, host, over, lines, &mut free);
        }
        if !lost.is_empty() {
            let hosts = named(&lost);
            let words = match rotation.row.and_then(|row| row.ends_at) {
                Some(ends_at) => format!(
                    "nothing that keyferry has logs in to {hosts} now: its line there goes when something does, and is of no \
                     use two days after {}",
                    Timestamp::from_ms(ends_at)
                ),
                None => format!(
                    "no private half of it is left to take its lines off {hosts}: keyferry host forget HOST leaves them there"
                ),
            };
            self.rotation_waits(rotation, &words);
        }
        if !left.is_empty() {
            let key = rotation.key;
            let hosts = named(&left);
            let words = match rotation.row.and_then(|row| row.ends_at) {
                Some(ends_at) => format!(
                    "nothing that keyferry has logs in to {hosts} now: its line there goes when something does, and is of no \
                     use from {} on",
                    Timestamp::from_ms(ends_at)
                ),
                None => format!(
                    "it is the only way in that keyferry knows of to {hosts}: put another key there, or \
                     keyferry retire {key} --accept-loss HOST"
                ),
            };
            self.rotation_waits(rotation, &words);
        }
    }

    /// Generations of other keys that log in, by host: rather one of a key that stays than one of a key that ends too, and of a
    /// key rather the one that is offered.
    fn ways_in_of_others(&self, rotation: &Rotation<'a>) -> HashMap<&'a str, (bool, GenerationId)> {
        let is_for_command = self.ledger.is_for_command(rotation.key);
        let mut ways_in: HashMap<&str, (bool, GenerationId)> = HashMap::new();
        for placement in self.ledger.placements.values() {
            let key = &placement.key;
            if key == rotation.key
                || placement.state != PlacementState::Verified
                || !self.is_in_agent(key, placement.n)
                || self.ledger.is_held(key)
            {
                continue;
            }
            let row = self.ledger.keys.get(key);
            let goes_with_command = row.is_some_and(KeyRow::is_for_command);
            // One that goes with its command leaves no way in.
            if goes_with_command && !is_for_command {
                continue;
            }
            let ends = goes_with_command || row.is_some_and(|row| row.retire_asked_at.is_some());
            let is_offered = self.observed.loaded.get(key) == Some(&placement.n);
            let known = ways_in.get(placement.host.as_str());
            let is_better = |(known_ends, known): &(bool, GenerationId)| match (*known_ends, ends) {
                (true, false) => true,
                (false, true) => false,
                _ => known.0 == *key && is_offered,
            };
            if known.is_none_or(is_better) {
                ways_in.insert(&placement.host, (ends, (key.clone(), placement.n)));
            }
        }
        ways_in
    }

    fn take_off_now(
        &mut self,
        rotation: &Rotation<'a>,
        host: &HostFacts<'a>,
        over: Over,
        lines: Vec<GenerationId>,
        free: &mut usize,
    ) {
        let address = host.address.as_ref();
        if *free > 0 && !self.is_busy(address) && self.is_host_open(rotation, address) {
            *free -= 1;
            let host = address.to_owned();
            self.taken.insert(host.clone());
            self.plan.actions.push(Action::TakeOff { over, host, lines });
        }
    }

    /// A login at a host that stays when the key is gone.
    fn other_way_in(
        &self,
        host: &HostFacts<'a>,
        others: &HashMap<&'a str, (bool, GenerationId)>,
    ) -> Option<Over> {
        let address = host.address.as_ref();
        if let Some((_, other)) = others.get(address) {
            return Some(Over::Generation(other.clone()));
        }
        self.recovery_logs_in(address).then_some(Over::Recovery)
    }

    /// The key's own login at a host, where the user accepted that none stays. One whose removal had no answer may log in
    /// still: trying tells, and being refused is an answer too.
    fn own_way_in(&self, rotation: &Rotation<'a>, host: &HostFacts<'a>) -> Option<&'a Placement> {
        let seen = |placement: &&&Placement| {
            placement.verified_at.is_some() && self.is_in_agent(rotation.key, placement.n)
        };
        let own = rotation.on(host).iter().rev().filter(seen);
        // Of the newest, one of which that is known.
        own.copied()
            .min_by_key(|placement| placement.state != PlacementState::Verified)
    }

    fn others_go_first(&self, own: &Placement) -> bool {
        let mut rows = self.ledger.trusted_of(&own.key);
        own.state == PlacementState::Verified
            && rows.any(|row| row.host == own.host && self.may_go_with_its_key(row))
    }
}
