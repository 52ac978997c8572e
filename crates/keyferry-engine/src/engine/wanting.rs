//! Pairs whose key is wanted again after its end had begun: what is still there stays, and what is gone is registered again.

use super::Engine;
use crate::error::EngineError;
use crate::ledger::{Generation, GenerationState, Write};

impl Engine {
    /// Whether a pair holds what its key serves, and the key does not end.
    pub(super) fn is_serving(&self, row: &Generation) -> bool {
        let loaded = self.observed.loaded.get(&row.key);
        loaded.is_some_and(|n| row.holds(*n)) && self.view.key(&row.key).retire_asked_at.is_none()
    }

    /// Whether the deletion of a pair is not wanted any more.
    pub(super) fn is_wanted_again(&self, row: &Generation) -> bool {
        let is_spare =
            row.copy_of.is_some() && (row.state != GenerationState::Live || self.view.is_surplus(row));
        self.is_serving(row) && !is_spare
    }

    /// Takes back what an end that was called off had begun at the provider. What may be gone there is asked about. Says
    /// whether there was something.
    pub(super) async fn want_again(&mut self, key: &str) -> Result<bool, EngineError> {
        let serving = self.view.of_key(key).filter(|row| self.is_serving(row));
        let again = serving.filter_map(|row| {
            let state = match row.state {
                GenerationState::Blocked | GenerationState::Unwanted => GenerationState::Live,
                // It was there, and is not.
                GenerationState::Doubtful if row.missing_since.is_some() => GenerationState::Missing,
                _ => return None,
            };
            Some(Generation {
                state,
                note: None,
                ..row.clone()
            })
        });
        let generations: Vec<Generation> = again.collect();
        if generations.is_empty() {
            return Ok(false);
        }
        let now = self.clock.now().uptime;
        for row in &generations {
            self.observed.suspects.insert(row.id());
            self.observed.surveys.insert(row.account.clone(), now);
        }
        // Where the disk refuses, nothing serving is deleted all the same.
        let write = Write {
            generations,
            ..Write::default()
        };
        Ok(self.record(write).await?.is_ok())
    }
}
