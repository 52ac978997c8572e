//! The ledger's rows, read beside the daemon, which is not asked.
//!
//! In the middle of a commit, or before there is a ledger, there may be nothing to read: then the answer is none.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_sim::RequestRecord;
use rusqlite::{Connection, OpenFlags, Row};

/// A generation's row.
#[derive(Clone, Debug)]
pub(crate) struct GenerationRow {
    pub(crate) n: u64,
    pub(crate) state: String,
    pub(crate) stage: String,
    pub(crate) pair_name: String,
    /// `TYPE BASE64`.
    pub(crate) public_key: Option<String>,
    pub(crate) was_loaded: bool,
}

impl GenerationRow {
    /// Whether there is nothing of it any more.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.state, "deleted" | "gone" | "foreign" | "absent")
    }
}

/// An effect's row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Effect {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) n: u64,
    pub(crate) host: Option<String>,
    pub(crate) outcome: Option<String>,
    /// Of one write: those that are done over one login.
    pub(crate) intent_at: i64,
    pair_name: String,
    provider_id: Option<String>,
}

impl Effect {
    /// Whether a request to the cloud is about its pair.
    pub(crate) fn is_of(&self, request: &RequestRecord) -> bool {
        let name = request.name.as_deref().unwrap_or_default();
        let name = name.trim_matches(['[', ']', '"']);
        name == self.pair_name || Some(name) == self.provider_id.as_deref()
    }
}

/// Generations, oldest first.
pub(crate) fn generation_rows(ledger: &Path) -> Option<Vec<GenerationRow>> {
    let query = "SELECT n, state, stage, pair_name, blob, loaded_at FROM generation ORDER BY n";
    rows(ledger, query, |row| {
        Ok(GenerationRow {
            n: row.get::<_, i64>(0)?.unsigned_abs(),
            state: row.get(1)?,
            stage: row.get(2)?,
            pair_name: row.get(3)?,
            public_key: row.get::<_, Option<Vec<u8>>>(4)?.map(|blob| written(&blob)),
            was_loaded: row.get::<_, Option<i64>>(5)?.is_some(),
        })
    })
}

fn rows<T>(ledger: &Path, query: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Option<Vec<T>> {
    let connection = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let mut query = connection.prepare(query).ok()?;
    let rows = query.query_map((), read).ok()?;
    rows.collect::<Result<_, _>>().ok()
}

/// A public blob as `TYPE BASE64`.
fn written(blob: &[u8]) -> String {
    let length = u32::from_be_bytes(blob[..4].try_into().expect("four bytes"));
    let kind = &blob[4..4 + usize::try_from(length).expect("a small number")];
    format!("{} {}", String::from_utf8_lossy(kind), STANDARD.encode(blob))
}

/// Effects, in the order they were begun.
pub(crate) fn effect_rows(ledger: &Path) -> Option<Vec<Effect>> {
    let read = |row: &Row<'_>| {
        Ok(Effect {
            id: row.get(0)?,
            kind: row.get(1)?,
            n: row.get::<_, i64>(2)?.unsigned_abs(),
            host: row.get(3)?,
            outcome: row.get(4)?,
            intent_at: row.get(5)?,
            pair_name: row.get(6)?,
            provider_id: row.get(7)?,
        })
    };
    let query = "SELECT id, kind, n, host, outcome, intent_at, pair_name, provider_id FROM effect \
             JOIN generation USING (key, n) ORDER BY id";
    rows(ledger, query, read)
}

/// Generation, host and state of every line, by host.
pub(crate) fn placement_rows(ledger: &Path) -> Option<Vec<(u64, String, String)>> {
    let query = "SELECT n, host, state FROM placement ORDER BY host, n";
    rows(ledger, query, |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?, row.get(2)?))
    })
}

/// Host and state of the lines of other public keys, by host.
pub(crate) fn trusted_rows(ledger: &Path) -> Option<Vec<(String, String)>> {
    let query = "SELECT host, state FROM trusted ORDER BY host";
    rows(ledger, query, |row| Ok((row.get(0)?, row.get(1)?)))
}
