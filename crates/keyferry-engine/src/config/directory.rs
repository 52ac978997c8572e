//! Listing one folder: which files are read, which are left alone, and which seem to be misplaced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::{NAME_RULE, is_name};
use crate::desired::{FileReport, FileState};

/// What a folder holds.
pub(super) enum Listing {
    /// Names without `.toml`, and whether each is a symbolic link.
    Files(BTreeMap<String, bool>),
    /// It is not there.
    Gone,
    /// It is there and cannot be believed or read: everything in it stays as it was.
    Closed,
}

/// Lists `accounts/` or `keys/`. `kind` is the word for what a file declares; `known` says that files of this folder
/// are in force already.
pub(super) fn entries(folder: &Path, kind: &str, known: bool, reports: &mut Vec<FileReport>) -> Listing {
    let mut files = BTreeMap::new();
    let listed = each(folder, known, reports, |path, name, is_link| {
        let message = match name.strip_suffix(".toml") {
            Some(stem) if is_name(stem) => {
                files.insert(stem.to_owned(), is_link);
                return None;
            }
            Some(_) => format!(
                "the file's name is the {kind}'s name, and this is none: {NAME_RULE}{}",
                renamed(name)
            ),
            None => format!(
                "files here end in `.toml`, and this one is not read{}, or move it away",
                renamed(name)
            ),
        };
        Some(FileReport::new(
            path,
            FileState::Refused,
            vec![Problem::whole(message)],
        ))
    });
    listed.map_or_else(|listing| listing, |()| Listing::Files(files))
}

/// Looks at the config directory itself: only `keyferry.toml` is read there.
pub(super) fn root(folder: &Path, known: bool, reports: &mut Vec<FileReport>) -> Listing {
    let mut files = BTreeMap::new();
    let listed = each(folder, known, reports, |path, name, is_link| {
        if name == "keyferry.toml" {
            files.insert("keyferry".to_owned(), is_link);
            return None;
        }
        // Other things may lie here, but a TOML file was meant for keyferry.
        name.ends_with(".toml").then(|| {
            let message = "is not read: keys belong in keys/, accounts in accounts/, the daemon's settings in keyferry.toml";
            FileReport::new(path, FileState::Refused, vec![Problem::whole(message)])
        })
    });
    let listing = listed.map_or_else(|listing| listing, |()| Listing::Files(files));
    if matches!(listing, Listing::Gone) {
        let message = match known {
            true => "the directory is gone: all that it held stays in force; put it back to change anything",
            false => "there is no such directory: make it, or name another with --config",
        };
        reports.push(FileReport::new(
            folder.to_owned(),
            FileState::Missing,
            vec![Problem::whole(message)],
        ));
    }
    listing
}

/// Goes through the files of a folder that others cannot write. Folders and editors' leftovers are passed over.
fn each(
    folder: &Path,
    known: bool,
    reports: &mut Vec<FileReport>,
    mut visit: impl FnMut(PathBuf, &str, bool) -> Option<FileReport>,
) -> Result<(), Listing> {
    let closed = |reports: &mut Vec<FileReport>, message: String| {
        let state = if known {
            FileState::Kept
        } else {
            FileState::Refused
        };
        reports.push(FileReport::new(
            folder.to_owned(),
            state,
            vec![Problem::whole(message)],
        ));
        Err(Listing::Closed)
    };
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => (),
        Ok(_) => return closed(reports, "is not a directory: make it one".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Listing::Gone),
        Err(error) => return closed(reports, unreadable(folder, &error)),
    }
    if let Err(distrust) = keyferry_ownership::check(folder) {
        return closed(reports, distrust.to_string());
    }
    let mut strays = Vec::new();
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Listing::Gone),
        Err(error) => return closed(reports, unreadable(folder, &error)),
    };
    for file in listing {
        let file = match file {
            Ok(file) => file,
            Err(error) => return closed(reports, unreadable(folder, &error)),
        };
        let name = file.file_name();
        let Ok(kind) = file.file_type() else {
            continue;
        };
        let is_link = kind.is_symlink();
        let name = name.to_string_lossy();
        if is_leftover(&name) || kind.is_dir() || (is_link && file.path().is_dir()) {
            continue;
        }
        strays.extend(visit(file.path(), &name, is_link));
    }
    reports.extend(strays);
    Ok(())
}

fn unreadable(folder: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("cannot be read: {error}: chmod u+rx {}", folder.display())
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// What editors and tools leave behind, or put there for a moment.
fn is_leftover(name: &str) -> bool {
    // vim tries out a folder with a file of this name.
    name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913" || {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        matches!(
            ending,
            Some("bak" | "orig" | "rej" | "swo" | "swp" | "swx" | "tmp")
        )
    }
}

/// A name that would do, as the end of a message.
fn renamed(name: &str) -> String {
    let stem = name.split('.').next().unwrap_or_default();
    let fitted: String = stem
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(48)
        .collect();
    let fitted = fitted.trim_matches('-');
    if is_name(fitted) {
        format!("; rename it to {fitted}.toml")
    } else {
        String::new()
    }
}
