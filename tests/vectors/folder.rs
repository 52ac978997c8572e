//! Where the captured requests are: here, or in the directory that `KEYFERRY_VECTORS` names.
//!
//! Packages that have no other in common include this file.

use std::path::{Path, PathBuf};

/// Whether the directory is the project's own, which has every operation of every SDK. Another one may leave any of them
/// out.
pub(crate) fn are_our_own() -> bool {
    std::env::var_os(VARIABLE).is_none()
}

/// The directory. One that is named by a relative path is looked for from the workspace's root: every package's tests run
/// in a folder of their own.
pub(crate) fn named() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(path) => workspace().join(path),
        None => own(),
    }
}

/// The project's own directory.
pub(crate) fn own() -> PathBuf {
    workspace().join("tests/vectors")
}

/// Every package that includes this file is in a folder of a folder of it.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const VARIABLE: &str = "KEYFERRY_VECTORS";
