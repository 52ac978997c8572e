//! The `keyferry` program: commands, and the wiring between agent, engine and couriers.
//!
//! To read it, begin with `daemon.rs`, which lists what runs; `clouds.rs` joins the engine to the couriers.

use std::process::ExitCode;

use clap::Parser;

mod account;
mod adopt;
mod catalogue;
mod check;
mod cli;
mod clouds;
mod config_log;
mod control;
mod daemon;
mod error;
mod events;
mod exec;
mod exit;
mod generated;
mod harden;
mod history;
mod host;
mod hosts;
mod init;
mod key_ring;
mod logging;
mod new_file;
mod pairs;
mod paths;
mod pins;
mod plan;
mod plugin;
mod progress;
mod prompts;
mod request;
mod retire;
mod rotation;
mod runtime_directory;
mod service_manager;
mod signals;
mod ssh_agent;
mod status;
mod table;
mod trust;
mod when;

use cli::{Command, CommandLine, PluginCommand, Role};
use error::Error;
use exit::Exit;
use harden::Children;

/// Runs the program: reads the command line, runs the command, prints what went wrong.
pub fn main() -> ExitCode {
    if prompts::askpass::is_meant() {
        return prompts::askpass::main();
    }
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Fine
            };
            // There is nobody else to tell when the stream is closed.
            let _ = error.print();
            return exit.into();
        }
    };
    match run(command_line.command) {
        Ok(code) => code,
        Err(error) => {
            table::complain(&with_causes(&error));
            error.exit().into()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    // Commands read passwords and private keys too.
    let children = match command {
        Command::Exec(_) => Children::Users,
        _ => Children::Ours,
    };
    harden::process(children).map_err(Error::Harden)?;
    let exit = match command {
        Command::Account(command) => account::run(&command)?,
        Command::Adopt(arguments) => adopt::run(&arguments)?,
        Command::Exec(arguments) => return exec::run(&arguments),
        Command::Daemon(arguments) => daemon::run(&arguments)?,
        Command::Status(arguments) => status::status(&arguments)?,
        Command::Check(arguments) => check::run(&arguments)?,
        Command::Init(arguments) => init::run(&arguments)?,
        Command::Orphans(arguments) => pairs::orphans(&arguments)?,
        Command::Refresh(arguments) => pairs::refresh(&arguments)?,
        Command::Grant(arguments) => trust::grant(&arguments)?,
        Command::Recover(arguments) => trust::recover(&arguments)?,
        Command::Revoke(arguments) => trust::revoke(&arguments)?,
        Command::History(arguments) => history::run(&arguments)?,
        Command::Hold(arguments) => rotation::hold(&arguments)?,
        Command::Host(command) => host::run(&command)?,
        Command::Plan(arguments) => plan::run(&arguments)?,
        Command::Resume(arguments) => status::resume(&arguments)?,
        Command::Retire(arguments) => retire::run(&arguments)?,
        Command::Rollback(arguments) => rotation::rollback(&arguments)?,
        Command::Rotate(arguments) => rotation::rotate(&arguments)?,
        Command::Plugin(PluginCommand::List {
            plugins,
            config,
            json,
        }) => plugin::list(&plugins, config.as_deref(), json)?,
        Command::Plugin(PluginCommand::Info {
            name,
            plugins,
            config,
            json,
        }) => plugin::info(&name, &plugins, config.as_deref(), json)?,
        Command::Plugin(PluginCommand::Request(arguments)) => request::run(&arguments)?,
        Command::Plugin(PluginCommand::Library(command)) => plugin::commands::run(&command)?,
        Command::SshAgent(arguments) => ssh_agent::run(&arguments)?,
        Command::Completions { shell } => {
            table::print(&generated::completions(shell))?;
            Exit::Fine
        }
        Command::Manual { directory } => {
            generated::manual(&directory).map_err(|source| Error::Manual { directory, source })?;
            Exit::Fine
        }
        Command::Internal { role: Role::Courier } => return Ok(keyferry_courier::main()),
        Command::Internal { role: Role::Sandbox } => return Ok(keyferry_sandbox::process::main()),
    };
    Ok(exit.into())
}

/// The error and what caused it, unless its words repeat that already.
pub(crate) fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}
