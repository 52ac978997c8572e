//! Key pairs.

use keyferry_plugin::contract::Algorithm;
use rusqlite::{Connection, params};

use super::{Store, count, number};
use crate::desired::GeneratedBy;
use crate::error::EngineError;
use crate::ledger::rows::{Generation, GenerationState, Stage};

impl Store {
    pub(super) fn generations(&self, condition: &str) -> Result<Vec<Generation>, EngineError> {
        let columns = "key, n, made_by, algorithm, account, plugin, region, blob, pair_name, provider_id, \
                       provider_fingerprint, state, requested_at, repeated_at, loaded_at, note, endpoint, \
                       missing_since, delete_asked_at, copy_of, stage, promoted_at, superseded_at, place";
        self.rows(
            &format!("SELECT {columns} FROM generation {condition} ORDER BY key, n"),
            |row| {
                let (made_by, algorithm, state): (String, String, String) =
                    (row.get(2)?, row.get(3)?, row.get(11)?);
                let made_by = [GeneratedBy::Keyferry, GeneratedBy::Provider]
                    .into_iter()
                    .find(|&candidate| maker(candidate) == made_by)
                    .ok_or(made_by);
                let algorithm = Algorithm::from_name(&algorithm).ok_or(algorithm);
                let state = GenerationState::ALL
                    .into_iter()
                    .find(|known| known.name() == state)
                    .ok_or(state);
                let stage: String = row.get(20)?;
                let stage = Stage::ALL
                    .into_iter()
                    .find(|known| known.name() == stage)
                    .ok_or(stage);
                let (made_by, algorithm, state, stage) = match (made_by, algorithm, state, stage) {
                    (Ok(made_by), Ok(algorithm), Ok(state), Ok(stage)) => (made_by, algorithm, state, stage),
                    (Err(what), ..) => return Ok(Err(format!("generation.made_by {what:?}"))),
                    (_, Err(what), ..) => return Ok(Err(format!("generation.algorithm {what:?}"))),
                    (_, _, Err(what), _) => return Ok(Err(format!("generation.state {what:?}"))),
                    (.., Err(what)) => return Ok(Err(format!("generation.stage {what:?}"))),
                };
                Ok(Ok(Generation {
                    key: row.get(0)?,
                    n: count(row, 1)?,
                    made_by,
                    algorithm,
                    account: row.get(4)?,
                    plugin: row.get(5)?,
                    region: row.get(6)?,
                    blob: row.get(7)?,
                    pair_name: row.get(8)?,
                    provider_id: row.get(9)?,
                    provider_fingerprint: row.get(10)?,
                    state,
                    requested_at: row.get(12)?,
                    repeated_at: row.get(13)?,
                    loaded_at: row.get(14)?,
                    note: row.get(15)?,
                    endpoint: row.get(16)?,
                    missing_since: row.get(17)?,
                    delete_asked_at: row.get(18)?,
                    copy_of: row.get::<_, Option<i64>>(19)?.map(i64::unsigned_abs),
                    stage,
                    promoted_at: row.get(21)?,
                    superseded_at: row.get(22)?,
                    place: row.get(23)?,
                }))
            },
        )
    }
}

pub(super) fn put(connection: &Connection, row: &Generation) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO generation (key, n, made_by, algorithm, account, plugin, region, blob, pair_name, provider_id,
                                     provider_fingerprint, state, requested_at, repeated_at, loaded_at, note, endpoint,
                                     missing_since, delete_asked_at, copy_of, stage, promoted_at, superseded_at, place)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
                     ?24)
             ON CONFLICT (key, n) DO UPDATE SET blob = ?8, provider_id = ?10, provider_fingerprint = ?11, state = ?12,
                                                requested_at = ?13, repeated_at = ?14, loaded_at = ?15, note = ?16,
                                                missing_since = ?18, delete_asked_at = ?19, stage = ?21, promoted_at = ?22,
                                                superseded_at = ?23",
        )?
        .execute(params![
            row.key,
            number(row.n),
            maker(row.made_by),
            row.algorithm.name(),
            row.account,
            row.plugin,
            row.region,
            row.blob,
            row.pair_name,
            row.provider_id,
            row.provider_fingerprint,
            row.state.name(),
            row.requested_at,
            row.repeated_at,
            row.loaded_at,
            row.note,
            row.endpoint,
            row.missing_since,
            row.delete_asked_at,
            row.copy_of.map(number),
            row.stage.name(),
            row.promoted_at,
            row.superseded_at,
            row.place,
        ])
}

/// As in config files.
fn maker(made_by: GeneratedBy) -> &'static str {
    match made_by {
        GeneratedBy::Keyferry => "keyferry",
        GeneratedBy::Provider => "provider",
    }
}
