//! Other public keys than ours on hosts: putting their lines there, taking them off, and trying the recovery identity.

use keyferry_hosts::{HostError, HostErrorKind, Identity, Line, Marker, Reply, Work};

use super::{OnHost, nonsense, outcome_of};
use crate::engine::Engine;
use crate::engine::failure::Failure;
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, Generation, PlacementState, Purpose, Trusted, Write};
use crate::plan::{GenerationId, Over, Subject, trusted_options};

mod lending;
mod recovering;
mod replacing;

pub(in crate::engine) use lending::Lent;
pub(super) use recovering::no_agent;

/// What is done about other public keys than ours.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Trusting {
    /// A line on its way to a host.
    Put {
        /// The row as it was written before.
        written: Box<Trusted>,
        /// What was known of it before that.
        before: Option<Box<Trusted>>,
        /// The file that is changed now.
        file: String,
        /// What is left to do, in which files.
        rest: Vec<(String, Work)>,
        effects: Vec<Effect>,
    },
    /// Lines of foreign keys that are taken off.
    Replace {
        key: String,
        /// The file where the key's own line lets in: sshd reads it.
        file: Option<String>,
        fingerprints: Vec<String>,
        effects: Vec<Effect>,
    },
    /// Lines that are taken off.
    TakeOff {
        key: String,
        /// With what keyferry logs in.
        over: Over,
        /// The file that they are taken out of; none: that of the key's file.
        file: Option<String>,
        /// Another one where they may stand besides: where they were put last, or were about to be.
        further: Option<Box<(Identity, String, Vec<Line>)>>,
        /// What was known of them before.
        before: Vec<Trusted>,
        effects: Vec<Effect>,
    },
    /// A login with the recovery identity alone.
    Verify {
        /// What was known of its line before.
        before: Trusted,
    },
}

impl Trusting {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put { written, .. } => &written.key,
            Self::Verify { before } => &before.key,
            Self::Replace { key, .. } | Self::TakeOff { key, .. } => key,
        }
    }

    /// The file that is changed; none: that of the key's file.
    pub(super) fn file(&self) -> Option<String> {
        match self {
            Self::Put { file, .. } => Some(file.clone()),
            Self::Replace { file, .. } | Self::TakeOff { file, .. } => file.clone(),
            Self::Verify { .. } => None,
        }
    }
}

