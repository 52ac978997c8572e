//! Whose file is this, and who else may write it.
//!
//! Config files name commands that run and plugins are code, so both are believed only when nobody but the user
//! and root can have written them. This crate only looks: it changes nothing and follows no advice.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

mod group;
mod open;

pub use group::user_name;
pub use open::{OpenError, open_regular};

/// Checks that `path` and everything above it belongs to the user or root and is writable by nobody else.
///
/// A root-owned sticky directory (`/tmp`) passes, and so does group-write for the user's private group. Of a
/// link, the link's parents, its target and the target's parents are checked. A relative path is taken from the
/// current directory.
///
/// # Errors
/// [`Distrust`] names the first place that fails and how to mend it.
pub fn check(path: &Path) -> Result<(), Distrust> {
    walk(path, &Reader::current()).map(drop)
}

/// Checks a file that holds a secret: as [`check`], and it must be a regular file of the user's own that nobody
/// else may read (mode 0600 or less).
///
/// # Errors
/// [`Distrust`] names the first place that fails and how to mend it.
pub fn check_private(path: &Path) -> Result<(), Distrust> {
    let reader = Reader::current();
    let (resolved, metadata) = walk(path, &reader)?;
    if !metadata.is_file() {
        return Err(Distrust::NotAFile { path: resolved });
    }
    if metadata.uid() != reader.uid {
        return Err(Distrust::ForeignSecret {
            path: resolved,
            owner: metadata.uid(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Distrust::ReadableByOthers {
            path: resolved,
            mode: metadata.mode() & 0o7777,
        });
    }
    Ok(())
}

/// Why a path is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// A secret belongs to somebody else, be it root.
    #[error("{} belongs to uid {owner}, not to you: make a copy of your own with mode 0600", path.display())]
    ForeignSecret {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It belongs to another user.
    #[error("{} belongs to uid {owner}, who could change it: it must be yours or root's (chown {wanted} {})", path.display(), path.display())]
    ForeignOwner {
        /// The place.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our own uid.
        wanted: u32,
    },
    /// Links lead in a circle.
    #[error("{} goes through more than {MAX_LINKS} links", path.display())]
    LinkLoop {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// It is not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The place.
        path: PathBuf,
    },
    /// A secret that others may read.
    #[error("{} holds a secret and has mode {mode:04o}: others may read it (chmod 600 {})", path.display(), path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It could not be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Unreadable {
        /// The place.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Others may write to it.
    #[error("{} has mode {mode:04o}: others may change it (chmod go-w {})", path.display(), path.display())]
    WritableByOthers {
        /// The place.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// On whose behalf we look.
struct Reader {
    uid: u32,
    private_group: Option<u32>,
}

impl Reader {
    fn current() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self {
            uid,
            private_group: group::private_group(uid),
        }
    }

    fn judge(&self, path: &Path, metadata: &Metadata) -> Result<(), Distrust> {
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if owner != self.uid && owner != 0 {
            return Err(Distrust::ForeignOwner {
                path: path.to_owned(),
                owner,
                wanted: self.uid,
            });
        }
        // A link's own mode means nothing: it cannot be written, only replaced, which is its folder's affair.
        if metadata.is_symlink() || (metadata.is_dir() && owner == 0 && mode & STICKY != 0) {
            return Ok(());
        }
        let by_group = mode & 0o020 != 0 && self.private_group != Some(metadata.gid());
        if by_group || mode & 0o002 != 0 {
            return Err(Distrust::WritableByOthers {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(())
    }
}

/// Walks from the root to `path`, link by link, and judges every place on the way.
fn walk(path: &Path, reader: &Reader) -> Result<(PathBuf, Metadata), Distrust> {
    let unreadable = |place: &Path| {
        let place = place.to_owned();
        move |source| Distrust::Unreadable { path: place, source }
    };
    let absolute = std::path::absolute(path).map_err(unreadable(path))?;
    let mut todo: VecDeque<OsString> = parts(&absolute);
    let mut place = PathBuf::from("/");
    let mut metadata = std::fs::symlink_metadata(&place).map_err(unreadable(&place))?;
    reader.judge(&place, &metadata)?;
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            place.pop();
            metadata = std::fs::symlink_metadata(&place).map_err(unreadable(&place))?;
            continue;
        }
        place.push(part);
        metadata = std::fs::symlink_metadata(&place).map_err(unreadable(&place))?;
        reader.judge(&place, &metadata)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(Distrust::LinkLoop {
                    path: path.to_owned(),
                });
            }
            let target = std::fs::read_link(&place).map_err(unreadable(&place))?;
            place.pop();
            if target.is_absolute() {
                place = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                todo.push_front(part);
            }
        }
    }
    Ok((place, metadata))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// As many as Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests;
