//! Pairs with numbers that this ledger never gave: it is older than what was done with it. A snapshot of the machine was
//! rolled back, or a backup put back; or another keyferry goes by a copy of it.
//!
//! A number is in the ledger before anything is asked for, so that nothing of this ledger's own doing looks like it, however
//! late it arrives. Only the key whose number it is stops: what is done for the others is as well founded as ever.

use keyferry_plugin::contract::Pair;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::ledger::KeyRow;
use crate::naming;
use crate::snapshot::{StatusError, StrayPair};

impl Engine {
    /// Stops the keys of which there is a pair with a later number among those that this ledger does not know.
    pub(super) async fn stop_for_later_pairs(
        &mut self,
        strays: &[(StrayPair, Pair)],
    ) -> Result<(), EngineError> {
        for (stray, _) in strays.iter().filter(|(stray, _)| stray.is_ours) {
            let keys = self.view.names.get(naming::without_number(&stray.name));
            let (Some(keys), Some(n)) = (keys, naming::number_of(&stray.name)) else {
                continue;
            };
            let rows: Vec<KeyRow> = keys.iter().map(|key| self.view.key(key)).collect();
            // Where several had pairs that are called so, it is of one that has come so far, if there is any.
            if rows
                .iter()
                .all(|row| n > row.last_n.max(row.later_n.unwrap_or_default()))
            {
                for row in rows {
                    self.stop_for(stray, n, row).await?;
                }
            }
        }
        Ok(())
    }

    async fn stop_for(&mut self, stray: &StrayPair, n: u64, row: KeyRow) -> Result<(), EngineError> {
        let place = match &stray.region {
            Some(region) => format!("region {region} of account {}", stray.account),
            None => format!("account {}", stray.account),
        };
        let pair = format!("pair {} in {place}", stray.name);
        tracing::warn!(
            key = row.name,
            last = row.last_n,
            "the ledger is older than {pair}"
        );
        self.record_word(match row.made_after {
            // Of one for a command nothing lasts that could be taken for lost.
            Some(_) => KeyRow { last_n: n, ..row },
            None => KeyRow {
                later_n: Some(n),
                later_pair: Some(pair),
                ..row
            },
        })
        .await
    }

    /// Goes on with a key for which the ledger is too old, since the user has seen to it: with numbers that nobody had. Whether
    /// there was something.
    pub(in crate::engine) async fn go_on_after_later_pairs(
        &mut self,
        key: &str,
    ) -> Result<bool, EngineError> {
        let row = self.view.key(key);
        let Some(n) = row.later_n else {
            return Ok(false);
        };
        self.record_word(KeyRow {
            last_n: row.last_n.max(n),
            later_n: None,
            later_pair: None,
            ..row
        })
        .await?;
        Ok(true)
    }

    /// What status shows of a key for which the ledger is too old.
    pub(in crate::engine) fn older_ledger(&self, key: &str) -> Option<StatusError> {
        let row = self.view.keys.get(key)?;
        let (n, pair) = (row.later_n?, row.later_pair.as_deref().unwrap_or("a pair"));
        let last = row.last_n;
        Some(StatusError {
            kind: "blocked".to_owned(),
            code: None,
            message: format!(
                "{pair} has number {n}, and this ledger gave key {key} none after {last}: it is older than what was done with it \
                 (a snapshot that was rolled back, a backup that was put back), or another keyferry goes by a copy of it; \
                 nothing is made, retired or deleted for the key"
            ),
            request_id: None,
            remedy: Some(format!(
                "end the other keyferry, or stop this one and put the latest ledger back; else keyferry resume {key} goes on \
                 after number {n}, and keyferry orphans lists the pairs that this ledger does not know"
            )),
            retry_at: None,
        })
    }
}
