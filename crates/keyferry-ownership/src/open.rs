//! Opening a file that somebody else may have put something else in the place of.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading, and looks at what was opened. It never waits: a pipe in the place of the file would
/// otherwise hold whoever opens it until somebody writes. The length is the caller's to judge, from the metadata and
/// while reading, for the file may grow.
///
/// # Errors
/// [`OpenError`], which does not name the path.
pub fn open_regular(path: &Path) -> Result<(File, Metadata), OpenError> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(OpenError::NotAFile);
    }
    Ok((file, metadata))
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is a directory, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}
