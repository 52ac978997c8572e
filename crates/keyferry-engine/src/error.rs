//! What can go wrong in the engine itself. What goes wrong with one key is in its status instead.

use std::io;
use std::path::PathBuf;

/// Why the engine cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another daemon has the state directory.
    #[error(
        "another keyferry daemon{} uses {}: stop it, or give this one a state directory of its own with --state",
        pid.as_deref().map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    AlreadyRunning {
        /// The state directory.
        path: PathBuf,
        /// The other's process id, where it wrote one.
        pid: Option<String>,
    },
    /// The state directory is a copy of another one on this machine, which may be in use.
    #[error(
        "the state directory {path} is a copy of {original}, whose pairs it names: use {original} with --state, or remove \
         {path} to begin a new installation there; if {original} is no longer used (a restored backup, a moved home), \
         create the file {path}/{} and start again",
        crate::ledger::ADOPT_FILE_NAME,
        path = path.display(),
        original = original.display()
    )]
    CopiedDirectory {
        /// The state directory.
        path: PathBuf,
        /// The one that the ledger was last used in.
        original: PathBuf,
    },
    /// The state directory can be changed by somebody else.
    #[error("the state directory cannot be trusted: {0}")]
    Distrusted(#[source] keyferry_ownership::Distrust),
    /// A system call on the state directory failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried: `cannot create`.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// SQLite failed.
    #[error("the ledger {} cannot be used: {source}{}", path.display(), way_out(source))]
    Ledger {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The ledger holds a value that this version does not know.
    #[error("the ledger {} holds what keyferry cannot read: {what}; move the file away only if it may be forgotten", path.display())]
    LedgerContent {
        /// The file.
        path: PathBuf,
        /// Table, column and value.
        what: String,
    },
    /// A file of the ledger was moved, removed or replaced while it was open.
    #[error(
        "the ledger {} was moved, removed or replaced while keyferry runs ({} is not the file that was opened): nothing new \
         is begun, and loaded keys sign on",
        path.display(),
        missing.display()
    )]
    LedgerMoved {
        /// The ledger's file.
        path: PathBuf,
        /// What is missing, or another file now.
        missing: PathBuf,
    },
    /// The ledger's thread ended.
    #[error("the ledger has stopped: see the log, then start keyferry again")]
    LedgerStopped,
    /// The state directory is on a network filesystem.
    #[error(
        "{} is on {filesystem}, a network filesystem, where locks and writes cannot be relied on: name a local directory with --state",
        path.display()
    )]
    NetworkFilesystem {
        /// The state directory.
        path: PathBuf,
        /// The filesystem.
        filesystem: String,
    },
    /// The state directory was copied here from another machine, whose pairs it names.
    #[error(
        "the state directory {path} belongs to {theirs}, and this is {ours}: remove it to begin a new installation here \
         (the other machine's pairs stay its own); if this is that machine with a new identity, create the file \
         {path}/{} and start again",
        crate::ledger::ADOPT_FILE_NAME,
        path = path.display()
    )]
    OtherMachine {
        /// The state directory.
        path: PathBuf,
        /// The machine that it belongs to.
        theirs: String,
        /// This machine.
        ours: String,
    },
    /// A later version wrote the ledger.
    #[error(
        "the ledger {} was written by a later keyferry (schema {found}, this one knows {known}): install that version again",
        path.display()
    )]
    NewerLedger {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// What to do about a ledger that is none any more.
fn way_out(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};

    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            "; put a copy back, or move the file away to begin anew: keyferry then no longer knows the pairs it made, \
             and they are yours to delete at the provider"
        }
        _ => "",
    }
}
