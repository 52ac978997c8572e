//! What the engine does at the provider and in the agent.

use keyferry_plugin::contract::Algorithm;

use super::super::*;
use super::world::{Running, World};
use crate::ledger::{Stage, Write};

/// How something ends that reaches outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Works,
    Fails,
    /// It took place, and the answer was lost.
    DoneUnknown,
    /// It did not take place, and nobody knows.
    NotDoneUnknown,
}

impl World {
    pub(super) fn fate(&mut self) -> Fate {
        if !self.is_stormy {
            return Fate::Works;
        }
        match self.chance.below(8) {
            0 => Fate::Fails,
            1 => Fate::DoneUnknown,
            2 => Fate::NotDoneUnknown,
            _ => Fate::Works,
        }
    }

    pub(super) fn begin(&mut self, action: Action) {
        let key = action.key().to_owned();
        match action {
            Action::Generate { .. } => {
                self.observed.ready.insert(key, Algorithm::EcdsaP256);
            }
            Action::Forget { .. } => {
                self.observed.ready.remove(&key);
            }
            Action::Import { .. } => {
                self.observed.ready.remove(&key);
                let mut row = self.ledger.key(&key);
                row.last_n += 1;
                row.rotate_asked_at = None;
                let mut made = generation(&key, row.last_n, GenerationState::Requested);
                if self.observed.loaded.contains_key(&key) {
                    made.stage = Stage::Staged;
                }
                let id = made.id();
                self.write(Write {
                    keys: vec![row],
                    generations: vec![made],
                    ..Write::default()
                });
                self.observed.halves.insert(id.clone());
                self.request(id.clone(), Running::Import(id));
            }
            Action::ImportAgain { id } => {
                self.observed.absent.remove(&id);
                self.request(id.clone(), Running::Import(id));
            }
            Action::Load { id } => {
                self.observed.halves.remove(&id);
                self.observed.in_agent.insert(id.clone());
                let is_staged = self.observed.loaded.contains_key(&key)
                    && self.ledger.generations[&id].stage == Stage::Staged;
                let now = self.now.wall_ms();
                if let Some(row) = self.ledger.generations.get_mut(&id) {
                    row.loaded_at = Some(now);
                }
                if !is_staged {
                    self.promote(&id);
                }
            }
            Action::Look { id } => self.request(id.clone(), Running::Look(id)),
            Action::Delete { id } => self.request(id.clone(), Running::Delete(id)),
            Action::ListInstances { id } => self.request(id.clone(), Running::Instances(id)),
            Action::Promote { id } => self.promote(&id),
            Action::Publish { id } => {
                self.observed.published.insert(key, id.1);
            }
            Action::Unload { id } => {
                self.observed.in_agent.remove(&id);
            }
            Action::Put { .. } | Action::TakeOff { .. } | Action::Verify { .. } => self.begin_on_host(action),
            other => panic!("{other:?} is not part of this world"),
        }
    }

    fn request(&mut self, id: GenerationId, running: Running) {
        self.observed.jobs.insert(id, "account".to_owned());
        self.running.push(running);
    }

    /// What it changes outside.
    pub(super) fn takes_place(&mut self, running: &Running) {
        match running {
            Running::Import(id) => _ = self.pairs.insert(id.clone()),
            Running::Delete(id) => {
                let line = self.hosts.values().any(|host| host.lines.contains(id));
                assert!(
                    !line,
                    "{id:?} is deleted, and its line stands somewhere\n{}",
                    self.log.join("\n")
                );
                self.pairs.remove(id);
            }
            Running::OnHost(action) => self.takes_place_on_host(action),
            Running::Instances(_) | Running::Look(_) => {}
        }
    }

    pub(super) fn end(&mut self, running: Running) {
        let fate = self.fate();
        match running.clone() {
            Running::OnHost(action) => return self.end_on_host(action, fate),
            Running::Import(id) | Running::Look(id) | Running::Delete(id) | Running::Instances(id) => {
                _ = self.observed.jobs.remove(&id)
            }
        }
        if matches!(fate, Fate::Works | Fate::DoneUnknown) {
            self.takes_place(&running);
        }
        match (running, fate) {
            (Running::Import(id), Fate::Works) => self.set_state(&id, GenerationState::Live),
            (Running::Import(id), Fate::Fails) => {
                self.set_state(&id, GenerationState::Absent);
                self.observed.halves.remove(&id);
                self.observed.ready.insert(id.0.clone(), Algorithm::EcdsaP256);
                self.fail(Subject::Making(id.0), "unavailable");
            }
            (Running::Import(id), _) => self.fail(Subject::Making(id.0), "unavailable"),
            (Running::Look(id), Fate::Works) => self.looked(&id),
            (Running::Delete(id), Fate::Works) => self.set_state(&id, GenerationState::Deleted),
            (Running::Delete(id), Fate::DoneUnknown) => {
                self.set_state(&id, GenerationState::Unwanted);
                self.fail(Subject::Generation(id.0, id.1), "unavailable");
            }
            (Running::Instances(id), Fate::Works) => {
                let names = self.instances.get(&id).cloned().unwrap_or_default();
                self.observed.instances.insert(id, (names, self.now.uptime));
            }
            (Running::Instances(id), _) => self.fail(Subject::Instances(id.0, id.1), "unavailable"),
            (Running::Look(id) | Running::Delete(id), _) => {
                self.fail(Subject::Generation(id.0, id.1), "unavailable");
            }
            (Running::OnHost(_), _) => {}
        }
    }

    fn looked(&mut self, id: &GenerationId) {
        let (is_there, is_ours) = (self.pairs.contains(id), self.observed.halves.contains(id));
        match (is_there, is_ours) {
            (true, true) => self.set_state(id, GenerationState::Live),
            (true, false) => self.set_state(id, GenerationState::Unwanted),
            (false, true) => _ = self.observed.absent.insert(id.clone()),
            (false, false) => self.set_state(id, GenerationState::Absent),
        }
    }

    fn set_state(&mut self, id: &GenerationId, state: GenerationState) {
        let Some(mut row) = self.ledger.generations.get(id).cloned() else {
            return;
        };
        row.state = state;
        self.observed
            .retries
            .remove(&Subject::Generation(id.0.clone(), id.1));
        self.observed.retries.remove(&Subject::Making(id.0.clone()));
        self.write(Write {
            generations: vec![row],
            ..Write::default()
        });
    }
}
