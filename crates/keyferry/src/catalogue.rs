//! The plugins that can be found, and what they say about themselves.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_engine::config::{PluginProblem, Plugins};
use keyferry_engine::snapshot::{PluginStatus, StatusError};
use keyferry_plugin::manifest::Manifest;
use keyferry_sandbox::LoadError;
use keyferry_sandbox::library::{self, LibraryFacts};

use crate::error::Error;
use crate::paths;
use crate::pins::{PinFile, Pins};

/// The plugins in the configured directories. Shared by the config side, the couriers and status.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// `--plugin-dir`, which beats the file.
    flag: Vec<PathBuf>,
    /// None without a config directory: then nothing is pinned.
    pins: Option<PinFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    directories: Vec<PathBuf>,
    require_pins: bool,
    /// What was read from a file, for as long as the file stays the same.
    read: HashMap<PathBuf, (Stamp, Arc<LibraryFacts>)>,
}

/// A plugin that was found.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Which, where, and why it is not loaded.
    pub(crate) status: PluginStatus,
    /// `pinned`, `not pinned`, `differs`, or `unknown` where the pins cannot be read.
    pub(crate) pin: &'static str,
}

/// Tells one version of a file from another without reading it.
type Stamp = (u64, u64, u64, i64, i64);

impl Catalogue {
    /// A catalogue that looks in `--plugin-dir`, else where `keyferry.toml` says, else in the built-in places, and holds
    /// plugins to the pins of that config directory.
    ///
    /// # Errors
    /// When a directory cannot be made absolute.
    pub(crate) fn new(flag: &[PathBuf], config_directory: Option<&Path>) -> Result<Self, Error> {
        let flag: Vec<PathBuf> = flag
            .iter()
            .map(|path| paths::absolute(path))
            .collect::<Result<_, _>>()?;
        let directories = paths::plugin_dirs(&flag, &[])?;
        Ok(Self {
            flag,
            pins: config_directory.map(PinFile::new),
            state: Mutex::new(State {
                directories,
                ..State::default()
            }),
        })
    }

    /// What a plugin's library says about itself, if it may be loaded: it is what was pinned, where it was.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with which file.
    pub(crate) fn facts(&self, plugin: &str) -> Result<Arc<LibraryFacts>, LoadError> {
        let facts = self.inspected(plugin)?;
        self.held_to(&self.pins(), facts)
    }

    /// What a plugin's library says about itself, whether or not it may be loaded.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with which file.
    pub(crate) fn inspected(&self, plugin: &str) -> Result<Arc<LibraryFacts>, LoadError> {
        self.inspect(&library::find(&self.directories(), plugin)?)
    }

    /// All plugins for `keyferry status` and `keyferry plugin list`.
    pub(crate) fn statuses(&self) -> Vec<PluginStatus> {
        self.list().into_iter().map(|listed| listed.status).collect()
    }

    /// All plugins, and how they stand to their pins.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let pins = self.pins();
        library::list(&self.directories())
            .into_iter()
            .map(|found| {
                let facts = self.inspect(&found.path);
                let pin = match (&pins, &facts) {
                    (Ok(pins), Ok(facts)) => match pins.get(&facts.name) {
                        None => "not pinned",
                        Some(pin) if pin.differences(facts).is_empty() => "pinned",
                        Some(_) => "differs",
                    },
                    (Ok(pins), Err(_)) if pins.contains_key(&found.plugin) => "pinned",
                    (Ok(_), Err(_)) => "not pinned",
                    (Err(_), _) => "unknown",
                };
                let version = facts.as_ref().ok().map(|facts| facts.version.clone());
                let error = facts.and_then(|facts| self.held_to(&pins, facts)).err();
                let status = PluginStatus {
                    name: found.plugin,
                    version,
                    path: found.path.display().to_string(),
                    error: error.map(|error| StatusError::of_plugin(error.to_string())),
                };
                Listed { status, pin }
            })
            .collect()
    }

    /// The file of the pins.
    ///
    /// # Errors
    /// There is no config directory.
    pub(crate) fn pin_file(&self) -> Result<&PinFile, Error> {
        self.pins.as_ref().ok_or(Error::NoHome)
    }

    /// The pins, read anew: there are few, and the file may change at any time.
    fn pins(&self) -> Result<Pins, String> {
        self.pins.as_ref().map_or_else(|| Ok(Pins::new()), PinFile::read)
    }

    fn held_to(
        &self,
        pins: &Result<Pins, String>,
        facts: Arc<LibraryFacts>,
    ) -> Result<Arc<LibraryFacts>, LoadError> {
        let pins = pins.as_ref().map_err(|reason| LoadError::Pins {
            reason: reason.clone(),
        })?;
        let (path, plugin) = (facts.path.clone(), facts.name.clone());
        match pins.get(&plugin).map(|pin| pin.differences(&facts)) {
            None if self.lock().require_pins => Err(LoadError::NotPinned { path, plugin }),
            Some(differences) if !differences.is_empty() => Err(LoadError::NotAsPinned {
                path,
                plugin,
                differences,
            }),
            None | Some(_) => Ok(facts),
        }
    }

    /// Where plugins are looked for.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.lock().directories.clone()
    }

    fn inspect(&self, path: &Path) -> Result<Arc<LibraryFacts>, LoadError> {
        let stamp = stamp(path);
        let known = self.lock().read.get(path).cloned();
        if let (Some(stamp), Some((known, facts))) = (stamp, known)
            && stamp == known
        {
            // Its folders may have been opened to others since.
            keyferry_ownership::check(path)?;
            return Ok(facts);
        }
        // No lock is held while the disk works.
        let facts = Arc::new(library::inspect(path)?);
        if let Some(stamp) = stamp {
            self.lock()
                .read
                .insert(path.to_owned(), (stamp, Arc::clone(&facts)));
        }
        Ok(facts)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change is a single assignment, so that a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugins for Catalogue {
    fn search_in(&self, directories: &[PathBuf]) {
        match paths::plugin_dirs(&self.flag, directories) {
            Ok(directories) => self.lock().directories = directories,
            Err(error) => tracing::warn!(%error, "plugin directories stay as they were"),
        }
    }

    fn require_pins(&self, required: bool) {
        self.lock().require_pins = required;
    }

    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, PluginProblem> {
        match self.facts(plugin) {
            Ok(facts) => Ok(Arc::new(facts.manifest.clone())),
            Err(LoadError::NotFound { directories, .. }) => Err(PluginProblem::Missing {
                searched: directories,
            }),
            Err(error) => {
                let path = library::find(&self.directories(), plugin).unwrap_or_default();
                Err(PluginProblem::Unusable {
                    path,
                    reason: error.to_string(),
                })
            }
        }
    }

    fn names(&self) -> Vec<String> {
        library::list(&self.directories())
            .into_iter()
            .map(|found| found.plugin)
            .collect()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}
