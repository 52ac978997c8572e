//! `keyferry account check`.

use std::fs;

use keyferry_courier::{Courier, Hooks};
use keyferry_engine::desired::Account;
use serde_json::json;

use super::report::AccountReport;
use super::{named, open};
use crate::catalogue::Catalogue;
use crate::cli::AccountCheckArguments;
use crate::control::adopt::{AdoptAnswer, AdoptRequest};
use crate::control::client::{self, Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::table::{self, Style};
use crate::{clouds, logging, paths};

/// Asks the daemon; where there is none, looks by itself.
pub(crate) fn run(arguments: &AccountCheckArguments) -> Result<Exit, Error> {
    let door = Door::of(&arguments.runtime)?;
    if names_other_places(arguments)? && door.is_answered()? {
        return Err(Error::Refused(
            "the daemon is running, and looks at its own config directory and plugins\n  leave --config and --plugin-dir out, or \
             have it done without a daemon: --runtime DIR names a directory where none runs"
                .to_owned(),
        ));
    }
    let (reports, by_daemon) = match ask(&door, arguments.name.as_deref()) {
        Err(Error::NotRunning(_)) => (look(arguments)?, false),
        reports => (reports?, true),
    };
    if arguments.json {
        let accounts = json!({"accounts": reports, "by_daemon": by_daemon});
        table::print(&format!("{accounts:#}"))?;
    } else {
        if !by_daemon {
            table::print("the daemon is not running: looked for in this shell's environment\n")?;
        }
        for report in &reports {
            table::print(&describe(report, by_daemon))?;
        }
        if reports.is_empty() {
            table::print("there are no accounts: `keyferry init` offers some")?;
        }
    }
    let good = reports.iter().all(|report| report.error.is_none());
    Ok(if good { Exit::Fine } else { Exit::Failed })
}

/// Whether the user wants other places looked at than those that a running daemon has.
fn names_other_places(arguments: &AccountCheckArguments) -> Result<bool, Error> {
    let place = &arguments.place;
    let Some(config) = &place.config else {
        return Ok(!place.plugins.plugin_dirs.is_empty());
    };
    let daemons = match client::ask(&arguments.runtime, &Request::Adopt(AdoptRequest::Places)) {
        Ok(Answer::Adopt(AdoptAnswer::Places { config_directory, .. })) => config_directory,
        Err(Error::NotRunning(_)) => return Ok(false),
        Ok(other) => return Err(client::strange(&other)),
        Err(error) => return Err(error),
    };
    let config = paths::absolute(config)?;
    let is_the_same = match (fs::canonicalize(&config), fs::canonicalize(&daemons)) {
        (Ok(named), Ok(daemons)) => named == daemons,
        _ => config == daemons,
    };
    Ok(!is_the_same || !place.plugins.plugin_dirs.is_empty())
}

fn ask(door: &Door, name: Option<&str>) -> Result<Vec<AccountReport>, Error> {
    let request = Request::CheckAccounts {
        name: name.map(str::to_owned),
    };
    let mut conversation = Conversation::start(door, &request)?;
    match table::while_waiting(WAITING, || conversation.next())? {
        Answer::AccountsChecked(reports) => Ok(reports),
        Answer::Refused(why) => Err(Error::Refused(why)),
        _ => Err(Error::Answer("it answers another question".to_owned())),
    }
}

/// As the daemon would, in this process's own environment.
fn look(arguments: &AccountCheckArguments) -> Result<Vec<AccountReport>, Error> {
    let _log = logging::start();
    let (desired, catalogue) = open(&arguments.place)?;
    let accounts = match &arguments.name {
        Some(name) => vec![named(&desired, name)?.clone()],
        None => desired.accounts.values().cloned().collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let mut reports = Vec::new();
    for account in accounts {
        let network = &desired.daemon.network;
        reports.push(table::while_waiting(WAITING, || {
            runtime.block_on(look_at(&account, &catalogue, network))
        }));
    }
    Ok(reports)
}

async fn look_at(
    account: &Account,
    catalogue: &Catalogue,
    network: &keyferry_engine::desired::NetworkSettings,
) -> AccountReport {
    let facts = match catalogue.facts(&account.plugin) {
        Ok(facts) => facts,
        Err(error) => return AccountReport::failed(account, "plugin", error.to_string()),
    };
    let setup = clouds::courier_setup(account, network, &facts);
    match Courier::spawn(&clouds::role("courier"), setup, Hooks::default()) {
        Ok(courier) => AccountReport::obtain(account, &facts.manifest, &courier).await,
        Err(error) => AccountReport::failed(account, "process", error.to_string()),
    }
}

fn describe(report: &AccountReport, by_daemon: bool) -> String {
    let style = Style::of_stdout();
    let mut text = format!("{} ({})\n", style.heading(&report.name), report.plugin);
    for attempt in &report.attempts {
        text.push_str(&format!("  no: {attempt}\n"));
    }
    if let Some(source) = &report.source {
        let until = report.expires_at.as_ref().map(|end| format!(", until {end}"));
        text.push_str(&format!("  credentials: {source}{}\n", until.unwrap_or_default()));
    }
    match (&report.error, &report.tried) {
        (Some(error), _) => {
            let code = error.code.as_ref().map(|code| format!(" ({code})"));
            text.push_str(&format!(
                "  {}{}\n",
                style.bad(&error.message),
                code.unwrap_or_default()
            ));
            if let Some(id) = &error.request_id {
                text.push_str(&format!("  request id: {id}\n"));
            }
            if error.kind == UNAUTHORIZED {
                let name = &report.name;
                text.push_str(&format!(
                    "  what it must be allowed: keyferry account policy {name}\n"
                ));
            }
        }
        (None, Some(operation)) => text.push_str(&format!("  {operation}: the vendor takes them\n")),
        (None, None) => {}
    }
    if by_daemon {
        text.push_str(&only_here(report));
    }
    text
}

/// Variables that this shell has and the daemon has not: the usual reason why what works here does not work there.
fn only_here(report: &AccountReport) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let missing: Vec<&str> = report
        .variables
        .iter()
        .filter(|(name, set)| !**set && is_set(name))
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        return String::new();
    }
    let names = missing.join(" ");
    format!(
        "  set in this shell, and not in the daemon: {names}\n  start the daemon from this shell, or as a service: \
         systemctl --user import-environment {names}; then start it again\n"
    )
}

const WAITING: &str = "asking for credentials, and the clouds with them";
/// The contract's word for it.
const UNAUTHORIZED: &str = "unauthorized";
