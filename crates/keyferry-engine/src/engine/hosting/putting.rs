//! Putting a generation's line on a host.

use keyferry_hosts::{HostError, Identity, Line, Reply, Work};

use super::identities::options_of;
use super::trusted::marker_of;
use super::{OnHost, nonsense, outcome_of};
use crate::engine::Engine;
use crate::engine::failure::{Failure, Pace};
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, Placement, PlacementState, Write};
use crate::plan::{GenerationId, Subject, expiry};

/// A line on its way to a host.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Putting {
    pub(super) id: GenerationId,
    /// The file that is changed.
    pub(super) file: String,
    step: PuttingStep,
    /// What was known of the line before.
    before: Option<Placement>,
    effects: Vec<Effect>,
}

#[derive(Clone, Debug)]
enum PuttingStep {
    /// The line is put there.
    Put,
    /// It is taken out of the file where it was put before and was not seen to log in; it goes into this one next.
    Leave { next: String, work: Box<Work> },
}

impl Putting {
    /// What is noted of the line again where putting it fails; none: another generation's line is put.
    pub(in crate::engine) fn before_of(&mut self, id: &GenerationId) -> Option<&mut Option<Placement>> {
        (self.id == *id).then_some(&mut self.before)
    }
}

impl Engine {
    pub(super) async fn begin_putting(&mut self, id: GenerationId, host: String) -> Result<(), EngineError> {
        let Some(mut line) = self.line(&id) else {
            self.has_no_public_half(&id, &host);
            return Ok(());
        };
        // A key that is held signs nothing: whether it logs in with its new line cannot be seen. So that is the old one, with
        // another end.
        let is_held = self.view.is_held(&id.0);
        let known = self.view.placements.get(&(id.0.clone(), id.1, host.clone()));
        let written = known.and_then(|known| known.line.as_deref());
        if let Some(written) = written.and_then(options_of).filter(|_| is_held) {
            line.options = expiry::with_end_of(written, &line.options);
        }
        let (before, mut placement) = self.placing(&id, &host, &line);
        let file = placement.file.clone().unwrap_or_else(|| self.file_for(&id.0));
        let leaves = before
            .as_ref()
            .and_then(|before| left_behind(before, &file, &line));
        if let Some((old, _)) = &leaves {
            // Until it is gone from there.
            placement.file = Some(old.clone());
        }
        let mut over = self.logins_for(&id, &host);
        let itself = before.as_ref().and_then(|before| self.logs_in_itself(before));
        over.extend(itself.filter(|itself| !over.contains(itself)));
        if over.is_empty() {
            let message = format!("nothing that login_with names can log in to {host} now");
            let remedy = format!(
                "add another login to login_with in [deploy] of keys/{}.toml, or put the key there yourself: keyferry sees it",
                id.0
            );
            let failure = Failure::local("no_login", message, &remedy, Pace::Host);
            // Next time it is seen first whether somebody put it there.
            self.observed
                .refused_logins
                .remove(&(id.0.clone(), id.1, host.clone()));
            self.fail(Subject::Host(id.0, host), &failure);
            return Ok(());
        }
        let effects = self.intents(EffectKind::Put, &host, [id.clone()]);
        let write = Write {
            hosts: vec![self.host_row(&host)],
            placements: vec![placement],
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_on_host(&id.0, &host, write).await? {
            return Ok(());
        }
        // What it was refused before says nothing about a line that is put there now.
        self.observed
            .refused_logins
            .remove(&(id.0.clone(), id.1, host.clone()));
        let work = Work::Put {
            over: over.clone(),
            line,
            itself: self.identity(&id).filter(|_| !is_held),
            proof: self.proof(&id.0),
        };
        let (file, work, step) = match leaves {
            None => (file, work, PuttingStep::Put),
            Some((old, line)) => {
                let leave = Work::RemoveLast {
                    over,
                    lines: vec![line],
                };
                let work = Box::new(work);
                (old, leave, PuttingStep::Leave { next: file, work })
            }
        };
        let putting = Putting {
            id,
            file,
            step,
            before,
            effects,
        };
        self.start_on_host(host, work, OnHost::Put(putting));
        Ok(())
    }

    /// A line is gone from the file where it stood before: now it is put into the other one.
    async fn go_on_putting(
        &mut self,
        host: String,
        putting: Putting,
        next: String,
        work: Work,
    ) -> Result<(), EngineError> {
        let login = (putting.id.0.clone(), putting.id.1, host.clone());
        let Some(known) = self.view.placements.get(&login).cloned() else {
            return Ok(());
        };
        let write = Write {
            placements: vec![Placement {
                file: Some(next.clone()),
                ..known
            }],
            ..Write::default()
        };
        if !self.settle_on_host(&putting.id.0, &host, write).await? {
            return Ok(());
        }
        let putting = Putting {
            file: next,
            step: PuttingStep::Put,
            before: None,
            ..putting
        };
        self.start_on_host(host, work, OnHost::Put(putting));
        Ok(())
    }

    /// A generation whose line is written anew, where it was seen to log in: whoever else does may need a person for it.
    fn logs_in_itself(&self, line: &Placement) -> Option<Identity> {
        let id = (line.key.clone(), line.n);
        let may_sign = self.observed.in_agent.contains(&id) && !self.view.is_held(&line.key);
        line.verified_at
            .filter(|_| may_sign)
            .and_then(|_| self.identity(&id))
    }

    pub(super) async fn put(
        &mut self,
        host: String,
        putting: Putting,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let Putting {
            id,
            file,
            step,
            before,
            effects,
        } = putting;
        let result = match (step, result) {
            (PuttingStep::Leave { next, work }, Ok(Reply::Removed { .. })) => {
                let putting = Putting {
                    id,
                    file,
                    step: PuttingStep::Put,
                    before,
                    effects,
                };
                return self.go_on_putting(host, putting, next, *work).await;
            }
            (PuttingStep::Put, Ok(reply @ Reply::Put { .. })) => Ok(reply),
            (_, Ok(_)) => Err(nonsense()),
            (_, Err(error)) => Err(error),
        };
        let row = self.row_after(&host, &result);
        let login = (id.0.clone(), id.1, host.clone());
        let Some(mut placement) = self.view.placements.get(&login).cloned() else {
            return Ok(());
        };
        let (outcome, error) = match result {
            Ok(reply) => {
                placement.changed_at = self.clock.now().wall_ms();
                placement.state = PlacementState::Placed;
                if let Reply::Put { over, file_hash, .. } = reply {
                    placement.file_hash = Some(file_hash.to_vec());
                    self.has_recovered(&host, &over);
                }
                (EffectOutcome::Done, None)
            }
            Err(error) => {
                let outcome = outcome_of(&error);
                let is_unknown = outcome != EffectOutcome::Refused;
                placement = match before {
                    // The line that stood there before may stand there still, and end when that one ends.
                    Some(before) if is_unknown => Placement {
                        line: before.line,
                        changed_at: before.changed_at,
                        ..placement
                    },
                    Some(before) => before,
                    None if is_unknown => placement,
                    None => Placement {
                        state: PlacementState::Removed,
                        ..placement
                    },
                };
                (outcome, Some(error))
            }
        };
        let write = Write {
            hosts: vec![row],
            placements: vec![placement],
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        // Whether it logs in is seen next; until then an earlier failure counts on.
        if let Some(error) = &error {
            self.host_failed(&id.0, &host, error);
        } else {
            self.reached(&host);
        }
        self.settle_on_host(&id.0, &host, write).await?;
        Ok(())
    }

    /// Notes that the recovery identity logged in, if it was that.
    fn has_recovered(&mut self, host: &str, over: &Identity) {
        let recovery = self.desired.daemon.recovery.as_ref();
        if let (Identity::Agent { public_key, .. }, Some(recovery)) = (over, recovery)
            && *public_key == recovery.public_key
        {
            let now = self.clock.now().wall_ms();
            self.observed.recovery_verified.insert(host.to_owned(), now);
        }
    }
}

/// The file where a line may stand that is put into another one now, and the line as it stands there.
fn left_behind(before: &Placement, file: &str, line: &Line) -> Option<(String, Line)> {
    let old = before.file.clone().filter(|old| old != file)?;
    let written = before.line.as_deref()?;
    let marker = marker_of(written).unwrap_or_else(|| line.marker.clone());
    let line = Line {
        marker,
        ..line.clone()
    };
    (before.state != PlacementState::Removed).then_some((old, line))
}
