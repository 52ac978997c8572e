//! `plugins.lock`: the plugins that the user accepted, each with what it was accepted as.
//!
//! It stands in the config directory, not with the daemon's state: it is a decision of the user's, like the files beside
//! it; it is reviewed and kept with them, is judged by the same rule (ours or root's, writable by nobody else), and whoever
//! clears the state directory does not lose it, which would let anything in unseen.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keyferry_ownership::OpenError;
use keyferry_sandbox::library::Pin;
use rustix::fs::FlockOperation;
use serde::Deserialize;

/// The pins by the plugin's name.
pub(crate) type Pins = BTreeMap<String, Pin>;

/// The file of the pins.
#[derive(Clone, Debug)]
pub(crate) struct PinFile {
    path: PathBuf,
}

impl PinFile {
    /// That of a config directory.
    pub(crate) fn new(config_directory: &Path) -> Self {
        Self {
            path: config_directory.join("plugins.lock"),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All pins; none where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, is not to be trusted, or is not understood: in words, with the way out.
    pub(crate) fn read(&self) -> Result<Pins, String> {
        let path = &self.path;
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pins::new()),
            _ => keyferry_ownership::check(path).map_err(|error| error.to_string())?,
        }
        let io = |error: io::Error| format!("cannot read {}: {error}", path.display());
        let (file, _) = keyferry_ownership::open_regular(path).map_err(|error| match error {
            OpenError::NotAFile => format!("{} is not a regular file", path.display()),
            OpenError::Io(error) => io(error),
        })?;
        let mut text = String::new();
        file.take(MAX_LENGTH + 1).read_to_string(&mut text).map_err(io)?;
        if text.len() as u64 > MAX_LENGTH {
            return Err(format!("{} is longer than {MAX_LENGTH} bytes", path.display()));
        }
        let content: Content = toml::from_str(&text).map_err(|error| {
            format!(
                "{} is not understood: {}: mend it, or take the file away and pin the plugins again",
                path.display(),
                error.to_string().trim().replace('\n', " ")
            )
        })?;
        if content.version != VERSION {
            return Err(format!(
                "{} has version {}, this keyferry knows version {VERSION}: update keyferry",
                path.display(),
                content.version
            ));
        }
        Ok(content.plugins)
    }

    /// Reads, changes and writes the pins; of several that do this at the same time, one after the other.
    ///
    /// # Errors
    /// As for [`read`](Self::read), or the file cannot be written.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Pins)) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot write {}: {error}", self.path.display());
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let lock = File::open(directory).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut pins = self.read()?;
        change(&mut pins);
        // Where the file is a link, into a repository of settings for example, it stays one.
        let target = match self.path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.path.clone()),
            target => target,
        };
        replace(&target.map_err(failed)?, to_text(&pins).as_bytes(), 0o644).map_err(failed)
    }
}

/// Puts a file with this content in the place of what is there, at once: who opens it sees the old one or the new one.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!(".{name}.{}.new", std::process::id()));
    // What an earlier attempt left; a process of that id does not live any more.
    let _ = fs::remove_file(&new);
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&new)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode as _))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    #[serde(default)]
    plugins: Pins,
}

/// One entry a line and everything sorted, so that a change is seen where it is.
fn to_text(pins: &Pins) -> String {
    let mut text = format!("{HEADING}\nversion = {VERSION}\n");
    for (name, pin) in pins {
        text.push_str(&format!("\n[plugins.{name}]\n"));
        for (field, value) in [("version", &pin.version), ("sha256", &pin.sha256)] {
            text.push_str(&format!("{field} = {}\n", quoted(value)));
        }
        for (field, values) in [
            ("hosts", &pin.hosts),
            ("calls", &pin.calls),
            ("files", &pin.files),
            ("variables", &pin.variables),
            ("commands", &pin.commands),
        ] {
            if values.is_empty() {
                text.push_str(&format!("{field} = []\n"));
                continue;
            }
            text.push_str(&format!("{field} = [\n"));
            for value in values {
                text.push_str(&format!("    {},\n", quoted(value)));
            }
            text.push_str("]\n");
        }
    }
    text
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

const VERSION: u32 = 1;
const MAX_LENGTH: u64 = 4 * 1024 * 1024;
const HEADING: &str = "\
# The plugins that you accepted, and what they were then. keyferry loads a plugin that is named here only while its
# library is the very same. Written by `keyferry plugin add`, `pin` and `remove`.";

#[cfg(test)]
mod tests;
