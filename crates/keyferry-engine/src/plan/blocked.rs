//! Hosts that something blocked: another host key, a file that cannot be changed.

use std::collections::BTreeSet;

use super::places::Planner;
use super::rotation::Rotation;
use super::{Action, Subject};
use crate::ledger::HostState;

impl<'a> Planner<'a> {
    /// Looks again at blocked hosts where nothing is left to do: what blocked them may have passed, and nobody would know.
    /// Whatever failed there is tried first, in its own time.
    pub(super) fn blocked_hosts(&mut self) {
        let ledger = self.ledger;
        let is_blocked = |host: &String| {
            let row = ledger.hosts.get(host);
            row.is_some_and(|row| row.state == HostState::Blocked)
        };
        if !ledger.hosts.keys().any(is_blocked) {
            return;
        }
        let there = ledger.placements.values().filter(|line| is_blocked(&line.host));
        let keys: BTreeSet<&'a str> = there.map(|line| line.key.as_str()).collect();
        for key in keys {
            self.blocked_hosts_of(&Rotation::new(self, key));
        }
    }

    fn blocked_hosts_of(&mut self, rotation: &Rotation<'a>) {
        let Some(target) = rotation.target() else { return };
        if rotation.held || rotation.paused || rotation.retiring || !self.is_in_agent(rotation.key, target) {
            return;
        }
        let planned = self.plan.actions.iter();
        let planned = planned.filter(|action| action.key() == rotation.key && action.host().is_some());
        let mut free = self.free_hosts(rotation).saturating_sub(planned.count());
        for host in &rotation.hosts {
            let address = host.address.as_ref();
            if free == 0
                || !host.is(HostState::Blocked)
                || !rotation.is_verified(host, target)
                || self.is_busy(address)
            {
                continue;
            }
            let of =
                |subject: fn(String, String) -> Subject| subject(rotation.key.to_owned(), address.to_owned());
            let subjects = [
                of(Subject::Host),
                of(Subject::Trusted),
                of(Subject::Recovery),
                Subject::Revocation(address.to_owned()),
            ];
            if subjects
                .iter()
                .all(|subject| self.is_open(subject, rotation.spec, None))
            {
                free -= 1;
                self.taken.insert(address.to_owned());
                self.plan.actions.push(Action::Verify {
                    id: (rotation.key.to_owned(), target),
                    host: address.to_owned(),
                });
            }
        }
    }
}
