//! A key that ends: its lines are taken off each host over another login that was seen to work there.

use std::collections::HashMap;

use super::beginning::named;
use super::{HostFacts, Rotation};
use crate::ledger::PlacementState;
use crate::plan::places::Planner;
use crate::plan::{Action, GenerationId, Over};

impl<'a> Planner<'a> {
    pub(super) fn take_off_for_good(&mut self, rotation: &Rotation<'a>) {
        let mut free = self.free_hosts(rotation);
        let mut left: Vec<&str> = Vec::new();
        let others = self.ways_in_of_others(rotation);
        for host in &rotation.hosts {
            let lines = rotation.on(host).iter();
            let lines: Vec<_> = lines
                .map(|placement| (placement.key.clone(), placement.n))
                .collect();
            if lines.is_empty() {
                continue;
            }
            let Some(over) = self.other_way_in(rotation, host, &others) else {
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
            };
            if free == 0 || self.is_busy(&host.address) || !self.is_host_open(rotation, &host.address) {
                continue;
            }
            free -= 1;
            let host = host.address.to_string();
            self.taken.insert(host.clone());
            self.plan.actions.push(Action::TakeOff { over, host, lines });
        }
        if !left.is_empty() {
            let key = rotation.key;
            let hosts = named(&left);
            self.rotation_waits(
                rotation,
                &format!(
                    "it is the only way in that keyferry knows of to {hosts}: put another key there, or \
                     keyferry retire {key} --accept-loss HOST"
                ),
            );
        }
    }

    /// Generations of other keys that log in, by host: rather one of a key that stays than one of a key that ends too.
    fn ways_in_of_others(&self, rotation: &Rotation<'a>) -> HashMap<&'a str, (bool, GenerationId)> {
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
            let ends = row.is_some_and(|row| row.retire_asked_at.is_some());
            let known = ways_in.get(placement.host.as_str());
            if known.is_none_or(|(known_ends, _)| *known_ends && !ends) {
                ways_in.insert(&placement.host, (ends, (key.clone(), placement.n)));
            }
        }
        ways_in
    }

    /// A login at a host that stays when the key is gone; where the user accepted that there is none, the key's own.
    fn other_way_in(
        &self,
        rotation: &Rotation<'a>,
        host: &HostFacts<'a>,
        others: &HashMap<&'a str, (bool, GenerationId)>,
    ) -> Option<Over> {
        let address = host.address.as_ref();
        if let Some((_, other)) = others.get(address) {
            return Some(Over::Generation(other.clone()));
        }
        if self.desired.daemon.recovery.is_some() && self.observed.recovery_verified.contains_key(address) {
            return Some(Over::Recovery);
        }
        let own = rotation.on(host).iter().rev().find(|placement| {
            placement.state == PlacementState::Verified && self.is_in_agent(rotation.key, placement.n)
        });
        own.filter(|_| rotation.is_accepted(address))
            .map(|own| Over::Generation((own.key.clone(), own.n)))
    }
}
