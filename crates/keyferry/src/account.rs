//! `keyferry account`: whether an account's credentials do, and what they need to be allowed.

use std::sync::Arc;

use keyferry_engine::config;
use keyferry_engine::desired::{Account, Desired};

use crate::catalogue::Catalogue;
use crate::cli::{AccountCommand, ConfigPlace};
use crate::error::Error;
use crate::exit::Exit;
use crate::{paths, plugin};

mod check;
mod policy;
pub(crate) mod report;

/// Runs one of the commands.
pub(crate) fn run(command: &AccountCommand) -> Result<Exit, Error> {
    match command {
        AccountCommand::Check(arguments) => check::run(arguments),
        AccountCommand::Policy(arguments) => policy::run(arguments),
    }
}

/// The config directory as it is now, and the plugins as its keyferry.toml has them.
fn open(place: &ConfigPlace) -> Result<(Arc<Desired>, Catalogue), Error> {
    let directory = paths::config(place.config.as_deref())?;
    if !directory.is_dir() {
        return Err(Error::ConfigMissing(directory));
    }
    let catalogue = plugin::open(&place.plugins, place.config.as_deref())?;
    let desired = config::read(&directory, &catalogue, None).desired();
    match desired.standstill() {
        Some(why) => Err(Error::Refused(format!(
            "{why}\n  `keyferry check` says what is wrong with it"
        ))),
        None => Ok((desired, catalogue)),
    }
}

/// The account of this name; of a name that is not there, the nearest that is, and what is wrong with its file.
fn named<'a>(desired: &'a Desired, name: &str) -> Result<&'a Arc<Account>, Error> {
    desired.accounts.get(name).ok_or_else(|| {
        let file = format!("accounts/{name}.toml");
        let report = desired.files.iter().find(|report| report.path.ends_with(&file));
        Error::Refused(match report.and_then(|report| report.message.as_deref()) {
            Some(message) => format!("account {name} cannot be used: {message}"),
            None => {
                let nearest = config::suggestion(name, desired.accounts.keys().map(String::as_str));
                format!("there is no account {name}: create {file}{nearest}")
            }
        })
    })
}
