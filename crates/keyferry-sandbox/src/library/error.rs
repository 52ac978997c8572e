//! Why a library is not used.

use std::io;
use std::path::PathBuf;

use keyferry_ownership::Distrust;
use keyferry_plugin::abi::{ABI_MAJOR, ABI_MINOR, SectionError};

use super::object_file::NotOurs;

/// Why a plugin library is not used. Each message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It was exchanged while it was looked at, or since.
    #[error("{} was replaced since it was checked: the new file is used at the next try", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system's loader refused it.
    #[error("{} cannot be loaded: {reason}", path.display())]
    Dlopen {
        /// The file.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// The file is not named like a plugin.
    #[error("{} is not named like a plugin: the library of `my-cloud` is {}", path.display(), super::file_name("my-cloud"))]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// It could not be copied to where nobody can change it.
    #[error("cannot make a private copy of {}: {source}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A link that leads out of its directory.
    #[error("{} is a link to {}, outside of its plugin directory: copy the library, or add its directory to plugin_dirs", path.display(), target.display())]
    LinkOutside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// It was built for another major version of the contract.
    #[error("{} is built for version {found} of the plugin contract, this keyferry has version {ABI_MAJOR}: install matching versions", path.display())]
    Major {
        /// The file.
        path: PathBuf,
        /// Its major version.
        found: u16,
    },
    /// The manifest breaks a rule.
    #[error("the manifest of {} is wrong: {place}: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where in the manifest: `operations.delete.calls[0]`.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// The manifest is not JSON of the form that we know.
    #[error("the manifest of {} is not understood: {source}{}", path.display(), newer_hint(*newer))]
    ManifestJson {
        /// The file.
        path: PathBuf,
        /// Whether the plugin was built for a newer minor version of the contract.
        newer: bool,
        /// The cause, with line and column.
        source: serde_json::Error,
    },
    /// The path is relative, or not UTF-8.
    #[error("{} must be an absolute path in UTF-8: name plugin directories from the root", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// No directory holds it.
    #[error(
        "there is no plugin {plugin:?}: looked for {} in {}",
        super::file_name(plugin),
        searched(directories)
    )]
    NotFound {
        /// The plugin's name.
        plugin: String,
        /// The directories that were searched.
        directories: Vec<PathBuf>,
    },
    /// It differs from what the user accepted.
    #[error(
        "{} is not the plugin that was pinned, so it is not loaded: {}; if you trust it, accept it with \
         `keyferry plugin pin {plugin}`, else install the one that you accepted",
        path.display(),
        shortened(differences)
    )]
    NotAsPinned {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// What differs, one each.
        differences: Vec<String>,
    },
    /// Nobody accepted it, and the settings ask for that.
    #[error(
        "{} is not pinned, and keyferry.toml has require_pins = true: look at it with `keyferry plugin info \
         {plugin}`, then accept it with `keyferry plugin pin {plugin}`",
        path.display()
    )]
    NotPinned {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
    },
    /// It is a directory, a device, a pipe.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// It is no plugin library of this machine.
    #[error("{} {reason}", path.display())]
    ObjectFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: NotOurs,
    },
    /// What the user accepted cannot be read.
    #[error("no plugin is loaded while its pin cannot be read: {reason}")]
    Pins {
        /// The file of the pins and what is wrong with it.
        reason: String,
    },
    /// Its manifest section is damaged.
    #[error("{} is damaged: {source}: install it again", path.display())]
    Section {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: SectionError,
    },
    /// The table that it exports is not what its header promised.
    #[error("{} exports a table that keyferry cannot use: {reason}: build it with the current plugin kit", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is larger than any plugin.
    #[error("{} has {length} bytes, a plugin has at most {}", path.display(), super::MAX_LENGTH)]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// Others could have written it.
    #[error("the plugin is not loaded: {0}")]
    Untrusted(#[from] Distrust),
}

/// So many that a message stays readable; `keyferry plugin pin` shows all.
fn shortened(differences: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = &differences[..differences.len().min(SHOWN)];
    match differences.len() - shown.len() {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

fn newer_hint(newer: bool) -> String {
    match newer {
        true => format!(
            " (it is built for a newer plugin contract than {ABI_MAJOR}.{ABI_MINOR}: update keyferry)"
        ),
        false => String::new(),
    }
}

fn searched(directories: &[PathBuf]) -> String {
    if directories.is_empty() {
        return "no directory: set plugin_dirs".to_owned();
    }
    let names: Vec<String> = directories
        .iter()
        .map(|directory| directory.display().to_string())
        .collect();
    names.join(", ")
}
