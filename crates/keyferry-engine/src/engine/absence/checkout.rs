//! Key files that are kept in a git work tree: another branch may not have them, and nobody meant their keys by that.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::desired::KeyFolder;
use crate::engine::Engine;
use crate::snapshot::Timestamp;

impl Engine {
    /// Whether another branch was checked out where the key files lie, at that moment or after it (milliseconds since 1970
    /// UTC).
    pub(super) fn is_checked_out_since(&self, moment: i64) -> bool {
        let KeyFolder::Listed(folder) = &self.declared.key_folder else {
            return false;
        };
        head_changed_at(folder).is_some_and(|at| Timestamp(at).to_ms() >= moment)
    }
}

/// When the work tree that a folder is in was last given another branch or commit to show; none: it is in none. git replaces
/// `HEAD` then, and leaves it alone where a commit or a pull moves the branch. Where branches are kept in tables, one file
/// changes with either.
fn head_changed_at(folder: &Path) -> Option<SystemTime> {
    let folder = folder.canonicalize().ok()?;
    let git = folder.ancestors().find_map(git_directory)?;
    let noted = ["HEAD", "reftable/tables.list"].into_iter();
    let changed = noted.filter_map(|name| git.join(name).symlink_metadata().ok()?.modified().ok());
    changed.max()
}

/// git's own folder of a work tree: `.git`, or where the file of that name points (gitrepository-layout(5)).
fn git_directory(work_tree: &Path) -> Option<PathBuf> {
    let path = work_tree.join(".git");
    let facts = path.symlink_metadata().ok()?;
    if !facts.is_file() {
        return path.is_dir().then_some(path);
    }
    let mut text = String::new();
    fs::File::open(&path)
        .ok()?
        .take(LONGEST_POINTER)
        .read_to_string(&mut text)
        .ok()?;
    Some(work_tree.join(text.strip_prefix("gitdir:")?.trim()))
}

/// In bytes: a path and a word.
const LONGEST_POINTER: u64 = 8 * 1024;