impl Engine {
    pub(super) async fn begin_putting_trusted(
        &mut self,
        over: GenerationId,
        host: String,
        public_key: String,
        purpose: Purpose,
    ) -> Result<(), EngineError> {
        let (Some(identity), Some(spec)) = (self.identity(&over), self.desired.keys.get(&over.0)) else {
            self.has_no_public_half(&over, &host);
            return Ok(());
        };
        let id = (over.0.clone(), host.clone(), public_key.clone());
        let before = self.view.trusted.get(&id).cloned();
        let until = before
            .as_ref()
            .filter(|_| purpose == Purpose::Grant)
            .and_then(|before| before.until);
        let line = Line {
            options: trusted_options(spec, purpose, until),
            public_key: public_key.clone(),
            marker: self.marker_of_others(&over.0),
        };
        // Where the generation logs in, sshd reads: there a line of another's belongs beside it.
        let stands = before.as_ref().and_then(|before| before.file.clone());
        let placement = self.view.placements.get(&(over.0.clone(), over.1, host.clone()));
        let beside = placement.and_then(|placement| placement.file.clone());
        let file = beside
            .or_else(|| stands.clone())
            .unwrap_or_else(|| self.file_for(&over.0));
        let old = stands.filter(|stands| *stands != file);
        let old_line = before.as_ref().and_then(|before| marker_of(&before.line));
        let work = Work::Put {
            over: self.editors(&over.0, &host, &identity),
            line: line.clone(),
            itself: None,
            proof: self.proof(&over.0),
        };
        let mut rest = Vec::new();
        if let Some(old) = &old {
            let marker = old_line.unwrap_or_else(|| line.marker.clone());
            let before = Line {
                marker,
                ..line.clone()
            };
            let leave = self.removal(&over.0, &host, identity, vec![before]);
            // Both may be one file, under two names: then it is gone from there now.
            rest = vec![(old.clone(), leave), (file.clone(), work.clone())];
        }
        let row = Trusted {
            key: over.0.clone(),
            host: host.clone(),
            public_key,
            purpose,
            line: line.to_string(),
            // Until it is gone from there.
            file: Some(old.unwrap_or_else(|| file.clone())),
            state: PlacementState::Placing,
            until,
            verified_at: before.as_ref().and_then(|before| before.verified_at),
            changed_at: self.clock.now().wall_ms(),
            note: None,
        };
        let effects = self.intents(EffectKind::PutTrusted, &host, std::iter::once(over.clone()));
        let write = Write {
            hosts: vec![self.host_row(&host)],
            trusted: vec![row.clone()],
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_trusted(&over.0, &host, write).await? {
            return Ok(());
        }
        let putting = Trusting::Put {
            written: Box::new(row),
            before: before.map(Box::new),
            file,
            rest,
            effects,
        };
        self.start_on_host(host, work, OnHost::Trusted(putting));
        Ok(())
    }

    pub(super) async fn begin_taking_off_trusted(
        &mut self,
        key: String,
        over: Over,
        host: String,
        public_keys: Vec<String>,
    ) -> Result<(), EngineError> {
        // An effect is of a generation that is in the ledger; without one the rows alone say what is begun.
        let id = match &over {
            Over::Generation(id) => Some(id.clone()),
            Over::Recovery => self.view.of_key(&key).next_back().map(Generation::id),
        };
        let Some(identity) = self.staying(&over) else {
            self.trusted_failed(&key, &host, &no_agent());
            return Ok(());
        };
        let rows = public_keys.into_iter().filter_map(|public_key| {
            self.view
                .trusted
                .get(&(key.clone(), host.clone(), public_key))
                .cloned()
        });
        let mut before: Vec<Trusted> = rows.collect();
        // What stands in other files goes next.
        let file = before.first().and_then(|row| row.file.clone());
        before.retain(|row| row.file == file);
        let lines = before.iter().map(|row| Line {
            options: String::new(),
            public_key: row.public_key.clone(),
            marker: marker_of(&row.line).unwrap_or_else(|| self.marker_of_others(&key)),
        });
        let lines: Vec<Line> = lines.collect();
        let beside = match &over {
            Over::Generation((of, n)) => self.view.placements.get(&(of.clone(), *n, host.clone())),
            Over::Recovery => None,
        };
        let beside = beside.filter(|placement| placement.key == key);
        let beside = beside.and_then(|placement| placement.file.clone());
        let further = beside.filter(|beside| file.as_ref().is_some_and(|file| file != beside));
        let further = further.map(|further| Box::new((identity.clone(), further, lines.clone())));
        let changed_at = self.clock.now().wall_ms();
        let removing = before.iter().map(|row| Trusted {
            state: PlacementState::Removing,
            changed_at,
            ..row.clone()
        });
        let effects = self.intents(EffectKind::TakeOffTrusted, &host, id);
        let write = Write {
            trusted: removing.collect(),
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_trusted(&key, &host, write).await? {
            return Ok(());
        }
        let work = self.removal(&key, &host, identity, lines);
        let taking_off = Trusting::TakeOff {
            key,
            over,
            file,
            further,
            before,
            effects,
        };
        self.start_on_host(host, work, OnHost::Trusted(taking_off));
        Ok(())
    }

    /// Takes other people's lines off.
    fn removal(&self, key: &str, host: &str, over: Identity, lines: Vec<Line>) -> Work {
        Work::Remove {
            editors: self.editors(key, host, &over),
            over,
            proof: self.proof(key),
            lines,
            foreign: Vec::new(),
        }
    }

    pub(super) async fn trusted(
        &mut self,
        host: String,
        trusting: Trusting,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        match trusting {
            Trusting::Put {
                mut written,
                before,
                mut rest,
                effects,
                ..
            } if !rest.is_empty() && matches!(result, Ok(Reply::Put { .. } | Reply::Removed { .. })) => {
                let (next, work) = rest.remove(0);
                if rest.is_empty() {
                    written.file = Some(next.clone());
                }
                let putting = Trusting::Put {
                    written,
                    before,
                    file: next,
                    rest,
                    effects,
                };
                self.start_on_host(host, work, OnHost::Trusted(putting));
                Ok(())
            }
            Trusting::Put {
                written,
                before,
                effects,
                ..
            } => {
                let before = before.map(|before| *before);
                self.trusted_put(host, *written, before, effects, result).await
            }
            Trusting::Replace {
                key,
                fingerprints,
                effects,
                ..
            } => self.replaced(host, key, fingerprints, effects, result).await,
            Trusting::TakeOff {
                key,
                over,
                further: Some(further),
                before,
                effects,
                ..
            } if matches!(result, Ok(Reply::Removed { .. })) => {
                let (identity, further, lines) = *further;
                let work = self.removal(&key, &host, identity, lines);
                let taking_off = Trusting::TakeOff {
                    key,
                    over,
                    file: Some(further),
                    further: None,
                    before,
                    effects,
                };
                self.start_on_host(host, work, OnHost::Trusted(taking_off));
                Ok(())
            }
            Trusting::TakeOff {
                key,
                over,
                before,
                effects,
                ..
            } => {
                let mut refused = Vec::new();
                let is_refusal = |error: &HostError| {
                    matches!(error.kind, HostErrorKind::AnotherKey | HostErrorKind::Refused)
                };
                if over == Over::Recovery && result.as_ref().is_err_and(is_refusal) {
                    refused = self.recovery_was_refused(&host);
                }
                self.trusted_taken_off(host, key, before, refused, effects, result)
                    .await
            }
            Trusting::Verify { before } => self.recovery_tried(host, before, result).await,
        }
    }

    async fn trusted_put(
        &mut self,
        host: String,
        written: Trusted,
        before: Option<Trusted>,
        effects: Vec<Effect>,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let result = match result {
            Ok(reply @ (Reply::Put { .. } | Reply::Removed { .. })) => Ok(reply),
            Ok(_) => Err(nonsense()),
            Err(error) => Err(error),
        };
        let host_row = self.row_after(&host, &result);
        let key = written.key.clone();
        let outcome = match &result {
            Ok(_) => {
                self.trusted_fares_well(&key, &host);
                let purpose = written.purpose.name();
                tracing::info!(key, host, purpose, "another's line is placed");
                EffectOutcome::Done
            }
            Err(error) => {
                self.trusted_failed(&key, &host, error);
                outcome_of(error)
            }
        };
        let with_state = |state| Trusted {
            state,
            changed_at: self.clock.now().wall_ms(),
            ..written.clone()
        };
        let row = match outcome {
            EffectOutcome::Done => Some(with_state(PlacementState::Placed)),
            EffectOutcome::Refused => Some(before.unwrap_or_else(|| with_state(PlacementState::Removed))),
            EffectOutcome::Unknown => None,
        };
        let row = row.filter(|_| self.stands_as(&written));
        let write = Write {
            hosts: vec![host_row],
            trusted: row.into_iter().collect(),
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        self.settle_trusted(&key, &host, write).await?;
        Ok(())
    }

    /// Whether the ledger still has a row as a task wrote it: else the user has said something else meanwhile (a revocation
    /// of what is being put, a grant of what is being taken off), and that is planned from.
    fn stands_as(&self, written: &Trusted) -> bool {
        self.view.trusted.get(&written.id()).is_some_and(|row| {
            row.state == written.state && row.line == written.line && row.until == written.until
        })
    }

    async fn trusted_taken_off(
        &mut self,
        host: String,
        key: String,
        before: Vec<Trusted>,
        refused: Vec<Trusted>,
        effects: Vec<Effect>,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let result = match result {
            Ok(reply @ Reply::Removed { .. }) => Ok(reply),
            Ok(_) => Err(nonsense()),
            Err(error) => Err(error),
        };
        let host_row = self.row_after(&host, &result);
        let (trusted, outcome) = match &result {
            Ok(reply) => {
                let keys = before.iter().map(|row| row.public_key.as_str());
                self.keep_what_is_left(&host, keys, reply);
                self.trusted_fares_well(&key, &host);
                let changed_at = self.clock.now().wall_ms();
                let removed = before.iter().map(|row| Trusted {
                    state: PlacementState::Removed,
                    changed_at,
                    ..row.clone()
                });
                tracing::info!(key, host, "others' lines are taken off");
                (removed.collect(), EffectOutcome::Done)
            }
            Err(error) => {
                self.trusted_failed(&key, &host, error);
                match outcome_of(error) {
                    EffectOutcome::Refused => (before, EffectOutcome::Refused),
                    outcome => (Vec::new(), outcome),
                }
            }
        };
        let mut trusted: Vec<Trusted> = trusted;
        trusted.retain(|row| {
            self.stands_as(&Trusted {
                state: PlacementState::Removing,
                ..row.clone()
            })
        });
        trusted.extend(refused);
        let write = Write {
            hosts: vec![host_row],
            trusted,
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        self.settle_trusted(&key, &host, write).await?;
        Ok(())
    }

    /// The comment of a line that is no generation's.
    pub(super) fn marker_of_others(&self, key: &str) -> Marker {
        Marker {
            owner: self.signature.owner.clone(),
            machine: self.signature.machine.clone(),
            key: key.to_owned(),
            n: None,
        }
    }

    fn trusted_fares_well(&mut self, key: &str, host: &str) {
        let subject = Subject::Trusted(key.to_owned(), host.to_owned());
        self.observed.retries.remove(&subject);
        self.reached(host);
    }

    fn trusted_failed(&mut self, key: &str, host: &str, error: &HostError) {
        let subject = Subject::Trusted(key.to_owned(), host.to_owned());
        self.fail(subject, &Failure::of_host(error));
    }

    /// Writes down what is about to be done or came of it. When the disk refuses, it is done again later.
    async fn settle_trusted(&mut self, key: &str, host: &str, write: Write) -> Result<bool, EngineError> {
        match self.record(write).await? {
            Ok(()) => Ok(true),
            Err(message) => {
                self.fail_for_disk(Subject::Trusted(key.to_owned(), host.to_owned()), message);
                Ok(false)
            }
        }
    }
}

/// The marker of a line that keyferry wrote: this machine may have had another name then.
pub(super) fn marker_of(line: &str) -> Option<Marker> {
    let start = line.rfind(" keyferry ")?;
    line[start + 1..].parse().ok()
}
