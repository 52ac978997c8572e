//! What the user asks of a key's rotation. It is noted in the ledger; planning follows by itself.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

mod ending;
mod going_back;

use super::{Command, EngineHandle, Refusal};
use crate::config::suggestion;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ledger::{Generation, GenerationState, HostState, KeyRow, ORPHANS, PlacementState, Stage, Write};
use crate::plan::{Subject, explain};
use crate::snapshot::{HostCondition, KeyPlan, KeyStatus, RolledBack, RotationAsked, Timestamp};

impl EngineHandle {
    /// Asks for the next generation of keys. One whose rotation is under way is not asked again: the answer says what it
    /// waits for, and that is tried again at once.
    ///
    /// # Errors
    /// A [`Refusal`] when one of the keys cannot be rotated; nothing is begun then.
    pub async fn rotate(&self, keys: Vec<String>) -> Result<Vec<RotationAsked>, Refusal> {
        self.ask(|reply| RotationCommand::Rotate { keys, reply }).await
    }

    /// Gives up the generation that is not promoted yet; else goes back to the one before the active one.
    ///
    /// # Errors
    /// A [`Refusal`] when there is nothing to go back to.
    pub async fn rollback(&self, key: String) -> Result<RolledBack, Refusal> {
        self.ask(|reply| RotationCommand::Rollback { key, reply }).await
    }

    /// Asks that a key ends: its lines are taken off its hosts and its pairs deleted. `accepted_loss` names hosts and
    /// instances, or `all`, that may lose their last login by that; it is added to what was accepted before.
    ///
    /// # Errors
    /// A [`Refusal`] for unknown names.
    pub async fn retire(&self, key: String, accepted_loss: Vec<String>) -> Result<(), Refusal> {
        self.ask(|reply| RotationCommand::Retire {
            key,
            accepted_loss,
            reply,
        })
        .await
    }

    /// Gives up instances that hold earlier generations of a key back, which stays itself; `all`: those that are known now.
    ///
    /// # Errors
    /// A [`Refusal`] for unknown names.
    pub async fn give_up_instances(&self, key: String, instances: Vec<String>) -> Result<(), Refusal> {
        self.ask(|reply| RotationCommand::GiveUpInstances {
            key,
            instances,
            reply,
        })
        .await
    }

    /// Has the rotation of keys stand still: nothing is made, deployed, taken off or deleted. They sign on, and lines that
    /// end by themselves are renewed.
    ///
    /// # Errors
    /// A [`Refusal`] for unknown names and a time that is over; nothing is paused then.
    pub async fn pause(
        &self,
        keys: Vec<String>,
        until: Option<Timestamp>,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        self.ask(|reply| RotationCommand::Pause {
            keys,
            until,
            reason,
            reply,
        })
        .await
    }

    /// What would be done, and why, by key. No name: for all keys.
    ///
    /// # Errors
    /// A [`Refusal`] for unknown names.
    pub async fn plan(&self, keys: Vec<String>) -> Result<Vec<KeyPlan>, Refusal> {
        self.ask(|reply| RotationCommand::Plan { keys, reply }).await
    }

    /// As [`Self::plan`], if [`Self::retire`] were asked; of this key alone.
    ///
    /// # Errors
    /// As [`Self::retire`].
    pub async fn plan_to_retire(
        &self,
        key: String,
        accepted_loss: Vec<String>,
    ) -> Result<Vec<KeyPlan>, Refusal> {
        self.ask(|reply| RotationCommand::PlanToRetire {
            key,
            accepted_loss,
            reply,
        })
        .await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> RotationCommand,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        // An engine that has ended drops what it is asked.
        let _ = self.commands.send(Command::Rotation(command(reply)));
        answer.await.unwrap_or(Err(Refusal::Ended))
    }
}

