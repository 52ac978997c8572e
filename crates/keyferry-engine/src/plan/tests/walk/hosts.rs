//! What the engine does on hosts: intent, effect, outcome.

use super::super::*;
use super::pairs::Fate;
use super::world::{Running, World};
use crate::ledger::{HostRow, HostState, Placement, PlacementState, Write};
use crate::plan::Over;

impl World {
    pub(super) fn begin_on_host(&mut self, action: Action) {
        let host = action.host().expect("it is on a host").to_owned();
        match &action {
            Action::Put { id, .. } => {
                self.placed(id, &host, PlacementState::Placing);
                self.observed
                    .refused_logins
                    .remove(&(id.0.clone(), id.1, host.clone()));
            }
            Action::TakeOff { lines, .. } => {
                for id in lines {
                    self.placed(id, &host, PlacementState::Removing);
                }
            }
            _ => {}
        }
        let before = self.observed.host_tasks.insert(host, action.key().to_owned());
        assert_eq!(before, None, "two tasks at one host: {action:?}");
        self.running.push(Running::OnHost(action));
    }

    /// Of the two ways in for a new line, the present key and the user's own, one always works here.
    pub(super) fn takes_place_on_host(&mut self, action: &Action) {
        let host = action.host().expect("it is on a host");
        let real = self.hosts.get_mut(host).expect("it is there");
        if !real.is_up {
            return;
        }
        match action {
            Action::Put { id, .. } => _ = real.lines.insert(id.clone()),
            Action::TakeOff {
                over: Over::Generation(over),
                lines,
                ..
            } if real.lines.contains(over) => {
                assert!(
                    self.observed.in_agent.contains(over),
                    "nothing signs for {over:?}"
                );
                assert!(!lines.contains(over));
                real.lines.retain(|line| !lines.contains(line));
            }
            _ => {}
        }
    }

    pub(super) fn end_on_host(&mut self, action: Action, fate: Fate) {
        let host = action.host().expect("it is on a host").to_owned();
        let key = action.key().to_owned();
        self.observed.host_tasks.remove(&host);
        let subject = Subject::Host(key.clone(), host.clone());
        let is_up = self.hosts[&host].is_up;
        let is_done = is_up && matches!(fate, Fate::Works | Fate::DoneUnknown);
        if is_done {
            self.takes_place_on_host(&action);
        }
        let state = match is_up {
            true => HostState::Reached,
            false => HostState::Parked,
        };
        let row = HostRow {
            address: host.clone(),
            pinned_host_key: self
                .ledger
                .hosts
                .get(&host)
                .and_then(|row| row.pinned_host_key.clone()),
            state,
            since: 0,
            note: None,
        };
        self.ledger.hosts.insert(host.clone(), row);
        if !is_up || fate != Fate::Works {
            let kind = if is_up { "busy" } else { "unreachable" };
            self.fail(subject, kind);
            // What is known not to have taken place is as it was.
            if fate == Fate::Fails || !is_up {
                self.take_back(&action, &host);
            }
            return;
        }
        match action {
            Action::Put { id, .. } => self.placed(&id, &host, PlacementState::Placed),
            Action::TakeOff { lines, .. } => {
                for id in lines {
                    self.placed(&id, &host, PlacementState::Removed);
                }
                self.observed.retries.remove(&subject);
            }
            Action::Verify { id, .. } => {
                let login = (id.0.clone(), id.1, host.clone());
                if self.hosts[&host].lines.contains(&id) && self.observed.in_agent.contains(&id) {
                    self.placed(&id, &host, PlacementState::Verified);
                    let number = host.as_bytes()[1];
                    self.ledger
                        .hosts
                        .get_mut(&host)
                        .expect("it was written")
                        .pinned_host_key = Some(vec![number]);
                    self.observed.refused_logins.remove(&login);
                    self.observed.retries.remove(&subject);
                    self.observed.retries.retain(|subject, retry| {
                        !matches!(subject, Subject::Host(_, at) if *at == host)
                            || retry.error.kind != "unreachable"
                    });
                } else {
                    let is_placed = self
                        .ledger
                        .placements
                        .get(&login)
                        .is_some_and(|row| row.state == PlacementState::Placed);
                    self.observed.refused_logins.insert(login);
                    if is_placed {
                        self.fail(subject, "refused");
                    }
                }
            }
            _ => {}
        }
    }

    /// A change that is known not to have been made.
    fn take_back(&mut self, action: &Action, host: &str) {
        match action {
            Action::Put { id, .. } => {
                let was_seen = self
                    .placement(id, host)
                    .is_some_and(|row| row.verified_at.is_some());
                let state = if was_seen {
                    PlacementState::Placing
                } else {
                    PlacementState::Removed
                };
                // It may be there from an earlier try whose outcome nobody knows.
                if !self.hosts[host].lines.contains(id) {
                    self.placed(id, host, state);
                }
            }
            Action::TakeOff { lines, .. } => {
                for id in lines {
                    let was_seen = self
                        .placement(id, host)
                        .is_some_and(|row| row.verified_at.is_some());
                    let state = if was_seen {
                        PlacementState::Verified
                    } else {
                        PlacementState::Placed
                    };
                    // Nor is a line verified that an earlier try may have taken off.
                    if self.hosts[host].lines.contains(id) {
                        self.placed(id, host, state);
                    }
                }
            }
            _ => {}
        }
    }

    fn placement(&self, id: &GenerationId, host: &str) -> Option<&Placement> {
        self.ledger.placements.get(&(id.0.clone(), id.1, host.to_owned()))
    }

    fn placed(&mut self, id: &GenerationId, host: &str, state: PlacementState) {
        let now = self.now.wall_ms();
        let before = self.placement(id, host).and_then(|row| row.verified_at);
        let row = Placement {
            key: id.0.clone(),
            n: id.1,
            host: host.to_owned(),
            state,
            verified_at: (state == PlacementState::Verified).then_some(now).or(before),
            line: None,
            file: None,
            file_hash: None,
            changed_at: now,
        };
        if !self.ledger.hosts.contains_key(host) {
            let row = HostRow {
                address: host.to_owned(),
                pinned_host_key: None,
                state: HostState::New,
                since: 0,
                note: None,
            };
            self.ledger.hosts.insert(host.to_owned(), row);
        }
        self.write(Write {
            placements: vec![row],
            ..Write::default()
        });
    }
}
