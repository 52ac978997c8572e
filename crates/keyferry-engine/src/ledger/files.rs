//! Whether the ledger's files still are those that were opened. What is written to a file that was removed is seen by nobody,
//! and another daemon may begin where its lock was.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::state_directory::LOCK_NAME;
use crate::error::EngineError;

/// The files as they were when they were opened.
#[derive(Clone, Debug)]
pub(super) struct Files {
    ledger: PathBuf,
    known: Vec<(PathBuf, Identity)>,
}

/// Device and inode.
type Identity = (u64, u64);

impl Files {
    /// Those of a ledger that is open.
    pub(super) fn of(ledger: &Path) -> Self {
        let mut log = ledger.as_os_str().to_owned();
        log.push("-wal");
        let files = [ledger.to_owned(), log.into(), ledger.with_file_name(LOCK_NAME)];
        let known = files.into_iter().filter_map(|path| {
            let identity = identity(&path)?;
            Some((path, identity))
        });
        Self {
            ledger: ledger.to_owned(),
            known: known.collect(),
        }
    }

    /// Looks at the paths alone: whoever closes a file that SQLite has open gives up the process's locks on it (fcntl(2)).
    ///
    /// # Errors
    /// [`EngineError::LedgerMoved`] when one of them is gone, or another.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let other = self
            .known
            .iter()
            .find(|(path, known)| identity(path) != Some(*known));
        match other {
            None => Ok(()),
            Some((path, _)) => Err(EngineError::LedgerMoved {
                path: self.ledger.clone(),
                missing: path.clone(),
            }),
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let facts = path.symlink_metadata().ok()?;
    Some((facts.dev(), facts.ino()))
}