pub(in crate::engine) enum RotationCommand {
    GiveUpInstances {
        key: String,
        instances: Vec<String>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Pause {
        keys: Vec<String>,
        until: Option<Timestamp>,
        reason: Option<String>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Plan {
        keys: Vec<String>,
        reply: oneshot::Sender<Result<Vec<KeyPlan>, Refusal>>,
    },
    PlanToRetire {
        key: String,
        accepted_loss: Vec<String>,
        reply: oneshot::Sender<Result<Vec<KeyPlan>, Refusal>>,
    },
    Retire {
        key: String,
        accepted_loss: Vec<String>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Rollback {
        key: String,
        reply: oneshot::Sender<Result<RolledBack, Refusal>>,
    },
    Rotate {
        keys: Vec<String>,
        reply: oneshot::Sender<Result<Vec<RotationAsked>, Refusal>>,
    },
}

/// What is to be written, and what to answer then.
type Decision<T> = Result<(Write, T), Refusal>;

impl Engine {
    pub(super) async fn obey_about_rotation(&mut self, command: RotationCommand) -> Result<(), EngineError> {
        match command {
            RotationCommand::GiveUpInstances {
                key,
                instances,
                reply,
            } => {
                let decision = self.giving_up(&key, &instances).map(|row| (keys(vec![row]), ()));
                let _ = reply.send(self.decided(decision).await?);
            }
            RotationCommand::Pause {
                keys,
                until,
                reason,
                reply,
            } => {
                let decision = self.pausing(keys, until, reason);
                let _ = reply.send(self.decided(decision).await?);
            }
            RotationCommand::Plan { keys, reply } => {
                let _ = reply.send(self.explained_plan(&keys));
            }
            RotationCommand::PlanToRetire {
                key,
                accepted_loss,
                reply,
            } => {
                let _ = reply.send(self.explained_end(&key, &accepted_loss));
            }
            RotationCommand::Retire {
                key,
                accepted_loss,
                reply,
            } => {
                let decision = self
                    .retiring(&key, &accepted_loss)
                    .map(|row| (keys(vec![row]), ()));
                let answer = self.decided(decision).await?;
                if answer.is_ok() {
                    self.urge(&key);
                }
                let _ = reply.send(answer);
            }
            RotationCommand::Rollback { key, reply } => {
                let decision = self.rolling_back(&key);
                let answer = self.decided(decision).await?;
                if let Ok(answer) = &answer {
                    self.observed.loaded.insert(key.clone(), answer.to);
                    self.urge(&key);
                }
                let _ = reply.send(answer);
            }
            RotationCommand::Rotate { keys, reply } => {
                let decision = self.rotating(keys);
                let answer = self.decided(decision).await?;
                for asked in answer.iter().flatten() {
                    self.urge(&asked.key);
                }
                let _ = reply.send(answer);
            }
        }
        Ok(())
    }

    pub(super) async fn decided<T>(
        &mut self,
        decision: Decision<T>,
    ) -> Result<Result<T, Refusal>, EngineError> {
        let (write, answer) = match decision {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if write == Write::default() {
            return Ok(Ok(answer));
        }
        let written = self.record(write).await?;
        Ok(written.map(|()| answer).map_err(|message| Refusal::Ledger {
            message,
            remedy: self.ledger_remedy(),
        }))
    }

    /// What failed for a key is tried now, whatever the hour.
    pub(in crate::engine) fn urge(&mut self, key: &str) {
        self.observed.retries.retain(|subject, _| {
            let is_tried_by_itself = matches!(subject, Subject::Generation(..) | Subject::Publishing(_));
            subject.key() != key || is_tried_by_itself
        });
        self.observed.urged.insert(key.to_owned());
    }

    fn rotating(&self, names: Vec<String>) -> Decision<Vec<RotationAsked>> {
        let mut rows = Vec::new();
        let mut answer = Vec::new();
        let names: BTreeSet<String> = names.into_iter().collect();
        let snapshot = self.snapshot();
        for key in names {
            let active = self.rotates(&key)?;
            let row = self.view.key(&key);
            let status = snapshot.keys.iter().find(|status| status.name == key);
            let under_way = self.under_way(&key, active, status);
            if under_way.is_none() {
                rows.push(KeyRow {
                    rotate_asked_at: Some(self.clock.now().wall_ms()),
                    ..row
                });
            }
            let (from, waiting) = under_way.map_or((active, None), |(from, waiting)| (from, Some(waiting)));
            answer.push(RotationAsked { key, from, waiting });
        }
        Ok((keys(rows), answer))
    }

    /// The active generation of a key that can be rotated.
    fn rotates(&self, key: &str) -> Result<u64, Refusal> {
        self.lasting_key(key)?;
        let name = || key.to_owned();
        let row = self.view.key(key);
        let spec = self.desired.keys.get(key).filter(|spec| spec.present);
        let Some(spec) = spec else {
            return Err(Refusal::FileMissing { key: name() });
        };
        if row.held_at.is_some() {
            return Err(Refusal::Held { key: name() });
        }
        if row.retire_asked_at.is_some() {
            return Err(Refusal::Retiring { key: name() });
        }
        if let Some(pause) = self.pause_of(&row) {
            return Err(pause);
        }
        if spec.hosts.is_none() && self.view.placements_of(key).next().is_none() {
            return Err(Refusal::WithoutHosts { key: name() });
        }
        let active = self.observed.loaded.get(key).copied();
        active.ok_or_else(|| Refusal::NotLoaded { key: name() })
    }

    pub(super) fn pause_of(&self, row: &KeyRow) -> Option<Refusal> {
        if row.is_behind() {
            return Some(Refusal::OlderLedger {
                key: row.name.clone(),
            });
        }
        row.paused_at?;
        if row
            .paused_until
            .is_some_and(|until| until <= self.clock.now().wall_ms())
        {
            return None;
        }
        Some(Refusal::Paused {
            key: row.name.clone(),
            until: row.paused_until.map(Timestamp::from_ms),
            reason: row.pause_reason.clone(),
        })
    }

    /// From which generation a rotation that has begun leads away, and what it waits for.
    fn under_way(&self, key: &str, active: u64, status: Option<&KeyStatus>) -> Option<(u64, String)> {
        let row = self.view.key(key);
        let staged = self.staged(key);
        let verified = |n: u64, host: &str| {
            let placement = self.view.placements.get(&(key.to_owned(), n, host.to_owned()));
            placement.is_some_and(|placement| placement.state == PlacementState::Verified)
        };
        let words = || status.map(waits_for).unwrap_or_default();
        if staged.is_some() || row.rotate_asked_at.is_some() {
            return Some((active, words()));
        }
        let earlier = self
            .view
            .originals(key)
            .rfind(|generation| generation.n < active && generation.stage == Stage::Earlier)?;
        // Hosts where the change from the one to the other is not done yet.
        let hosts = self.view.placements_of(key).filter(|placement| {
            let state = self.view.hosts.get(&placement.host).map(|host| host.state);
            placement.n == earlier.n && !matches!(state, Some(HostState::Parked | HostState::Forgotten))
        });
        let is_done = hosts
            .into_iter()
            .all(|placement| verified(active, &placement.host));
        (!is_done).then(|| (earlier.n, words()))
    }

    fn staged(&self, key: &str) -> Option<&Generation> {
        let active = self.observed.loaded.get(key).copied();
        self.view.originals(key).rfind(|generation| {
            generation.stage == Stage::Staged
                && Some(generation.n) != active
                && matches!(
                    generation.state,
                    GenerationState::Requested | GenerationState::Live | GenerationState::Missing
                )
        })
    }

    fn pausing(&self, names: Vec<String>, until: Option<Timestamp>, reason: Option<String>) -> Decision<()> {
        let now = self.clock.now();
        if let Some(until) = until.filter(|until| until.0 <= now.wall) {
            return Err(Refusal::TimeIsOver { until });
        }
        let names: BTreeSet<String> = names.into_iter().collect();
        let reason = reason
            .map(|reason| one_line(&reason))
            .filter(|reason| !reason.is_empty());
        let mut rows = Vec::new();
        for name in names {
            self.lasting_key(&name)?;
            rows.push(KeyRow {
                paused_at: Some(now.wall_ms()),
                paused_until: until.map(Timestamp::to_ms),
                pause_reason: reason.clone(),
                ..self.view.key(&name)
            });
        }
        Ok((keys(rows), ()))
    }

    fn explained_plan(&self, keys: &[String]) -> Result<Vec<KeyPlan>, Refusal> {
        for key in keys {
            self.known_key(key)?;
        }
        let now = self.clock.now();
        Ok(explain(&self.desired, &self.view, &self.observed, now, keys))
    }

    /// A key that is known, and not there for one command.
    pub(super) fn lasting_key(&self, name: &str) -> Result<(), Refusal> {
        self.known_key(name)?;
        match self.view.is_for_command(name) {
            true => Err(Refusal::ForCommand { key: name.to_owned() }),
            false => Ok(()),
        }
    }

    /// A key that is declared, or of which more is left than its row.
    pub(super) fn known_key(&self, name: &str) -> Result<(), Refusal> {
        let mut known: BTreeSet<&str> = self.desired.keys.keys().map(String::as_str).collect();
        known.extend(self.view.keys.keys().map(String::as_str));
        known.remove(ORPHANS);
        known.retain(|name| self.is_something(name) || !self.is_nothing_left(name));
        match known.contains(name) {
            true => Ok(()),
            false => Err(Refusal::UnknownKey {
                name: name.to_owned(),
                nearest: suggestion(name, known),
            }),
        }
    }
}

pub(super) fn keys(keys: Vec<KeyRow>) -> Write {
    Write {
        keys,
        ..Write::default()
    }
}

/// A reason as it can stand in a table and in a log.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    line.chars()
        .filter(|character| !character.is_control())
        .take(MAX_REASON)
        .collect()
}

/// What a rotation that has begun waits for, in words.
fn waits_for(status: &KeyStatus) -> String {
    if let Some(waiting) = status
        .rotation
        .as_ref()
        .and_then(|rotation| rotation.waiting.clone())
    {
        return waiting;
    }
    let rotation = status.rotation.clone().unwrap_or_default();
    let Some(target) = rotation.staged.or(rotation.active) else {
        return "the next generation is being made".to_owned();
    };
    let left: Vec<&str> = status
        .hosts
        .iter()
        .filter(|host| {
            let is_left_alone = matches!(host.state, HostCondition::Forgotten | HostCondition::Parked);
            host.generation != Some(target) && !is_left_alone
        })
        .map(|host| host.host.as_str())
        .collect();
    match left.as_slice() {
        [] => "the next generation is being made".to_owned(),
        [first] => format!("generation {target} has not been seen to log in at {first} yet"),
        [first, others @ ..] => format!(
            "generation {target} has not been seen to log in at {first} and {} other hosts yet",
            others.len()
        ),
    }
}

/// In characters.
const MAX_REASON: usize = 300;
