//! What is made of the command line's own description: completion scripts and manual pages.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;

use crate::cli::CommandLine;

/// The completion script for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> String {
    // Into memory: written straight to a stream that closes early it would panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut for_people(), "keyferry", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

/// Writes the manual pages into a directory, which is made where there is none: `keyferry.1`, `keyferry-daemon.1`, ...
pub(crate) fn manual(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(for_people().disable_help_subcommand(true), directory)
}

/// The command line without its hidden commands, which the generators would show.
fn for_people() -> clap::Command {
    let all = CommandLine::command();
    let people = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .cloned()
        .collect::<Vec<_>>();
    clap::Command::new("keyferry")
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .long_about(all.get_long_about().cloned().unwrap_or_default())
        .after_help(all.get_after_help().cloned().unwrap_or_default())
        .subcommands(people)
}
