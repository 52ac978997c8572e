//! Hosts and what stands on them.

use rusqlite::{Connection, params};

use super::{Store, count, number};
use crate::error::EngineError;
use crate::ledger::rows::{HostRow, HostState, Placement, PlacementState};

impl Store {
    pub(super) fn hosts(&self) -> Result<Vec<HostRow>, EngineError> {
        let query = "SELECT address, pinned_host_key, state, since, note FROM host ORDER BY address";
        self.rows(query, |row| {
            let state: String = row.get(2)?;
            let Some(state) = HostState::ALL.into_iter().find(|known| known.name() == state) else {
                return Ok(Err(format!("host.state {state:?}")));
            };
            Ok(Ok(HostRow {
                address: row.get(0)?,
                pinned_host_key: row.get(1)?,
                state,
                since: row.get(3)?,
                note: row.get(4)?,
            }))
        })
    }

    pub(super) fn placements(&self, condition: &str) -> Result<Vec<Placement>, EngineError> {
        let columns = "key, n, host, state, verified_at, line, file_hash, changed_at, file";
        let query = format!("SELECT {columns} FROM placement {condition} ORDER BY key, n, host");
        self.rows(&query, |row| {
            let state: String = row.get(3)?;
            let Some(state) = PlacementState::ALL
                .into_iter()
                .find(|known| known.name() == state)
            else {
                return Ok(Err(format!("placement.state {state:?}")));
            };
            Ok(Ok(Placement {
                key: row.get(0)?,
                n: count(row, 1)?,
                host: row.get(2)?,
                state,
                verified_at: row.get(4)?,
                line: row.get(5)?,
                file_hash: row.get(6)?,
                changed_at: row.get(7)?,
                file: row.get(8)?,
            }))
        })
    }
}

pub(super) fn put(connection: &Connection, row: &HostRow) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO host (address, pinned_host_key, state, since, note) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (address) DO UPDATE SET pinned_host_key = ?2, state = ?3, since = ?4, note = ?5",
        )?
        .execute(params![
            row.address,
            row.pinned_host_key,
            row.state.name(),
            row.since,
            row.note
        ])
}

pub(super) fn put_placement(connection: &Connection, row: &Placement) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO placement (key, n, host, state, verified_at, line, file_hash, changed_at, file)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (key, n, host) DO UPDATE SET state = ?4, verified_at = ?5, line = ?6, file_hash = ?7, changed_at = ?8,
                                                      file = ?9",
        )?
        .execute(params![
            row.key,
            number(row.n),
            row.host,
            row.state.name(),
            row.verified_at,
            row.line,
            row.file_hash,
            row.changed_at,
            row.file,
        ])
}
