//! Taking lines off a host, over a login with a generation that stays.

use std::collections::BTreeSet;

use keyferry_hosts::{HostError, HostErrorKind, Identity, Outcome, Reply, Work};

use super::trusted::no_agent;
use super::{OnHost, nonsense, outcome_of};
use crate::engine::Engine;
use crate::engine::failure::{FILE_MISSING, Failure, Pace};
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, Placement, PlacementState, Write};
use crate::plan::{GenerationId, Over, Subject};

/// Lines that are taken off a host.
#[derive(Clone, Debug)]
pub(in crate::engine) struct TakingOff {
    /// Whose lines go.
    pub(super) key: String,
    /// The key that stays.
    over: Over,
    /// The file that they are taken out of.
    pub(super) file: String,
    /// What was known of the lines before.
    before: Vec<Placement>,
    effects: Vec<Effect>,
}

impl Engine {
    pub(super) async fn begin_taking_off(
        &mut self,
        over: Over,
        host: String,
        lines: Vec<GenerationId>,
    ) -> Result<(), EngineError> {
        let Some((key, n)) = lines.first().cloned() else {
            return Ok(());
        };
        let Some(identity) = self.staying(&over) else {
            match over {
                Over::Generation(_) => self.has_no_public_half(&(key, n), &host),
                Over::Recovery => self.host_failed(&key, &host, &no_agent()),
            }
            return Ok(());
        };
        let placements = lines
            .into_iter()
            .filter_map(|(key, n)| self.view.placements.get(&(key, n, host.clone())).cloned());
        let placements: Vec<Placement> = placements.collect();
        let Some((file, before)) = self.in_one_file(&over, placements) else {
            self.does_not_know_where(&key, &host);
            return Ok(());
        };
        let taken: Vec<_> = before
            .iter()
            .filter_map(|placement| self.line_of(placement))
            .collect();
        let now = self.clock.now().wall_ms();
        let removing = before.iter().map(|placement| Placement {
            state: PlacementState::Removing,
            changed_at: now,
            ..placement.clone()
        });
        let ids = before
            .iter()
            .map(|placement| (placement.key.clone(), placement.n));
        let effects = self.intents(EffectKind::TakeOff, &host, ids);
        let write = Write {
            hosts: vec![self.host_row(&host)],
            placements: removing.collect(),
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_on_host(&key, &host, write).await? {
            return Ok(());
        }
        // Where the user accepted it, the key goes with its own line.
        let goes_too = |placement: &Placement| over == Over::Generation((placement.key.clone(), placement.n));
        let work = match before.iter().any(goes_too) {
            true => Work::RemoveLast {
                over: self.editors(&key, &host, &identity),
                lines: taken,
            },
            false => Work::Remove {
                editors: self.editors(&key, &host, &identity),
                over: identity,
                proof: self.proof(&key),
                lines: taken,
                foreign: Vec::new(),
            },
        };
        let taking_off = TakingOff {
            key,
            over,
            file,
            before,
            effects,
        };
        self.start_on_host(host, work, OnHost::TakeOff(taking_off));
        Ok(())
    }

    /// Those of some lines that stand in one file, and which that is; what stands in others goes next, the key's own line
    /// last. None: where they stand is not known.
    fn in_one_file(&self, over: &Over, lines: Vec<Placement>) -> Option<(String, Vec<Placement>)> {
        let is_own = |line: &Placement| *over == Over::Generation((line.key.clone(), line.n));
        let found: Vec<_> = lines.iter().map(|line| self.file_of(line)).collect();
        let own = lines.iter().position(is_own);
        // With the own line goes the way to the others.
        if own.is_some() && found.contains(&None) {
            return None;
        }
        let own = own.and_then(|own| found[own].clone());
        let mut files = found.iter().flatten();
        let file = files.find(|file| Some(*file) != own.as_ref()).cloned().or(own)?;
        let here = lines.into_iter().zip(found);
        let here = here.filter(|(_, found)| found.as_ref() == Some(&file));
        Some((file.clone(), here.map(|(line, _)| line).collect()))
    }

    /// The file where a line stands: where it was put, else where it would be put now.
    fn file_of(&self, line: &Placement) -> Option<String> {
        // One that nobody put there for us has no marker, and is nowhere taken out.
        let is_told = self.desired.keys.contains_key(&line.key) || line.line.is_none();
        let now = || is_told.then(|| self.file_for(&line.key));
        line.file.clone().or_else(now)
    }

    /// To look into the usual file would be to take a line for gone that stands in another.
    fn does_not_know_where(&mut self, key: &str, host: &str) {
        let message = format!(
            "{host}: keys/{key}.toml is missing, and in which file the lines stand is not known without it"
        );
        let remedy = format!(
            "put keys/{key}.toml back, or keyferry host forget {host} and take the lines off yourself"
        );
        let failure = Failure::local(FILE_MISSING, message, &remedy, Pace::Slow);
        self.fail(Subject::Host(key.to_owned(), host.to_owned()), &failure);
    }

    pub(super) fn staying(&self, over: &Over) -> Option<Identity> {
        match over {
            Over::Generation(id) => self.identity(id),
            Over::Recovery => self.recovery_identity(),
        }
    }

    pub(super) async fn taken_off(
        &mut self,
        host: String,
        taking_off: TakingOff,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let TakingOff {
            key,
            over,
            file: _,
            before,
            effects,
        } = taking_off;
        let result = match result {
            Ok(reply @ Reply::Removed { .. }) => Ok(reply),
            Ok(_) => Err(nonsense()),
            Err(error) => Err(error),
        };
        let row = self.row_after(&host, &result);
        let now = self.clock.now().wall_ms();
        // The lines as they stand in the ledger now, but for those that are known to be gone or back.
        let with_state = |state: Option<PlacementState>| {
            let placements = before.iter().map(move |placement| Placement {
                state: state.unwrap_or(placement.state),
                changed_at: state.map_or(placement.changed_at, |_| now),
                ..placement.clone()
            });
            placements.collect::<Vec<_>>()
        };
        let stays = match &over {
            Over::Generation((key, n)) => self.view.placements.get(&(key.clone(), *n, host.clone())),
            Over::Recovery => None,
        };
        let is_staying = |placement: &&Placement| !before.iter().any(|taken| taken.id() == placement.id());
        let stays = stays.filter(is_staying).cloned();
        // Where another login changes the file, that one may have been refused. And whose second login is refused had logged
        // in before, with the file as it is again. Neither tells that the line of the key that stays is gone.
        let is_own_login = self.host(&key, &host).account.editor.is_none();
        let refused_with = |is_meant: fn(Outcome) -> bool| {
            result.as_ref().is_err_and(|error| {
                matches!(error.kind, HostErrorKind::AnotherKey | HostErrorKind::Refused)
                    && is_meant(error.outcome)
            })
        };
        let is_refusal = is_own_login && refused_with(|outcome| outcome != Outcome::Restored);
        let is_to_be_seen = !is_own_login && refused_with(|outcome| outcome == Outcome::Restored);
        let goes_too = |placement: &Placement| over == Over::Generation((placement.key.clone(), placement.n));
        // The key's own line was to go with the others, and the answer was lost: it does not log in any more, so that was done.
        // Not so where it was only cut.
        let is_final = result.as_ref().is_err_and(HostError::is_final_refusal);
        let was_done = is_refusal
            && is_final
            && before.iter().any(goes_too)
            && before.iter().all(|row| row.state == PlacementState::Removing);
        let (mut placements, outcome) = match &result {
            Err(_) if was_done => (with_state(Some(PlacementState::Removed)), EffectOutcome::Refused),
            Ok(_) => (with_state(Some(PlacementState::Removed)), EffectOutcome::Done),
            Err(error) if outcome_of(error) == EffectOutcome::Refused => {
                (with_state(None), EffectOutcome::Refused)
            }
            Err(_) => (Vec::new(), EffectOutcome::Unknown),
        };
        let is_known_to_be_gone = was_done || (is_refusal && stays.is_some());
        match (&result, stays) {
            // It logged in before and after.
            (Ok(Reply::Removed { file_hash, left }), stays) => {
                let gone: BTreeSet<u64> = before.iter().map(|placement| placement.n).collect();
                tracing::info!(key, host, generations = ?gone, "the lines are taken off");
                for line in left {
                    tracing::warn!(
                        key,
                        host,
                        line = keyferry_hosts::described(line),
                        "a line with one of these keys was left: it has no marker of keyferry's"
                    );
                }
                placements.extend(stays.map(|stays| Placement {
                    verified_at: stays.verified_at.or(Some(now)),
                    file_hash: Some(file_hash.to_vec()),
                    ..stays
                }));
            }
            // Somebody took it away: it is put there again over what is left, before anything else goes.
            (Err(_), Some(stays)) if is_refusal => {
                self.observed.refused_logins.insert(stays.id());
                // It is offered as before until then: the login may just have been cut.
                placements.push(Placement {
                    state: PlacementState::Placing,
                    changed_at: now,
                    ..stays
                });
            }
            // It may be gone, since it was not the one that logged in first.
            (Err(_), Some(stays)) if is_to_be_seen => placements.push(Placement {
                state: PlacementState::Placing,
                changed_at: now,
                ..stays
            }),
            _ => {}
        }
        let trusted = match is_refusal && over == Over::Recovery {
            true => self.recovery_was_refused(&host),
            false => Vec::new(),
        };
        let write = Write {
            hosts: vec![row],
            placements,
            trusted,
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        match &result {
            Ok(_) => {
                let subject = Subject::Host(key.clone(), host.clone());
                self.observed.retries.remove(&subject);
                self.reached(&host);
            }
            Err(_) if is_known_to_be_gone => {}
            Err(error) => self.host_failed(&key, &host, error),
        }
        self.settle_on_host(&key, &host, write).await?;
        Ok(())
    }
}
