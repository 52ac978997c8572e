//! Plugin libraries as files: finding them, and reading what they say about themselves without running their code.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{self, SHA256};
use keyferry_ownership::OpenError;
use keyferry_plugin::abi::{self, ABI_MAJOR, ABI_MINOR};
use keyferry_plugin::manifest::Manifest;
use object::read::{ReadCache, ReadRef};
use serde::{Deserialize, Serialize};

mod copy;
mod error;
mod manifest_rules;
mod object_file;
mod pin;

pub use copy::LibraryCopy;
pub(crate) use copy::Place;
pub use error::LoadError;
pub use object_file::NotOurs;
pub use pin::Pin;

/// The file name of a plugin's library: `libkeyferry_alibaba_ens.so`, on macOS `.dylib`.
pub fn file_name(plugin: &str) -> String {
    format!("{PREFIX}{}{SUFFIX}", plugin.replace('-', "_"))
}

/// The plugin that a file name stands for: the inverse of [`file_name`].
pub fn plugin_name(file_name: &str) -> Option<String> {
    let name = file_name
        .strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .replace('_', "-");
    is_plugin_name(&name).then_some(name)
}

/// The library of a plugin: the first one that these directories hold.
///
/// # Errors
/// [`LoadError::NotFound`] names the file and the directories that were searched.
pub fn find(directories: &[PathBuf], plugin: &str) -> Result<PathBuf, LoadError> {
    let missing = || LoadError::NotFound {
        plugin: plugin.to_owned(),
        directories: directories.to_vec(),
    };
    if !is_plugin_name(plugin) {
        return Err(missing());
    }
    let mut paths = directories
        .iter()
        .map(|directory| directory.join(file_name(plugin)));
    paths
        .find(|path| path.symlink_metadata().is_ok())
        .ok_or_else(missing)
}

/// A library file that [`list`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The plugin's name, from the file's name.
    pub plugin: String,
    /// The file.
    pub path: PathBuf,
}

/// All libraries in these directories, sorted by name. Of one name, the first directory's counts, as in [`find`]. A
/// directory that is not there or cannot be read holds none.
pub fn list(directories: &[PathBuf]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for directory in directories {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries {
            let Some(plugin) = entry.file_name().to_str().and_then(plugin_name) else {
                continue;
            };
            if !found.iter().any(|other| other.plugin == plugin) {
                found.push(Found {
                    plugin,
                    path: entry.path(),
                });
            }
        }
    }
    found.sort_by(|a, b| a.plugin.cmp(&b.plugin));
    found
}

/// What a library says about itself, and which file said it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LibraryFacts {
    /// The file, as it was asked for.
    pub path: PathBuf,
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// Major version of the contract that it was built for; always ours.
    pub major: u16,
    /// Minor version of the contract that it was built for.
    pub minor: u16,
    /// The manifest.
    pub manifest: Manifest,
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
    /// Bytes of the file.
    pub size: u64,
    /// When the file's content was last changed: seconds and nanoseconds since the epoch.
    pub modified: (i64, i64),
    /// SHA-256 of the file's bytes, in lower-case hex: what a [`Pin`] holds, and what is loaded.
    pub sha256: String,
}

/// Checks a library file and reads what it says about itself. None of its code runs. It is read piece by piece: a daemon that
/// keeps nothing but the facts shall not have had megabytes in its memory for them.
///
/// # Errors
/// [`LoadError`] says what is wrong with which file, and what to do about it.
pub fn inspect(path: &Path) -> Result<LibraryFacts, LoadError> {
    let Opened { name, file, metadata } = open(path)?;
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut context = digest::Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    let mut reader = (&file).take(MAX_LENGTH);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => context.update(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
    let content = ReadCache::new(&file);
    facts(path, name, &metadata, &content, context.finish().as_ref())
}

/// As [`inspect`], and the bytes that were looked at. Who goes on with these bytes, and not with the file, goes on with
/// what was checked and hashed, whatever becomes of the file.
///
/// # Errors
/// [`LoadError`] says what is wrong with which file, and what to do about it.
pub fn read(path: &Path) -> Result<(LibraryFacts, Vec<u8>), LoadError> {
    let Opened { name, file, metadata } = open(path)?;
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    let mut reader = (&file).take(MAX_LENGTH);
    reader.read_to_end(&mut content).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })?;
    let hash = digest::digest(&SHA256, &content);
    let facts = facts(path, name, &metadata, content.as_slice(), hash.as_ref())?;
    Ok((facts, content))
}

