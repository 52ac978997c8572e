//! Rows in SQLite.

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keyferry_plugin::contract::Algorithm;
use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior, params};

use super::machine::Machine;
use super::place::Place;
use super::rows::{Effect, EffectKind, EffectOutcome, Generation, GenerationState, KeyRow, Stage, Write};
use super::schema::{FROM_1, FROM_2, FROM_3, TABLES, TRUSTED, VERSION};
use super::{History, LedgerView};
use crate::desired::GeneratedBy;
use crate::error::EngineError;

mod hosts;
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
        let query = "SELECT machine_id, host_name, uid FROM installation";
        let noted = self.connection.query_row(query, [], |row| {
            Ok(Machine {
                id: row.get(0)?,
                host_name: row.get(1)?,
                uid: row.get(2)?,
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
                "UPDATE installation SET machine_id = ?1, host_name = ?2, uid = ?3",
                params![machine.id, machine.host_name, machine.uid],
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
                    put_key(&transaction, key)?;
                }
                for generation in &write.generations {
                    put_generation(&transaction, generation)?;
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
                    put_effect(&transaction, effect)?;
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
        Ok(LedgerView {
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
            last_effect,
        })
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
            transaction.execute(
                "INSERT INTO installation (id, created_at, machine_id, host_name, uid) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    random_id(),
                    milliseconds(SystemTime::now()),
                    machine.id,
                    machine.host_name,
                    machine.uid
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

    fn keys(&self) -> Result<Vec<KeyRow>, EngineError> {
        let columns = "name, last_n, held_at, rotate_asked_at, retire_asked_at, accepted_loss, paused_at, paused_until, \
                       pause_reason, retire_at";
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
            }))
        })
    }

    fn generations(&self, condition: &str) -> Result<Vec<Generation>, EngineError> {
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

    fn effects(&self) -> Result<Vec<Effect>, EngineError> {
        let columns = "id, kind, key, n, intent_at, attempt, outcome_at, outcome, host";
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
            }))
        })
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

fn put_key(connection: &Connection, key: &KeyRow) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO key (name, last_n, held_at, rotate_asked_at, retire_asked_at, accepted_loss, paused_at, paused_until,
                              pause_reason, retire_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (name) DO UPDATE SET last_n = ?2, held_at = ?3, rotate_asked_at = ?4, retire_asked_at = ?5,
                                              accepted_loss = ?6, paused_at = ?7, paused_until = ?8, pause_reason = ?9,
                                              retire_at = ?10",
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
        ])
}

fn put_generation(connection: &Connection, row: &Generation) -> rusqlite::Result<usize> {
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

fn put_effect(connection: &Connection, row: &Effect) -> rusqlite::Result<usize> {
    connection
        .prepare(
            "INSERT INTO effect (id, kind, key, n, intent_at, attempt, outcome_at, outcome, host)
             VALUES (?1, ?2, ?3, ?4, ?5,
                     (SELECT count(*) + 1 FROM effect WHERE kind = ?2 AND key = ?3 AND n = ?4 AND host IS ?8), ?6, ?7, ?8)
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
        ])
}

/// SQLite's integers are signed; generations are counted from 1 and never come near the limit.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

/// As in config files.
fn maker(made_by: GeneratedBy) -> &'static str {
    match made_by {
        GeneratedBy::Keyferry => "keyferry",
        GeneratedBy::Provider => "provider",
    }
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
