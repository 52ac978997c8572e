//! Taking the lines of foreign keys off hosts that the user said may go (`replaces`).

use keyferry_hosts::{HostError, Reply, Work};

use super::Trusting;
use crate::engine::Engine;
use crate::engine::hosting::{OnHost, nonsense, outcome_of};
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, Write};
use crate::plan::GenerationId;

impl Engine {
    pub(in crate::engine::hosting) async fn begin_replacing(
        &mut self,
        over: GenerationId,
        host: String,
        fingerprints: Vec<String>,
    ) -> Result<(), EngineError> {
        let Some(identity) = self.identity(&over) else {
            self.has_no_public_half(&over, &host);
            return Ok(());
        };
        let login = (over.0.clone(), over.1, host.clone());
        let file = self
            .view
            .placements
            .get(&login)
            .and_then(|placement| placement.file.clone());
        let effects = self.intents(EffectKind::TakeOffTrusted, &host, std::iter::once(over.clone()));
        let write = Write {
            effects: effects.clone(),
            ..Write::default()
        };
        if !self.settle_trusted(&over.0, &host, write).await? {
            return Ok(());
        }
        let work = Work::Remove {
            editors: self.editors(&over.0, &host, &identity),
            over: identity,
            proof: self.proof(&over.0),
            lines: Vec::new(),
            foreign: fingerprints.clone(),
        };
        let replacing = Trusting::Replace {
            key: over.0,
            file,
            fingerprints,
            effects,
        };
        self.start_on_host(host, work, OnHost::Trusted(replacing));
        Ok(())
    }

    pub(super) async fn replaced(
        &mut self,
        host: String,
        key: String,
        fingerprints: Vec<String>,
        effects: Vec<Effect>,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let result = match result {
            Ok(reply @ Reply::Removed { .. }) => Ok(reply),
            Ok(_) => Err(nonsense()),
            Err(error) => Err(error),
        };
        let host_row = self.row_after(&host, &result);
        let outcome = match &result {
            Ok(reply) => {
                self.trusted_fares_well(&key, &host);
                tracing::info!(
                    key,
                    host,
                    ?fingerprints,
                    "keys that it replaces are not let in any more"
                );
                if let Reply::Removed { left, .. } = reply {
                    for line in left {
                        tracing::warn!(
                            key,
                            host,
                            line = keyferry_hosts::described(line),
                            "a line of a key that is replaced was left: it is not plain"
                        );
                    }
                }
                self.observed
                    .replaced
                    .insert((key.clone(), host.clone()), fingerprints);
                EffectOutcome::Done
            }
            Err(error) => {
                self.trusted_failed(&key, &host, error);
                outcome_of(error)
            }
        };
        let write = Write {
            hosts: vec![host_row],
            effects: self.outcomes(&effects, outcome),
            ..Write::default()
        };
        self.settle_trusted(&key, &host, write).await?;
        Ok(())
    }
}
