//! The commands that install plugins, and those for their authors.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::PluginDirectories;
use crate::error::Error;
use crate::exit::{self, Exit};

use super::install;

/// Commands below `keyferry plugin` that change something, or help authors.
#[derive(Debug, Subcommand)]
pub(crate) enum LibraryCommand {
    /// Install a plugin: look at the library without running its code, copy it, and pin it
    ///
    /// Prints what the plugin may do: hosts, calls, files, variables. From then on it is loaded only while its library
    /// is the very same. With the name of a plugin that is there already, it replaces that one.
    #[command(after_help = exit::HELP)]
    Add(AddArguments),
    /// Remove a plugin that `plugin add` installed, and its pin
    #[command(after_help = exit::HELP)]
    Remove(RemoveArguments),
    /// Accept a plugin as it is now: show what changed since it was pinned, and pin it
    #[command(after_help = exit::HELP)]
    Pin(PinArguments),
}

/// Options of `keyferry plugin add`.
#[derive(Args, Debug)]
pub(crate) struct AddArguments {
    /// The library: libkeyferry_NAME.so, on macOS .dylib
    pub(super) file: PathBuf,
    /// One of the directories where plugins are looked for [default: $XDG_DATA_HOME/keyferry/plugins, else
    /// ~/.local/share/keyferry/plugins]
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// Show what would be installed, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Options of `keyferry plugin remove`.
#[derive(Args, Debug)]
pub(crate) struct RemoveArguments {
    /// The plugin's name
    pub(super) name: String,
    /// The directory that it was added to [default: as for `plugin add`]
    #[arg(long, value_name = "DIR")]
    pub(super) from: Option<PathBuf>,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Options of `keyferry plugin pin`.
#[derive(Args, Debug)]
pub(crate) struct PinArguments {
    /// The plugin's name
    pub(super) name: String,
    /// Show what changed, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Where plugins and pins are.
#[derive(Args, Debug)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(super) plugins: PluginDirectories,
    /// Config directory, for keyferry.toml's plugin_dirs and for the pins (plugins.lock) [default: as for the daemon]
    #[arg(long, value_name = "DIR")]
    pub(super) config: Option<PathBuf>,
}

/// Runs one of them.
pub(crate) fn run(command: &LibraryCommand) -> Result<Exit, Error> {
    match command {
        LibraryCommand::Add(arguments) => install::add(arguments),
        LibraryCommand::Remove(arguments) => install::remove(arguments),
        LibraryCommand::Pin(arguments) => install::pin(arguments),
    }
}
