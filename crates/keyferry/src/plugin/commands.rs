//! The commands that install plugins, and those for their authors.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::PluginDirectories;
use crate::error::Error;
use crate::exit::{self, Exit};

use super::{conformance, install, scaffold};

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
    /// Write the beginnings of a plugin: a small package that builds and passes `plugin check` as it stands
    #[command(after_help = exit::HELP)]
    New(NewArguments),
    /// Check whether a library keeps the contract, against recorded and broken replies; nothing is sent
    ///
    /// Every operation is walked against the vendor's replies that its author recorded (conformance/*.json), and against
    /// what becomes of them when they are lost, cut, twisted and blown up. Prints each check, and for a failed one what
    /// to do; exits with 1 if one failed.
    #[command(after_help = exit::HELP)]
    Check(CheckArguments),
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

/// Options of `keyferry plugin new`.
#[derive(Args, Debug)]
pub(crate) struct NewArguments {
    /// The plugin's name: lower-case letters, digits and hyphens
    pub(super) name: String,
    /// The directory to write; it must not be there yet [default: the plugin's name]
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// The plugin kit: crates/keyferry-plugin of keyferry's sources
    #[arg(long, value_name = "DIR")]
    pub(super) kit: PathBuf,
}

/// Options of `keyferry plugin check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The library
    pub(super) library: PathBuf,
    /// Folder of the recorded replies [default: conformance in the current directory, where there is one]
    #[arg(long, value_name = "DIR")]
    pub(super) recorded: Option<PathBuf>,
    /// Fuzzed replies for each operation
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(super) rounds: usize,
    /// Seed of the fuzzed replies: the same seed gives the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Print JSON for programs
    #[arg(long)]
    pub(super) json: bool,
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
        LibraryCommand::New(arguments) => scaffold::new(arguments),
        LibraryCommand::Check(arguments) => conformance::check(arguments),
    }
}
