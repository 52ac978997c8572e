//! Working on hosts: what was planned is begun, and what comes of it is written down.
//!
//! A change on a host has its intent in the ledger before it and its outcome after it. One without an outcome may have
//! happened or not: the plan asks for it again, and whoever does it compares first.

use keyferry_hosts::{HostError, HostErrorKind, Line, Task as HostTask, Work};

mod deploying;
mod identities;
mod instances;
mod listing;
mod putting;
mod revoking;
mod taking_off;
mod trusted;
mod verifying;

pub(super) use deploying::{Deployed, Deployments};
pub(super) use identities::Signature;
use identities::path_of;
pub(super) use putting::Putting;
pub(super) use revoking::{Revoking, shown};
pub(super) use taking_off::TakingOff;
pub(super) use trusted::{Lent, Trusting};

use super::failure::{Failure, Outcome, Pace};
use super::{Engine, Finished, Task};
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, HostRow, HostState, Placement, PlacementState};
use crate::plan::{Action, GenerationId, Subject};

/// What is done on a host, and what stood there before.
#[derive(Clone, Debug)]
pub(super) enum OnHost {
    Put(Putting),
    Revoking(Revoking),
    TakeOff(TakingOff),
    Trusted(Trusting),
    Verify { id: GenerationId },
}

impl OnHost {
    /// The key that it is for.
    fn key(&self) -> &str {
        match self {
            Self::Put(putting) => &putting.id.0,
            Self::Revoking(revoking) => &revoking.file.key,
            Self::TakeOff(taking_off) => &taking_off.key,
            Self::Trusted(trusting) => trusting.key(),
            Self::Verify { id } => &id.0,
        }
    }
}

impl Engine {
    /// Begins what is done on hosts, or follows from what stands there.
    pub(super) async fn begin_on_hosts(&mut self, action: Action) -> Result<(), EngineError> {
        match action {
            Action::ListHosts { key } => {
                self.begin_listing_hosts(key);
                Ok(())
            }
            Action::ListInstances { id } => {
                self.list_instances(&id);
                Ok(())
            }
            Action::Promote { id } => self.promote(id).await,
            Action::Put { id, host } => self.begin_putting(id, host).await,
            Action::TakeOff { over, host, lines } => self.begin_taking_off(over, host, lines).await,
            Action::PutTrusted {
                over,
                host,
                public_key,
                purpose,
            } => self.begin_putting_trusted(over, host, public_key, purpose).await,
            Action::TakeOffTrusted {
                key,
                over,
                host,
                public_keys,
            } => self.begin_taking_off_trusted(key, over, host, public_keys).await,
            Action::VerifyRecovery { over, host } => {
                self.begin_verifying_recovery(&over.0, host);
                Ok(())
            }
            Action::Replace {
                over,
                host,
                fingerprints,
            } => self.begin_replacing(over, host, fingerprints).await,
            Action::Revoke { host, selector } => {
                self.begin_revoking(host, selector);
                Ok(())
            }
            Action::Unload { id } => {
                self.unload(&id);
                Ok(())
            }
            Action::Verify { id, host } => {
                self.begin_verifying(id, host);
                Ok(())
            }
            other => {
                tracing::error!(action = ?other, "this is not done on hosts");
                Ok(())
            }
        }
    }

    /// What the user asked for at once is over for keys of which nothing is under way and no rotation is still to begin.
    pub(super) fn calm_down(&mut self) {
        let observed = &self.observed;
        let is_busy = |key: &String| {
            observed.host_tasks.values().any(|busy| busy == key)
                || observed.listing_hosts.contains(key)
                || observed.generating.contains(key)
                || observed.jobs.keys().any(|(busy, _)| busy == key)
        };
        let is_asked = |key: &String| {
            let row = self.view.keys.get(key);
            row.is_some_and(|row| row.rotate_asked_at.is_some())
        };
        // What the user asked for was not tried yet.
        if observed.locked {
            return;
        }
        let urged = observed.urged.iter().filter(|key| is_busy(key) || is_asked(key));
        self.observed.urged = urged.cloned().collect();
    }

