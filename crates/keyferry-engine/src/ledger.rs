//! The ledger: what keyferry made, what it is about to do and how that went. Public facts only, one SQLite file.
//!
//! Ownership of a pair is a row here and nothing else. Every outside effect has its intent on the disk before it
//! begins and its outcome after it; an intent without an outcome is *unknown* and is read back, never repeated.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

mod files;
mod machine;
mod place;
mod rows;
mod schema;
mod state_directory;
mod store;
mod trusted;
mod view;

#[cfg(test)]
mod tests;

pub use rows::{
    Effect, EffectKind, EffectOutcome, Generation, GenerationState, HostRow, HostState, KeyRow, ORPHANS,
    Placement, PlacementState, Stage, Write,
};
pub(crate) use trusted::fingerprint;
pub use trusted::{
    NoSelector, Purpose, Revocation, RevocationId, RevocationState, Selector, Trusted, TrustedId,
};
pub use view::LedgerView;

use crate::error::EngineError;
use files::Files;
use machine::Machine;
pub(crate) use machine::host_name;
use place::Place;
use store::Store;

/// The ledger's file in the state directory.
pub const FILE_NAME: &str = "ledger.sqlite";

/// A file in the state directory that says: this machine and this directory are the ones that the ledger belongs to now.
/// The user makes it; the next start takes it away.
pub const ADOPT_FILE_NAME: &str = "adopt-installation";

/// The open ledger: one thread that writes, one transaction and one fsync for each [`Write`].
///
/// Dropping it ends the thread and gives the state directory free.
#[derive(Debug)]
pub struct Ledger {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<thread::JoinHandle<()>>,
    path: PathBuf,
    files: Files,
}

impl Ledger {
    /// Opens the ledger of a state directory, made if it is not there, and says what it holds.
    ///
    /// # Errors
    /// When the directory is another daemon's, another machine's, a copy, somebody else's or on a network filesystem, and when the
    /// file cannot be used or was written by a later version.
    pub fn open(state_directory: &Path) -> Result<(Self, LedgerView), EngineError> {
        Self::open_until(state_directory, None)
    }

    /// As [`Self::open`], but stops as if the process had been killed there.
    pub(crate) fn open_until(
        state_directory: &Path,
        stop: Option<Stop>,
    ) -> Result<(Self, LedgerView), EngineError> {
        Self::open_on(Machine::here(), state_directory, stop)
    }

    fn open_on(
        machine: Machine,
        state_directory: &Path,
        stop: Option<Stop>,
    ) -> Result<(Self, LedgerView), EngineError> {
        let lock = state_directory::claim(state_directory)?;
        let path = state_directory.join(FILE_NAME);
        let mut store = Store::open(&path, &machine)?;
        let adopt = state_directory.join(ADOPT_FILE_NAME);
        let is_adopted = adopt.symlink_metadata().is_ok();
        store.belongs_to(machine, is_adopted)?;
        store.is_kept_in(&Place::of(state_directory)?, is_adopted)?;
        state_directory::remove(&adopt)?;
        let view = store.view()?;
        let files = Files::of(&path);
        let watched = files.clone();
        let (commands, queue) = mpsc::channel::<Command>();
        let thread = thread::Builder::new()
            .name("keyferry-ledger".to_owned())
            .spawn(move || {
                let _lock = lock;
                for (count, command) in (1..).zip(queue) {
                    if stop == Some(Stop::Before(count)) {
                        return;
                    }
                    let result = watched.check().and_then(|()| store.write(&command.write));
                    if stop == Some(Stop::After(count)) {
                        return;
                    }
                    // Whoever asked may have been stopped meanwhile; the rows are written all the same.
                    let _ = command.reply.send(result);
                }
            })
            .map_err(|source| EngineError::Io {
                what: "cannot start a thread for",
                path: path.clone(),
                source,
            })?;
        Ok((
            Self {
                commands: Some(commands),
                thread: Some(thread),
                path,
                files,
            },
            view,
        ))
    }

    /// Puts rows on the disk: all of them or none. When this returns they survive a power cut.
    ///
    /// # Errors
    /// [`EngineError::Ledger`] when the disk refuses; [`EngineError::LedgerMoved`] when the files were taken away, until they are
    /// back; [`EngineError::LedgerStopped`] when the thread has ended.
    pub async fn write(&self, write: Write) -> Result<(), EngineError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(EngineError::LedgerStopped)?;
        commands
            .send(Command { write, reply })
            .map_err(|_| EngineError::LedgerStopped)?;
        answer.await.map_err(|_| EngineError::LedgerStopped)?
    }

    /// Whether the files still are where they were opened.
    ///
    /// # Errors
    /// [`EngineError::LedgerMoved`] when they are not.
    pub fn check(&self) -> Result<(), EngineError> {
        self.files.check()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // The lock is free when this returns. A panicked thread has freed it too.
            let _ = thread.join();
        }
    }
}

/// Where a test has the process killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// After the write of that number (from 1) is on the disk, before anybody knows.
    After(u64),
    /// Before the write of that number reaches the disk.
    Before(u64),
}

struct Command {
    write: Write,
    reply: oneshot::Sender<Result<(), EngineError>>,
}

/// Every row of a ledger, ended ones too: history, and what tests compare with a cloud.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History {
    /// All keys.
    pub keys: Vec<KeyRow>,
    /// All generations, in the order of key and number.
    pub generations: Vec<Generation>,
    /// All hosts.
    pub hosts: Vec<HostRow>,
    /// All placements, removed ones too.
    pub placements: Vec<Placement>,
    /// All of other people's lines, removed ones too.
    pub trusted: Vec<Trusted>,
    /// All revocations, those that are done too.
    pub revocations: Vec<Revocation>,
    /// All effects, in the order they were begun.
    pub effects: Vec<Effect>,
}

/// Reads a ledger beside the daemon that has it open.
///
/// # Errors
/// As [`Ledger::open`], but for the directory.
pub fn read_history(state_directory: &Path) -> Result<History, EngineError> {
    Store::open_to_read(&state_directory.join(FILE_NAME))?.history()
}
