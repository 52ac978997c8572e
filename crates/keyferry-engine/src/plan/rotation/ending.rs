//! A key that ends: its lines are taken off each host over another login that was seen to work there.

use super::beginning::named;
use super::{HostFacts, Rotation};
use crate::ledger::PlacementState;
use crate::plan::places::Planner;
use crate::plan::{Action, Over};

impl<'a> Planner<'a> {
    pub(super) fn take_off_for_good(&mut self, rotation: &Rotation<'a>) {
        let mut free = self.free_hosts(rotation);
        let mut left: Vec<&str> = Vec::new();
        for host in &rotation.hosts {
            let lines = rotation.on(host).iter();
            let lines: Vec<_> = lines
                .map(|placement| (placement.key.clone(), placement.n))
                .collect();
            if lines.is_empty() {
                continue;
            }
            let Some(over) = self.other_way_in(rotation, host) else {
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

    /// A login at a host that stays when the key is gone; where the user accepted that there is none, the key's own.
    fn other_way_in(&self, rotation: &Rotation<'a>, host: &HostFacts<'a>) -> Option<Over> {
        let address = host.address.as_ref();
        let others = self.ledger.placements.values().filter(|placement| {
            placement.host == address
                && placement.key != rotation.key
                && placement.state == PlacementState::Verified
                && self.is_in_agent(&placement.key, placement.n)
                && !self.ledger.is_held(&placement.key)
        });
        // Rather one of a key that stays than one of a key that ends too.
        let ends = |key: &str| {
            self.ledger
                .keys
                .get(key)
                .is_some_and(|row| row.retire_asked_at.is_some())
        };
        let other = others.min_by_key(|placement| ends(&placement.key));
        if let Some(other) = other {
            return Some(Over::Generation((other.key.clone(), other.n)));
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