    /// Starts something on a host.
    fn start_on_host(&mut self, address: String, work: Work, on_host: OnHost) {
        let mut host = self.host(on_host.key(), &address);
        match &on_host {
            OnHost::Revoking(revoking) => host.account.path.clone_from(&revoking.file.path),
            OnHost::TakeOff(taking_off) => host.account.path = path_of(taking_off.file.clone()),
            OnHost::Put(putting) => host.account.path = path_of(putting.file.clone()),
            OnHost::Trusted(trusting) => {
                if let Some(file) = trusting.file() {
                    host.account.path = path_of(file);
                }
            }
            OnHost::Verify { .. } => {}
        }
        let work = self.hosts.run(HostTask { host, work });
        let task = self.tasks.spawn(async move { Finished::OnHost(work.await) });
        self.observed
            .host_tasks
            .insert(address.clone(), on_host.key().to_owned());
        self.running.insert(
            task.id(),
            Task::OnHost {
                host: address,
                on_host: Box::new(on_host),
                lock_changes: *self.lock_changes.borrow(),
            },
        );
    }

    /// What came of a task on a host.
    pub(super) async fn done_on_host(
        &mut self,
        host: String,
        on_host: OnHost,
        lock_changes: u64,
        finished: Finished,
    ) -> Result<(), EngineError> {
        self.observed.host_tasks.remove(&host);
        let result = match finished {
            Finished::OnHost(result) => result,
            _ => Err(internal("the task was given up inside keyferry".to_owned())),
        };
        let result = result.map_err(|error| self.unless_locked(error, &host, lock_changes));
        match on_host {
            OnHost::Put(putting) => self.put(host, putting, result).await,
            OnHost::Revoking(revoking) => self.revoking(host, revoking, result).await,
            OnHost::TakeOff(taking_off) => self.taken_off(host, taking_off, result).await,
            OnHost::Trusted(trusting) => self.trusted(host, trusting, result).await,
            OnHost::Verify { id } => self.verified(host, id, result).await,
        }
    }

    /// Keeps a failure on a host, for its next try.
    fn host_failed(&mut self, key: &str, host: &str, error: &HostError) {
        let subject = Subject::Host(key.to_owned(), host.to_owned());
        let mut failure = Failure::of_host(error);
        // A line that ends there cannot wait for a person: whatever that was, its own key may renew it.
        if failure.pace == Pace::Never && self.has_line_that_ends(key, host) {
            failure.pace = Pace::Slow;
        }
        self.fail(subject, &failure);
        if error.kind == HostErrorKind::Locked {
            return;
        }
        // What the user asked for was tried.
        self.observed.urged.remove(key);
    }

    /// Whether a line of a key that logs in at a host ends by itself, and is to be renewed before.
    fn has_line_that_ends(&self, key: &str, host: &str) -> bool {
        let ends = |line: &String| line.contains("expiry-time=");
        let mut lines = self.view.placements_of(key);
        !self.view.is_for_command(key)
            && lines.any(|row| {
                row.host == host && row.verified_at.is_some() && row.line.as_ref().is_some_and(ends)
            })
    }

    /// Writes down what came of a task. When the disk refuses, what was known before stays, and it is done again later.
    async fn settle_on_host(
        &mut self,
        key: &str,
        host: &str,
        write: crate::ledger::Write,
    ) -> Result<bool, EngineError> {
        match self.record(write).await? {
            Ok(()) => Ok(true),
            Err(message) => {
                self.fail_for_disk(Subject::Host(key.to_owned(), host.to_owned()), message);
                Ok(false)
            }
        }
    }

    /// A line that is about to be put on a host, and what was known of it before.
    fn placing(&self, id: &GenerationId, host: &str, line: &Line) -> (Option<Placement>, Placement) {
        let login = (id.0.clone(), id.1, host.to_owned());
        let before = self.view.placements.get(&login).cloned();
        let placement = Placement {
            key: id.0.clone(),
            n: id.1,
            host: host.to_owned(),
            state: PlacementState::Placing,
            verified_at: before.as_ref().and_then(|before| before.verified_at),
            line: Some(line.to_string()),
            file: Some(self.file_of_next_put(before.as_ref(), &id.0)),
            file_hash: before.as_ref().and_then(|before| before.file_hash.clone()),
            changed_at: self.clock.now().wall_ms(),
        };
        (before, placement)
    }

    /// The file that a line is to be put into. One that logs in is written anew where it stands, whatever `path` says since:
    /// in another file nobody knows whether sshd reads it, and what logs in then may be the line that ends.
    fn file_of_next_put(&self, before: Option<&Placement>, key: &str) -> String {
        let seen = before.filter(|before| before.verified_at.is_some());
        let there = seen.and_then(|before| before.file.clone());
        there.unwrap_or_else(|| self.file_for(key))
    }

