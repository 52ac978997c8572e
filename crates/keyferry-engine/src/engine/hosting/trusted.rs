//! Other public keys than ours on hosts: putting their lines there, taking them off, and trying the recovery identity.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keyferry_hosts::{HostError, HostErrorKind, Identity, Line, Marker, Reply, Work};

use super::{OnHost, nonsense, outcome_of};
use crate::engine::Engine;
use crate::engine::failure::Failure;
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, PlacementState, Purpose, Trusted, TrustedId, Write};
use crate::plan::{GenerationId, Over, Subject, needs_touch, trusted_options};

mod replacing;

/// What is done about other public keys than ours.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Trusting {
    /// A line on its way to a host.
    Put {
        id: TrustedId,
        /// What was known of it before.
        before: Option<Trusted>,
        effects: Vec<Effect>,
    },
    /// Lines of foreign keys that are taken off.
    Replace {
        key: String,
        fingerprints: Vec<String>,
        effects: Vec<Effect>,
    },
    /// Lines that are taken off.
    TakeOff {
        key: String,
        /// What was known of them before.
        before: Vec<Trusted>,
        effects: Vec<Effect>,
    },
    /// A login with the recovery identity alone.
    Verify { id: TrustedId },
}

impl Trusting {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put { id, .. } | Self::Verify { id } => &id.0,
            Self::Replace { key, .. } | Self::TakeOff { key, .. } => key,
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
        let row = Trusted {
            key: over.0.clone(),
            host: host.clone(),
            public_key,
            purpose,
            line: line.to_string(),
            state: PlacementState::Placing,
            until,
            verified_at: before.as_ref().and_then(|before| before.verified_at),
            changed_at: self.clock.now().wall_ms(),
            note: None,
        };
        let effects = self.intents(EffectKind::PutTrusted, &host, std::iter::once(over.clone()));
        let write = Write {
            hosts: vec![self.host_row(&host)],
            trusted: vec![row],
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_trusted(&over.0, &host, write).await? {
            return Ok(());
        }
        let work = Work::Put {
            over: vec![identity],
            line,
            itself: None,
            proof: self.proof(&over.0),
        };
        let putting = Trusting::Put { id, before, effects };
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
        let id = match &over {
            Over::Generation(id) => id.clone(),
            Over::Recovery => (key.clone(), self.view.key(&key).last_n),
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
        let before: Vec<Trusted> = rows.collect();
        let lines = before.iter().map(|row| Line {
            options: String::new(),
            public_key: row.public_key.clone(),
            marker: marker_of(&row.line).unwrap_or_else(|| self.marker_of_others(&key)),
        });
        let lines = lines.collect();
        let changed_at = self.clock.now().wall_ms();
        let removing = before.iter().map(|row| Trusted {
            state: PlacementState::Removing,
            changed_at,
            ..row.clone()
        });
        let effects = self.intents(EffectKind::TakeOffTrusted, &host, [id]);
        let write = Write {
            trusted: removing.collect(),
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_trusted(&key, &host, write).await? {
            return Ok(());
        }
        let work = Work::Remove {
            over: identity,
            proof: self.proof(&key),
            lines,
            foreign: Vec::new(),
        };
        let taking_off = Trusting::TakeOff { key, before, effects };
        self.start_on_host(host, work, OnHost::Trusted(taking_off));
        Ok(())
    }

    /// Nothing is changed by it, so there is nothing to write down before.
    pub(super) fn begin_verifying_recovery(&mut self, key: &str, host: String) {
        let named = self.desired.daemon.recovery.as_ref();
        let Some(public_key) = named.map(|recovery| recovery.public_key.clone()) else {
            return;
        };
        let Some(identity) = self.recovery_identity() else {
            self.trusted_failed(key, &host, &no_agent());
            return;
        };
        let work = Work::Verify {
            identity,
            proof: self.proof(key),
        };
        let verifying = Trusting::Verify {
            id: (key.to_owned(), host.clone(), public_key),
        };
        self.start_on_host(host, work, OnHost::Trusted(verifying));
    }

    pub(super) async fn trusted(
        &mut self,
        host: String,
        trusting: Trusting,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        match trusting {
            Trusting::Put { id, before, effects } => {
                self.trusted_put(host, id, before, effects, result).await
            }
            Trusting::Replace {
                key,
                fingerprints,
                effects,
            } => self.replaced(host, key, fingerprints, effects, result).await,
            Trusting::TakeOff { key, before, effects } => {
                self.trusted_taken_off(host, key, before, effects, result).await
            }
            Trusting::Verify { id } => self.recovery_tried(host, id, result).await,
        }
    }

    async fn trusted_put(
        &mut self,
        host: String,
        id: TrustedId,
        before: Option<Trusted>,
        effects: Vec<Effect>,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let result = match result {
            Ok(reply @ Reply::Put { .. }) => Ok(reply),
            Ok(_) => Err(nonsense()),
            Err(error) => Err(error),
        };
        let host_row = self.row_after(&host, &result);
        let Some(mut row) = self.view.trusted.get(&id).cloned() else {
            return Ok(());
        };
        row.changed_at = self.clock.now().wall_ms();
        let outcome = match &result {
            Ok(_) => {
                row.state = PlacementState::Placed;
                // A recovery identity that was refused is tried again when its time comes, and counts as refused till then.
                if row.purpose != Purpose::Recovery {
                    self.trusted_fares_well(&id.0, &host);
                }
                tracing::info!(
                    key = id.0,
                    host,
                    purpose = row.purpose.name(),
                    "another's line is placed"
                );
                EffectOutcome::Done
            }
            Err(error) => {
                self.trusted_failed(&id.0, &host, error);
                let outcome = outcome_of(error);
                if outcome == EffectOutcome::Refused {
                    row = match before {
                        Some(before) => before,
                        None => Trusted {
                            state: PlacementState::Removed,
                            ..row
                        },
                    };
                }
                outcome
            }
        };
        let write = Write {
            hosts: vec![host_row],
            trusted: vec![row],
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        self.settle_trusted(&id.0, &host, write).await?;
        Ok(())
    }

    async fn trusted_taken_off(
        &mut self,
        host: String,
        key: String,
        before: Vec<Trusted>,
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
                let removed = before.into_iter().map(|row| Trusted {
                    state: PlacementState::Removed,
                    changed_at,
                    ..row
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
        let write = Write {
            hosts: vec![host_row],
            trusted,
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        self.settle_trusted(&key, &host, write).await?;
        Ok(())
    }

    async fn recovery_tried(
        &mut self,
        host: String,
        id: TrustedId,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let Some(mut row) = self.view.trusted.get(&id).cloned() else {
            return Ok(());
        };
        let now = self.clock.now().wall_ms();
        match result {
            Ok(Reply::Verified { .. }) => {
                tracing::info!(key = id.0, host, "the recovery identity logs in");
                self.trusted_fares_well(&id.0, &host);
                self.observed.recovery_verified.insert(host.clone(), now);
                row.state = PlacementState::Verified;
                row.verified_at = Some(now);
                row.note = None;
            }
            Ok(_) => {
                self.trusted_failed(&id.0, &host, &nonsense());
                return Ok(());
            }
            Err(error) => {
                self.trusted_failed(&id.0, &host, &error);
                let is_refused = matches!(error.kind, HostErrorKind::AnotherKey | HostErrorKind::Refused);
                if !is_refused {
                    return Ok(());
                }
                // The line may have been taken away: it is put there again, which changes nothing where it is.
                self.observed.recovery_verified.remove(&host);
                row.state = PlacementState::Placing;
                row.verified_at = None;
                row.note = Some(error.message);
            }
        }
        row.changed_at = now;
        let write = Write {
            trusted: vec![row],
            ..Write::default()
        };
        self.settle_trusted(&id.0, &host, write).await?;
        Ok(())
    }

    /// As the recovery identity may log in by itself: a key whose owner has to touch it only while a person waits for that.
    pub(in crate::engine) fn recovery_identity_at(&self, host: &str) -> Option<Identity> {
        let identity = self.recovery_identity()?;
        let recovery = self.desired.daemon.recovery.as_ref()?;
        let may_sign = !needs_touch(&recovery.public_key) || self.observed.recovering.contains_key(host);
        may_sign.then_some(identity)
    }

    /// Has the agent offer the recovery identity to hosts where no key of ours logs in now, and to no others.
    pub(in crate::engine) fn lend(&mut self, host_keys: BTreeSet<Vec<u8>>) {
        let recovery = self.desired.daemon.recovery.as_ref();
        let identity = recovery.and_then(|recovery| {
            let agent = recovery.agent.clone().or_else(|| self.user_agent.clone())?;
            Some((keyferry_hosts::public_blob(&recovery.public_key)?, agent))
        });
        let wanted = identity
            .filter(|_| !host_keys.is_empty())
            .map(|(public_blob, agent)| Lent {
                public_blob,
                agent,
                host_keys,
            });
        if wanted == self.lent {
            return;
        }
        if let Some(lent) = self.lent.take()
            && wanted
                .as_ref()
                .is_none_or(|wanted| wanted.public_blob != lent.public_blob)
        {
            self.key_ring.unlend(&lent.public_blob);
        }
        if let Some(wanted) = wanted {
            let host_keys = wanted.host_keys.iter().cloned().collect();
            match self
                .key_ring
                .lend(&wanted.public_blob, RECOVERY, wanted.agent.clone(), host_keys)
            {
                Ok(()) => {
                    tracing::info!(
                        hosts = wanted.host_keys.len(),
                        "the recovery identity is offered to hosts"
                    );
                }
                // Not tried again until something of it changes.
                Err(error) => tracing::warn!(error, "the recovery identity cannot be offered"),
            }
            self.lent = Some(wanted);
        }
    }

    /// What the ledger knows of the recovery identity that is named now.
    pub(in crate::engine) fn remember_recovery(&mut self) {
        let named = self.desired.daemon.recovery.as_ref();
        let named = named.map(|recovery| recovery.public_key.clone());
        if named == self.recovery {
            return;
        }
        let rows =
            self.view.trusted.values().filter(|row| {
                row.state == PlacementState::Verified && Some(&row.public_key) == named.as_ref()
            });
        let verified = rows.filter_map(|row| Some((row.host.clone(), row.verified_at?)));
        self.observed.recovery_verified = verified.collect();
        self.recovery = named;
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

/// What the agent offers in place of lost keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Lent {
    public_blob: Vec<u8>,
    agent: PathBuf,
    host_keys: BTreeSet<Vec<u8>>,
}

/// The marker of a line that keyferry wrote: this machine may have had another name then.
pub(super) fn marker_of(line: &str) -> Option<Marker> {
    let start = line.rfind(" keyferry ")?;
    line[start + 1..].parse().ok()
}

fn no_agent() -> HostError {
    HostError {
        kind: HostErrorKind::Settings,
        message: "there is no agent that has the recovery identity: [recovery] names none, and the daemon was started without SSH_AUTH_SOCK".to_owned(),
        remedy: "write `agent = \"/path/of/its/socket\"` into [recovery] of keyferry.toml".to_owned(),
        outcome: keyferry_hosts::Outcome::Unchanged,
    }
}

/// The comment that clients show beside it.
const RECOVERY: &str = "keyferry: recovery identity";
