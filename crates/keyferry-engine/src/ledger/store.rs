//! Rows in SQLite.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior, params};

use super::machine::Machine;
use super::place::Place;
use super::rows::{GenerationState, Write};
use super::schema::{FROM_1, FROM_2, FROM_3, FROM_4, FROM_5, TABLES, TRUSTED, TRUSTED_FROM_5, VERSION};
use super::{History, LedgerView};
use crate::error::EngineError;

mod effects;
mod generations;
mod hosts;
mod keys;
mod trusted;

/// One connection.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the file to write, made with mode 0600 and brought to this version's schema.
    pub(super) fn open(path: &Path, machine: &Machine) -> Result<Self, EngineError> {
        // SQLite gives its other files the mode of this one.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|source| EngineError::Io {
                what: "cannot open",
                path: path.to_owned(),
                source,
            })?;
        let mut store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.prepare(machine).map_err(|source| store.error(source))??;
        Ok(store)
    }

    /// Checks that the ledger is this machine's, and notes more about it where more is known now. `adopt` makes it this
    /// machine's.
    pub(super) fn belongs_to(&self, machine: Machine, adopt: bool) -> Result<(), EngineError> {
        let query = "SELECT machine_id, host_name, uid, hardware, instance FROM installation";
        let noted = self.connection.query_row(query, [], |row| {
            Ok(Machine {
                id: row.get(0)?,
                host_name: row.get(1)?,
                uid: row.get(2)?,
                hardware: hardware(row.get::<_, Option<String>>(3)?.as_deref()),
                instance: row.get(4)?,
            })
        });
        let noted = noted.map_err(|source| self.error(source))?;
        let machine = match (machine.is(&noted), adopt) {
            (true, _) => machine.or(noted.clone()),
            (false, true) => machine,
            (false, false) => {
                return Err(EngineError::OtherMachine {
                    path: self.path.parent().unwrap_or(&self.path).to_owned(),
                    theirs: noted.to_string(),
                    ours: machine.to_string(),
                });
            }
        };
        if machine == noted {
            return Ok(());
        }
        self.connection
            .execute(
                "UPDATE installation SET machine_id = ?1, host_name = ?2, uid = ?3, hardware = ?4, instance = ?5",
                params![
                    machine.id,
                    machine.host_name,
                    machine.uid,
                    in_words(&machine.hardware),
                    machine.instance
                ],
            )
            .map(|_| ())
            .map_err(|source| self.error(source))
    }

    /// Checks that the state directory is the one that the ledger was last used in and no copy of it, and notes where it
    /// is now. `adopt` says that a copy is meant.
    pub(super) fn is_kept_in(&self, place: &Place, adopt: bool) -> Result<(), EngineError> {
        let query = "SELECT directory, directory_id FROM installation";
        let noted = self.connection.query_row(query, [], |row| {
            let (path, id): (Option<Vec<u8>>, Option<String>) = (row.get(0)?, row.get(1)?);
            Ok(path.zip(id).map(|(path, id)| Place::noted(path, id)))
        });
        let noted = noted.map_err(|source| self.error(source))?;
        match noted {
            Some(noted) if noted == *place => return Ok(()),
            Some(noted) if !adopt && !place.is(&noted) => {
                return Err(EngineError::CopiedDirectory {
                    path: place.path.clone(),
                    original: noted.path,
                });
            }
            _ => {}
        }
        self.connection
            .execute(
                "UPDATE installation SET directory = ?1, directory_id = ?2",
                params![place.path.as_os_str().as_bytes(), place.id],
            )
            .map(|_| ())
            .map_err(|source| self.error(source))
    }

    /// Opens the file to read, beside the daemon that writes it.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, EngineError> {
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.check_version().map_err(|source| store.error(source))??;
        Ok(store)
    }

    /// Puts rows into the ledger, in one transaction.
    pub(super) fn write(&mut self, write: &Write) -> Result<(), EngineError> {
        let path = &self.path;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate);
        transaction
            .and_then(|transaction| {
                for key in &write.keys {
                    keys::put(&transaction, key)?;
                }
                for generation in &write.generations {
                    generations::put(&transaction, generation)?;
                }
                for host in &write.hosts {
                    hosts::put(&transaction, host)?;
                }
                for placement in &write.placements {
                    hosts::put_placement(&transaction, placement)?;
                }
                for row in &write.trusted {
                    trusted::put(&transaction, row)?;
                }
                for row in &write.revocations {
                    trusted::put_revocation(&transaction, row)?;
                }
                for effect in &write.effects {
                    effects::put(&transaction, effect)?;
                }
                transaction.commit()
            })
            .map_err(|source| EngineError::Ledger {
                path: path.clone(),
                source,
            })
    }

    /// What still matters.
    pub(super) fn view(&self) -> Result<LedgerView, EngineError> {
        let ended: Vec<String> = GenerationState::ALL
            .into_iter()
            .filter(|state| state.is_final())
            .map(|state| format!("'{}'", state.name()))
            .collect();
        let generations = self.generations(&format!("WHERE state NOT IN ({})", ended.join(", ")))?;
        let foreign_names =
            self.generations(&format!("WHERE state = '{}'", GenerationState::Foreign.name()))?;
        let facts = || {
            let id = self
                .connection
                .query_row("SELECT id FROM installation", [], |row| row.get(0))?;
            let last = "SELECT coalesce(max(id), 0) FROM effect";
            let last_effect = self.connection.query_row(last, [], |row| row.get(0))?;
            Ok((id, last_effect))
        };
        let (installation, last_effect) = facts().map_err(|source| self.error(source))?;
        let names = self.rows("SELECT key, pair_name FROM generation", |row| {
            Ok(Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        })?;
        let mut view = LedgerView {
            installation,
            keys: self
                .keys()?
                .into_iter()
                .map(|key| (key.name.clone(), key))
                .collect(),
            generations: generations
                .into_iter()
                .map(|generation| (generation.id(), generation))
                .collect(),
            hosts: self
                .hosts()?
                .into_iter()
                .map(|host| (host.address.clone(), host))
                .collect(),
            placements: self
                .placements("WHERE state <> 'removed'")?
                .into_iter()
                .map(|placement| (placement.id(), placement))
                .collect(),
            trusted: self
                .trusted("WHERE state <> 'removed'")?
                .into_iter()
                .map(|row| (row.id(), row))
                .collect(),
            revocations: self
                .revocations("WHERE state <> 'removed'")?
                .into_iter()
                .map(|row| (row.id(), row))
                .collect(),
            foreign_names: foreign_names.into_iter().map(|row| row.pair_name).collect(),
            names: BTreeMap::new(),
            last_effect,
        };
        for (key, pair_name) in names {
            view.note_name(&key, &pair_name);
        }
        Ok(view)
    }

    /// Every row.
    pub(super) fn history(&self) -> Result<History, EngineError> {
        Ok(History {
            keys: self.keys()?,
            generations: self.generations("")?,
            hosts: self.hosts()?,
            placements: self.placements("")?,
            trusted: self.trusted("")?,
            revocations: self.revocations("")?,
            effects: self.effects()?,
        })
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, EngineError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|source| EngineError::Ledger {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    fn prepare(&mut self, machine: &Machine) -> rusqlite::Result<Result<(), EngineError>> {
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        if let Err(error) = self.check_version()? {
            return Ok(Err(error));
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(TRUSTED)?;
            transaction.execute_batch(TRUSTED_FROM_5)?;
            transaction.execute(
                "INSERT INTO installation (id, created_at, machine_id, host_name, uid, hardware, instance)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    random_id(),
                    milliseconds(SystemTime::now()),
                    machine.id,
                    machine.host_name,
                    machine.uid,
                    in_words(&machine.hardware),
                    machine.instance
                ],
            )?;
        } else {
            if found < 2 {
                transaction.execute_batch(FROM_1)?;
            }
            if found < 3 {
                transaction.execute_batch(FROM_2)?;
            }
            if found < 4 {
                transaction.execute_batch(FROM_3)?;
                transaction.execute_batch(TRUSTED)?;
            }
            if found < 5 {
                transaction.execute_batch(FROM_4)?;
            }
            if found < 6 {
                transaction.execute_batch(FROM_5)?;
                transaction.execute_batch(TRUSTED_FROM_5)?;
            }
        }
        if found < VERSION {
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        Ok(Ok(()))
    }

    fn check_version(&self) -> rusqlite::Result<Result<(), EngineError>> {
        let found: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > VERSION {
            return Ok(Err(EngineError::NewerLedger {
                path: self.path.clone(),
                found,
                known: VERSION,
            }));
        }
        Ok(Ok(()))
    }

    /// The inner error names a column and a value that this version does not know.
    fn rows<T>(
        &self,
        query: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<Result<T, String>>,
    ) -> Result<Vec<T>, EngineError> {
        let all = || {
            let mut statement = self.connection.prepare(query)?;
            statement
                .query_map([], |row| read(row))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = all().map_err(|source| self.error(source))?;
        let content = |what| EngineError::LedgerContent {
            path: self.path.clone(),
            what,
        };
        rows.into_iter().map(|row| row.map_err(content)).collect()
    }

    fn error(&self, source: rusqlite::Error) -> EngineError {
        EngineError::Ledger {
            path: self.path.clone(),
            source,
        }
    }
}

/// SQLite's integers are signed; generations are counted from 1 and never come near the limit.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

fn hardware(words: Option<&str>) -> BTreeSet<String> {
    let words = words.unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect()
}

fn in_words(hardware: &BTreeSet<String>) -> Option<String> {
    let words: Vec<&str> = hardware.iter().map(String::as_str).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Six octets: enough that no two of a user's machines meet.
fn random_id() -> String {
    let mut octets = [0; 6];
    aws_lc_rs::rand::fill(&mut octets)
        .expect("the system's random generator does not fail once it has started");
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