    /// A host's row, new where there is none.
    pub(super) fn host_row(&self, address: &str) -> HostRow {
        self.view.hosts.get(address).cloned().unwrap_or_else(|| HostRow {
            address: address.to_owned(),
            pinned_host_key: None,
            state: HostState::New,
            since: self.clock.now().wall_ms(),
            note: None,
        })
    }

    /// A host's row after a task on it: how the host fares now. One that the user gave up stays given up.
    fn row_after<T>(&self, address: &str, result: &Result<T, HostError>) -> HostRow {
        let row = self.host_row(address);
        let (state, note) = match result {
            Ok(_) => (HostState::Reached, None),
            Err(error) => match error.kind {
                HostErrorKind::Unreachable => (HostState::Parked, Some(error.message.clone())),
                HostErrorKind::File | HostErrorKind::HostKeyChanged | HostErrorKind::HostKeyUnknown => {
                    (HostState::Blocked, Some(error.message.clone()))
                }
                // It answered. What a person was to see to may still be so.
                HostErrorKind::AnotherKey
                | HostErrorKind::Busy
                | HostErrorKind::NoAnswer
                | HostErrorKind::Refused
                    if row.state != HostState::Blocked =>
                {
                    (HostState::Reached, None)
                }
                _ => (row.state, row.note.clone()),
            },
        };
        if row.state == HostState::Forgotten {
            return row;
        }
        let since = match row.state == state {
            true => row.since,
            false => self.clock.now().wall_ms(),
        };
        HostRow {
            state,
            note,
            since,
            ..row
        }
    }

    /// A host that answers one key is tried for the others that could not reach it.
    fn reached(&mut self, host: &str) {
        let unreachable = HostErrorKind::Unreachable.name();
        self.observed
            .retries
            .retain(|subject, retry| subject.host() != Some(host) || retry.error.kind != unreachable);
    }

    /// The rows of effects on a host that are about to begin.
    fn intents(
        &self,
        kind: EffectKind,
        host: &str,
        ids: impl IntoIterator<Item = GenerationId>,
    ) -> Vec<Effect> {
        let intents = (self.view.last_effect + 1..)
            .zip(ids)
            .map(|(id, (key, n))| Effect {
                id,
                kind,
                key,
                n,
                intent_at: self.clock.now().wall_ms(),
                attempt: 0,
                outcome_at: None,
                outcome: None,
                host: Some(host.to_owned()),
                instance: None,
            });
        intents.collect()
    }

    /// The rows of effects that ended.
    fn outcomes(&self, effects: &[Effect], outcome: EffectOutcome) -> Vec<Effect> {
        let outcome_at = Some(self.clock.now().wall_ms());
        let ended = effects.iter().map(|effect| Effect {
            outcome_at,
            outcome: Some(outcome),
            ..effect.clone()
        });
        ended.collect()
    }
}

impl Failure {
    /// Sorts what failed on a host.
    fn of_host(error: &HostError) -> Self {
        let pace = match error.kind {
            HostErrorKind::NeedsPerson => Pace::Never,
            HostErrorKind::JumpRefused | HostErrorKind::Refused => Pace::Refusal,
            HostErrorKind::HostKeyChanged | HostErrorKind::HostKeyUnknown => Pace::Slow,
            _ => Pace::Host,
        };
        Self {
            outcome: match error.outcome {
                keyferry_hosts::Outcome::Restored | keyferry_hosts::Outcome::Unchanged => Outcome::None,
                keyferry_hosts::Outcome::Unknown => Outcome::Unknown,
            },
            ..Self::local(error.kind.name(), error.message.clone(), &error.remedy, pace)
        }
    }
}

/// Sorts what failed on a host.
pub(super) fn host_failure(error: &HostError) -> Failure {
    Failure::of_host(error)
}

/// How an effect ended that failed.
fn outcome_of(error: &HostError) -> EffectOutcome {
    match error.outcome {
        keyferry_hosts::Outcome::Restored | keyferry_hosts::Outcome::Unchanged => EffectOutcome::Refused,
        keyferry_hosts::Outcome::Unknown => EffectOutcome::Unknown,
    }
}

fn internal(message: String) -> HostError {
    HostError {
        kind: HostErrorKind::Internal,
        message,
        remedy: "nothing for now: keyferry tries again; if it stays, see the log".to_owned(),
        outcome: keyferry_hosts::Outcome::Unknown,
    }
}

/// An answer to another question.
fn nonsense() -> HostError {
    internal("the host's answer is one to another question".to_owned())
}
