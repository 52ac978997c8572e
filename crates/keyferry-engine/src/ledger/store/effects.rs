//! What was done outside.

use rusqlite::{Connection, params};

use super::{Store, count, number};
use crate::error::EngineError;
use crate::ledger::rows::{Effect, EffectKind, EffectOutcome};

impl Store {
    pub(super) fn effects(&self) -> Result<Vec<Effect>, EngineError> {
        let columns = "id, kind, key, n, intent_at, attempt, outcome_at, outcome, host, instance";
        self.rows(&format!("SELECT {columns} FROM effect ORDER BY id"), |row| {
            let (kind, outcome): (String, Option<String>) = (row.get(1)?, row.get(7)?);
            let Some(kind) = EffectKind::ALL.into_iter().find(|known| known.name() == kind) else {
                return Ok(Err(format!("effect.kind {kind:?}")));
            };
            let known = outcome.as_deref().map(|name| {
                EffectOutcome::ALL
                    .into_iter()
                    .find(|known| known.name() == name)
                    .ok_or(name.to_owned())
            });
            let outcome = match known.transpose() {
                Ok(outcome) => outcome,
                Err(what) => return Ok(Err(format!("effect.outcome {what:?}"))),
            };
            Ok(Ok(Effect {
                id: row.get(0)?,
                kind,
                key: row.get(2)?,
                n: count(row, 3)?,
                intent_at: row.get(4)?,
                attempt: row.get(5)?,
                outcome_at: row.get(6)?,
                outcome,
                host: row.get(8)?,
                instance: row.get(9)?,
            }))
        })
    }
}

pub(super) fn put(connection: &Connection, row: &Effect) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO effect (id, kind, key, n, intent_at, attempt, outcome_at, outcome, host, instance)
             VALUES (?1, ?2, ?3, ?4, ?5,
                     (SELECT count(*) + 1 FROM effect
                      WHERE kind = ?2 AND key = ?3 AND n = ?4 AND host IS ?8 AND instance IS ?9), ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET outcome_at = ?6, outcome = ?7",
        )?
        .execute(params![
            row.id,
            row.kind.name(),
            row.key,
            number(row.n),
            row.intent_at,
            row.outcome_at,
            row.outcome.map(EffectOutcome::name),
            row.host,
            row.instance,
        ])
}