/// A library file that may be believed, as far as its place and its owners tell.
struct Opened {
    /// The plugin's name.
    name: String,
    file: File,
    metadata: Metadata,
}

fn open(path: &Path) -> Result<Opened, LoadError> {
    let owned = || path.to_owned();
    let io = |source| LoadError::Io {
        path: owned(),
        source,
    };
    let file_name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = file_name.and_then(plugin_name) else {
        return Err(LoadError::FileName { path: owned() });
    };
    if !path.is_absolute() || path.to_str().is_none() {
        return Err(LoadError::NotAbsolute { path: owned() });
    }

    let target = path.canonicalize().map_err(io)?;
    let directory = path
        .parent()
        .unwrap_or(Path::new("/"))
        .canonicalize()
        .map_err(io)?;
    if target.parent() != Some(&directory) {
        return Err(LoadError::LinkOutside {
            path: owned(),
            target,
        });
    }
    let (file, metadata) = keyferry_ownership::open_regular(&target).map_err(|error| match error {
        OpenError::NotAFile => LoadError::NotRegular { path: owned() },
        OpenError::Io(error) => io(error),
    })?;
    if metadata.len() > MAX_LENGTH {
        return Err(LoadError::TooLong {
            path: owned(),
            length: metadata.len(),
        });
    }
    // The path is judged after the file is open: what was judged is then known to be what was opened, and that no link
    // took the target's place.
    keyferry_ownership::check(path)?;
    if identity(&metadata) != identity(&target.symlink_metadata().map_err(io)?) {
        return Err(LoadError::Changed { path: owned() });
    }
    Ok(Opened { name, file, metadata })
}

/// What a library says about itself, once it is known to be a plugin for this machine and version.
fn facts<'data>(
    path: &Path,
    name: String,
    metadata: &Metadata,
    content: impl ReadRef<'data>,
    hash: &[u8],
) -> Result<LibraryFacts, LoadError> {
    let (major, minor, manifest) = read_manifest(path, content)?;
    manifest_rules::check(&manifest, &name).map_err(|problem| LoadError::Manifest {
        path: path.to_owned(),
        place: problem.place,
        problem: problem.words,
    })?;
    Ok(LibraryFacts {
        path: path.to_owned(),
        name,
        version: manifest.version.clone(),
        major,
        minor,
        manifest,
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

fn read_manifest<'data>(
    path: &Path,
    content: impl ReadRef<'data>,
) -> Result<(u16, u16, Manifest), LoadError> {
    let path = || path.to_owned();
    let section =
        object_file::section(content).map_err(|reason| LoadError::ObjectFile { path: path(), reason })?;
    let (major, minor, json) =
        abi::manifest_from_section(section).map_err(|source| LoadError::Section { path: path(), source })?;
    if major != ABI_MAJOR {
        return Err(LoadError::Major {
            path: path(),
            found: major,
        });
    }
    let manifest = serde_json::from_str(json).map_err(|source| LoadError::ManifestJson {
        path: path(),
        newer: minor > ABI_MINOR,
        source,
    })?;
    Ok((major, minor, manifest))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// `[a-z0-9][a-z0-9-]{0,47}`, as for keys and accounts.
fn is_plugin_name(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 48
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|c| letter(c) || c == b'-')
}

const PREFIX: &str = "libkeyferry_";
const SUFFIX: &str = std::env::consts::DLL_SUFFIX;

/// Bytes that are read of a library at a time.
const PIECE: usize = 64 * 1024;

/// The longest library in bytes: a plugin in a debug build has some 10 MB.
const MAX_LENGTH: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
