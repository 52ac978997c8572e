//! Other people's public keys on hosts.

use rusqlite::{Connection, params};

use super::Store;
use crate::error::EngineError;
use crate::ledger::rows::PlacementState;
use crate::ledger::trusted::{Purpose, Revocation, RevocationState, Trusted};

impl Store {
    pub(super) fn trusted(&self, condition: &str) -> Result<Vec<Trusted>, EngineError> {
        let columns =
            "key, host, public_key, purpose, line, state, until, verified_at, changed_at, note, file";
        let query = format!("SELECT {columns} FROM trusted {condition} ORDER BY key, host, public_key");
        self.rows(&query, |row| {
            let (purpose, state): (String, String) = (row.get(3)?, row.get(5)?);
            let Some(purpose) = Purpose::ALL.into_iter().find(|known| known.name() == purpose) else {
                return Ok(Err(format!("trusted.purpose {purpose:?}")));
            };
            let Some(state) = PlacementState::ALL
                .into_iter()
                .find(|known| known.name() == state)
            else {
                return Ok(Err(format!("trusted.state {state:?}")));
            };
            Ok(Ok(Trusted {
                key: row.get(0)?,
                host: row.get(1)?,
                public_key: row.get(2)?,
                purpose,
                line: row.get(4)?,
                state,
                until: row.get(6)?,
                verified_at: row.get(7)?,
                changed_at: row.get(8)?,
                note: row.get(9)?,
                file: row.get(10)?,
            }))
        })
    }

    pub(super) fn revocations(&self, condition: &str) -> Result<Vec<Revocation>, EngineError> {
        let columns = "host, selector, accepts_loss, state, lines, asked_at, changed_at, note";
        let query = format!("SELECT {columns} FROM revocation {condition} ORDER BY host, selector");
        self.rows(&query, |row| {
            let (selector, state): (String, String) = (row.get(1)?, row.get(3)?);
            let Ok(selector) = selector.parse() else {
                return Ok(Err(format!("revocation.selector {selector:?}")));
            };
            let Some(state) = RevocationState::ALL
                .into_iter()
                .find(|known| known.name() == state)
            else {
                return Ok(Err(format!("revocation.state {state:?}")));
            };
            Ok(Ok(Revocation {
                host: row.get(0)?,
                selector,
                accepts_loss: row.get(2)?,
                state,
                lines: row.get(4)?,
                asked_at: row.get(5)?,
                changed_at: row.get(6)?,
                note: row.get(7)?,
            }))
        })
    }
}

pub(super) fn put(connection: &Connection, row: &Trusted) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO trusted (key, host, public_key, purpose, line, state, until, verified_at, changed_at, note, file)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (key, host, public_key) DO UPDATE SET purpose = ?4, line = ?5, state = ?6, until = ?7,
                                                               verified_at = ?8, changed_at = ?9, note = ?10, file = ?11",
        )?
        .execute(params![
            row.key,
            row.host,
            row.public_key,
            row.purpose.name(),
            row.line,
            row.state.name(),
            row.until,
            row.verified_at,
            row.changed_at,
            row.note,
            row.file,
        ])
}

pub(super) fn put_revocation(connection: &Connection, row: &Revocation) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO revocation (host, selector, accepts_loss, state, lines, asked_at, changed_at, note)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (host, selector) DO UPDATE SET accepts_loss = ?3, state = ?4, lines = ?5, asked_at = ?6,
                                                        changed_at = ?7, note = ?8",
        )?
        .execute(params![
            row.host,
            row.selector.to_string(),
            row.accepts_loss,
            row.state.name(),
            row.lines,
            row.asked_at,
            row.changed_at,
            row.note,
        ])
}
