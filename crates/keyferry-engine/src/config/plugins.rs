//! What the config side asks about plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyferry_plugin::manifest::Manifest;

/// The plugins that are there. The binary implements it.
///
/// Each reading asks for every plugin that an account names, so an implementation should remember what it found
/// and look again only at files that changed.
pub trait Plugins {
    /// Told once at the beginning of every reading, before anything is asked: `plugin_dirs` of `keyferry.toml`;
    /// empty: the built-in places. An implementation whose places are fixed need not listen.
    fn search_in(&self, directories: &[PathBuf]) {
        let _ = directories;
    }

    /// Told right after that: `[plugins] require_pins` of `keyferry.toml`; and at the end of a reading that it is so, where
    /// nobody knows what that file asks for.
    fn require_pins(&self, required: bool) {
        let _ = required;
    }

    /// The manifest of the plugin of that name.
    ///
    /// # Errors
    /// It is not there, or it is and cannot be used.
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, PluginProblem>;

    /// The names of all plugins that are there, for suggestions.
    fn names(&self) -> Vec<String>;
}

/// Why a plugin cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PluginProblem {
    /// There is none of that name.
    #[error("is in none of the plugin directories: {}", list(searched))]
    Missing {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// There is one, and it is not believed or not understood.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path: &PathBuf| Path::display(path).to_string())
        .collect();
    paths.join(", ")
}

/// What a reading learned about one plugin.
pub(super) type Lookup = Result<Arc<Manifest>, PluginProblem>;

/// Asks for each plugin once per reading.
pub(super) struct Catalogue<'p> {
    plugins: &'p dyn Plugins,
    found: BTreeMap<String, Lookup>,
}

impl<'p> Catalogue<'p> {
    pub(super) fn new(plugins: &'p dyn Plugins) -> Self {
        Self {
            plugins,
            found: BTreeMap::new(),
        }
    }

    pub(super) fn look_up(&mut self, plugin: &str) -> &Lookup {
        let plugins = self.plugins;
        self.found
            .entry(plugin.to_owned())
            .or_insert_with_key(|plugin| plugins.manifest(plugin))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.plugins.names()
    }

    pub(super) fn into_found(self) -> BTreeMap<String, Lookup> {
        self.found
    }
}
