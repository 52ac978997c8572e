//! Deleting pairs that keyferry made and no longer knows, when the user asks. Each gets a row in the ledger first, and
//! goes the way of every deletion: compared with that row, then deleted with a permit for this pair alone.

use keyferry_plugin::contract::{Algorithm, Pair};
use tokio::sync::oneshot;

use super::Engine;
use crate::desired::GeneratedBy;
use crate::error::EngineError;
use crate::ledger::{Generation, GenerationState, KeyRow, ORPHANS, Stage, Write};
use crate::plan::{GenerationId, Subject};
use crate::private_key::PublicKey;
use crate::snapshot::{OrphanResult, StatusError, StrayPair};

/// Somebody waits for deletions.
pub(super) struct OrphanWait {
    ids: Vec<(GenerationId, StrayPair)>,
    results: Vec<OrphanResult>,
    reply: oneshot::Sender<Vec<OrphanResult>>,
}

impl Engine {
    /// Begins to delete orphans: of those named, the ones that the last look found just so.
    pub(super) async fn delete_orphans(
        &mut self,
        pairs: Vec<StrayPair>,
        reply: oneshot::Sender<Vec<OrphanResult>>,
    ) -> Result<(), EngineError> {
        let mut wait = OrphanWait {
            ids: Vec::new(),
            results: Vec::new(),
            reply,
        };
        let mut row = self.view.key(ORPHANS);
        let mut write = Write::default();
        for stray in pairs {
            let known = self.strays(&stray.account);
            let found = known.iter().find(|(known, _)| stray.is_ours && *known == stray);
            let pair = found.map(|(_, pair)| pair.clone());
            // Since it was found it may have become known again, or be on its way out already; or it is named twice.
            let mut rows = self.view.generations.values().chain(&write.generations);
            let has_row = rows.any(|row| row.pair_name == stray.name && row.region == stray.region);
            match pair.filter(|_| !has_row) {
                Some(pair) => {
                    row.last_n += 1;
                    let generation = self.row_of(&stray, &pair, row.last_n);
                    let Some(generation) = generation else {
                        wait.results.push(result(&stray, Some(unknown(&stray))));
                        continue;
                    };
                    wait.ids.push((generation.id(), stray));
                    write.generations.push(generation);
                }
                None => wait.results.push(result(&stray, Some(unknown(&stray)))),
            }
        }
        write.keys.push(KeyRow { ..row });
        if let Err(message) = self.record(write).await? {
            let remedy = format!("{}; nothing was deleted", self.ledger_remedy());
            for (_, stray) in std::mem::take(&mut wait.ids) {
                wait.results
                    .push(result(&stray, Some(error("ledger", message.clone(), &remedy))));
            }
        }
        self.orphan_waits.push(wait);
        Ok(())
    }

    fn row_of(&self, stray: &StrayPair, pair: &Pair, n: u64) -> Option<Generation> {
        let account = self.desired.accounts.get(&stray.account)?;
        let public = pair.public_key.as_deref().and_then(PublicKey::from_line);
        Some(Generation {
            key: ORPHANS.to_owned(),
            n,
            copy_of: None,
            made_by: GeneratedBy::Keyferry,
            // A matter of form: what is not told is not compared.
            algorithm: public
                .as_ref()
                .and_then(PublicKey::algorithm)
                .unwrap_or(Algorithm::Rsa2048),
            account: account.name.clone(),
            plugin: account.plugin.clone(),
            region: stray.region.clone(),
            endpoint: account.endpoint.clone(),
            blob: public.map(|public| public.blob().to_vec()),
            pair_name: pair.name.clone(),
            provider_id: pair.id.clone(),
            provider_fingerprint: pair.fingerprint.clone(),
            state: GenerationState::Unwanted,
            requested_at: self.clock.now().wall_ms(),
            repeated_at: None,
            loaded_at: None,
            note: Some("an orphan that the user had deleted".to_owned()),
            missing_since: None,
            delete_asked_at: None,
            stage: Stage::Active,
            promoted_at: None,
            superseded_at: None,
            place: Some(account.place.clone()),
        })
    }

    /// Whether a pair's account still is the one that it was found with.
    fn is_reached(&self, row: &Generation) -> bool {
        let account = self.desired.accounts.get(&row.account);
        account.is_some_and(|account| row.is_of(account))
    }

    /// Tells those who wait what came of it: a pair is gone, or something keeps it.
    pub(super) fn answer_about_orphans(&mut self) {
        for mut wait in std::mem::take(&mut self.orphan_waits) {
            for (id, stray) in std::mem::take(&mut wait.ids) {
                let row = self.view.generations.get(&id);
                let failed = self
                    .observed
                    .retries
                    .get(&Subject::Generation(id.0.clone(), id.1));
                match (row, failed) {
                    // Not there, and that was looked at a moment ago.
                    (None, _) => wait.results.push(result(&stray, None)),
                    (Some(row), _) if row.state == GenerationState::Doubtful => {
                        wait.results.push(result(&stray, None));
                    }
                    (Some(row), _) if row.state == GenerationState::Blocked => {
                        let note = row.note.clone().unwrap_or_default();
                        let remedy = "look at that pair at the provider: it changed after it was listed";
                        wait.results
                            .push(result(&stray, Some(error("blocked", note, remedy))));
                    }
                    (Some(_), Some(retry)) => wait.results.push(result(&stray, Some(retry.error.clone()))),
                    (Some(row), None) if !self.is_reached(row) => {
                        wait.results.push(result(&stray, Some(unknown(&stray))));
                    }
                    (Some(_), None) => wait.ids.push((id, stray)),
                }
            }
            match wait.ids.is_empty() {
                // Whoever asked may have gone.
                true => _ = wait.reply.send(wait.results),
                false => self.orphan_waits.push(wait),
            }
        }
    }
}

fn unknown(stray: &StrayPair) -> StatusError {
    let message = format!("the last look at account {} found no such orphan", stray.account);
    error("not_found", message, "run keyferry orphans again")
}

fn error(kind: &str, message: String, remedy: &str) -> StatusError {
    StatusError {
        kind: kind.to_owned(),
        code: None,
        message,
        request_id: None,
        remedy: Some(remedy.to_owned()),
        retry_at: None,
    }
}

fn result(stray: &StrayPair, error: Option<StatusError>) -> OrphanResult {
    OrphanResult {
        account: stray.account.clone(),
        region: stray.region.clone(),
        name: stray.name.clone(),
        error,
    }
}
