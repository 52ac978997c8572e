//! Keys that were ever declared.

use rusqlite::{Connection, params};

use super::{Store, count, number};
use crate::error::EngineError;
use crate::ledger::rows::KeyRow;

impl Store {
    pub(super) fn keys(&self) -> Result<Vec<KeyRow>, EngineError> {
        let columns = "name, last_n, held_at, rotate_asked_at, retire_asked_at, accepted_loss, paused_at, paused_until, \
                       pause_reason, retire_at, retires_in, made_after, ends_at, later_n, later_pair";
        self.rows(&format!("SELECT {columns} FROM key ORDER BY name"), |row| {
            Ok(Ok(KeyRow {
                name: row.get(0)?,
                last_n: count(row, 1)?,
                held_at: row.get(2)?,
                rotate_asked_at: row.get(3)?,
                retire_asked_at: row.get(4)?,
                accepted_loss: row.get(5)?,
                paused_at: row.get(6)?,
                paused_until: row.get(7)?,
                pause_reason: row.get(8)?,
                retire_at: row.get(9)?,
                retires_in: row.get(10)?,
                made_after: row.get(11)?,
                ends_at: row.get(12)?,
                later_n: row.get::<_, Option<i64>>(13)?.map(i64::unsigned_abs),
                later_pair: row.get(14)?,
            }))
        })
    }
}

pub(super) fn put(connection: &Connection, key: &KeyRow) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO key (name, last_n, held_at, rotate_asked_at, retire_asked_at, accepted_loss, paused_at, paused_until,
                              pause_reason, retire_at, retires_in, made_after, ends_at, later_n, later_pair)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (name) DO UPDATE SET last_n = ?2, held_at = ?3, rotate_asked_at = ?4, retire_asked_at = ?5,
                                              accepted_loss = ?6, paused_at = ?7, paused_until = ?8, pause_reason = ?9,
                                              retire_at = ?10, retires_in = ?11, made_after = ?12, ends_at = ?13,
                                              later_n = ?14, later_pair = ?15",
        )?
        .execute(params![
            key.name,
            number(key.last_n),
            key.held_at,
            key.rotate_asked_at,
            key.retire_asked_at,
            key.accepted_loss,
            key.paused_at,
            key.paused_until,
            key.pause_reason,
            key.retire_at,
            key.retires_in,
            key.made_after,
            key.ends_at,
            key.later_n.map(number),
            key.later_pair,
        ])
}
