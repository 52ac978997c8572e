//! Which directory a ledger is kept in. A copy of it on the same machine would take the pairs that the original serves
//! for its own lost ones, and delete them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::EngineError;

/// What tells a directory from others on the same machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Absolute, without symbolic links.
    pub(super) path: PathBuf,
    /// `DEVICE:INODE`, decimal, as in stat(2).
    pub(super) id: String,
}

impl Place {
    /// That of a directory that is there.
    ///
    /// # Errors
    /// [`EngineError::Io`] when it cannot be looked at.
    pub(super) fn of(directory: &Path) -> Result<Self, EngineError> {
        let look = || {
            let path = directory.canonicalize()?;
            let facts = path.metadata()?;
            let id = format!("{}:{}", facts.dev(), facts.ino());
            Ok(Self { path, id })
        };
        look().map_err(|source| EngineError::Io {
            what: "cannot look at the state directory",
            path: directory.to_owned(),
            source,
        })
    }

    /// As it was noted: the path's octets, and [`Self::id`].
    pub(super) fn noted(path: Vec<u8>, id: String) -> Self {
        Self {
            path: OsString::from_vec(path).into(),
            id,
        }
    }

    /// Whether it is the same directory: a rename keeps the numbers, and some filesystems change them when they are mounted
    /// again, but not the path.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id || self.path == other.path
    }
}
