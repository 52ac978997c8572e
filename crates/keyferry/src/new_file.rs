//! New files in the config directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::Error;

/// Writes a file whole, and never over another: whoever reads the directory meanwhile sees all of it or nothing. Directories
/// that are missing are made for the user alone.
///
/// # Errors
/// [`Error::Write`] where the disk refuses it, or something stands there.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Write {
        path: path.to_owned(),
        source,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}.draft", std::process::id()));
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        // Unlike a rename, this never replaces what stands there.
        .and_then(|()| fs::hard_link(&draft, path));
    // What is left of it is not read: its name begins with a dot.
    let _ = fs::remove_file(&draft);
    written.map_err(failed)
}
