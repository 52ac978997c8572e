//! `keyferry host`: hosts, and what a person says about them.

use std::time::SystemTime;

use keyferry_engine::snapshot::{ForgottenHost, HostCondition, HostStatus, Snapshot};
use serde_json::{Value, json};

use crate::cli::HostCommand;
use crate::control::client;
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::table::{self, Style, Table};
use crate::when;

/// `keyferry host`.
pub(crate) fn run(command: &HostCommand) -> Result<Exit, Error> {
    let (text, exit) = match command {
        HostCommand::List { runtime, json } => {
            let snapshot = match client::ask(runtime, &Request::Status)? {
                Answer::Status(snapshot) => snapshot,
                other => return Err(client::strange(&other)),
            };
            let exit = match snapshot.needs_person() || snapshot.has_failed_hosts() {
                true => Exit::Failed,
                false => Exit::Fine,
            };
            if *json {
                table::print(&for_programs(&snapshot)?)?;
                return Ok(exit);
            }
            // The table has seen to its width itself.
            table::print(&list(
                &snapshot,
                SystemTime::now(),
                Style::of_stdout(),
                table::width(),
            ))?;
            return Ok(exit);
        }
        HostCommand::Trust { runtime, host, json } => {
            let request = Request::TrustHost { host: host.clone() };
            let tried = tried(runtime, &request)?;
            if *json {
                table::print_json(&json!({ "tried": tried }))?;
                return Ok(Exit::Fine);
            }
            (trusted(&tried), Exit::Fine)
        }
        HostCommand::Retry { runtime, hosts, json } => {
            let request = Request::RetryHosts { hosts: hosts.clone() };
            let tried = tried(runtime, &request)?;
            if *json {
                table::print_json(&json!({ "tried": tried }))?;
                return Ok(Exit::Fine);
            }
            let text = match tried.as_slice() {
                [] => "nothing to try again: no host failed, is out of reach or blocked".to_owned(),
                hosts => format!(
                    "tried again: {}\n  `keyferry host list` shows what comes of it",
                    hosts.join(", ")
                ),
            };
            (text, Exit::Fine)
        }
        HostCommand::Forget {
            runtime,
            host,
            force,
            json,
        } => {
            let request = Request::ForgetHost {
                host: host.clone(),
                force: *force,
            };
            match client::ask(runtime, &request)? {
                Answer::HostForgotten(forgotten) if *json => {
                    table::print_json(&forgotten)?;
                    return Ok(Exit::Fine);
                }
                Answer::HostForgotten(forgotten) => (describe_forgotten(&forgotten), Exit::Fine),
                other => return Err(client::strange(&other)),
            }
        }
    };
    table::print(&table::wrapped(&text, table::width()))?;
    Ok(exit)
}

fn tried(runtime: &crate::cli::RuntimeArguments, request: &Request) -> Result<Vec<String>, Error> {
    match client::ask(runtime, request)? {
        Answer::HostsTried(hosts) => Ok(hosts),
        other => Err(client::strange(&other)),
    }
}

fn for_programs(snapshot: &Snapshot) -> Result<String, Error> {
    let as_error = |error: serde_json::Error| Error::Answer(error.to_string());
    let mut hosts = Vec::new();
    for key in &snapshot.keys {
        for host in &key.hosts {
            let mut value = serde_json::to_value(host).map_err(as_error)?;
            if let Value::Object(fields) = &mut value {
                fields.insert("key".to_owned(), json!(key.name));
            }
            hosts.push(value);
        }
    }
    serde_json::to_string_pretty(&hosts).map_err(as_error)
}

/// The hosts as a person reads them: a table, and below it what is wrong.
fn list(snapshot: &Snapshot, now: SystemTime, style: Style, width: Option<usize>) -> String {
    let mut rows: Vec<(&HostStatus, &str)> = snapshot
        .keys
        .iter()
        .flat_map(|key| key.hosts.iter().map(|host| (host, key.name.as_str())))
        .collect();
    if rows.is_empty() {
        return "no hosts yet: hosts = [...] in a key's file names them".to_owned();
    }
    rows.sort_by(|(one, key), (other, another)| (&one.host, key).cmp(&(&other.host, another)));
    let mut table = Table::new(&["HOST", "STATE", "KEY", "GEN", "LAST LOGIN", "AFTER A RESTART"]);
    for (host, key) in &rows {
        table.row(vec![
            host.host.clone(),
            style.state(host.state.name()),
            (*key).to_owned(),
            host.generation.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            host.verified_at
                .map_or_else(|| "never".to_owned(), |at| when::from_now(at, now)),
            crate::status::rotation::after_reboot(host.after_reboot).to_owned(),
        ]);
    }
    let mut text = table.render_within(style, width);
    if snapshot.locked {
        text.push_str(&format!("\n{}\n", crate::status::locked(style)));
    }
    let mut problems = String::new();
    for (host, key) in &rows {
        if let Some(error) = &host.error {
            let subject = style.bad(&format!("{} (key {key})", host.host));
            problems.push_str(&format!("\n{subject}: {}\n", error.message));
            if let Some(at) = error.retry_at {
                problems.push_str(&format!("  next try: {at}\n"));
            }
            if let Some(remedy) = &error.remedy {
                problems.push_str(&format!("  what to do: {remedy}\n"));
            }
        }
        if !host.listed && host.state != HostCondition::Forgotten {
            problems.push_str(&format!(
                "\n{} (key {key}): no file lists it any more; its lines are looked after until `keyferry host forget`\n",
                host.host
            ));
        }
    }
    text.push_str(&table::wrapped(&problems, width));
    text.truncate(text.trim_end().len());
    text
}

fn trusted(logins: &[String]) -> String {
    let logins = logins.join(", ");
    format!(
        "tried again, with the host key that answers now: {logins}\n  known_hosts is ssh's own business: where ssh itself \
         objects to the key, compare it with what the machine's owner says, take the old one out (ssh-keygen -R HOST) and \
         log in once by hand"
    )
}

fn describe_forgotten(forgotten: &ForgottenHost) -> String {
    let mut text = format!("given up: {}\n", forgotten.host);
    match forgotten.lines.as_slice() {
        [] => text.push_str("  keyferry knows of no line of its own there\n"),
        lines => text.push_str(&format!(
            "  {} there, and work as long as somebody has the private half:\n",
            if lines.len() == 1 {
                "this line stays"
            } else {
                "these lines stay"
            }
        )),
    }
    for line in &forgotten.lines {
        // What stands there is for copying: it is not broken.
        let marker = line
            .line
            .as_deref()
            .and_then(|line| line.split_once(" keyferry "))
            .map(|(_, marker)| format!(" (keyferry {marker})"))
            .unwrap_or_default();
        text.push_str(&format!(
            "    key {} generation {}{marker}\n",
            line.key, line.generation
        ));
    }
    text.push_str(&format!(
        "  `keyferry host retry {}` takes it up again",
        forgotten.host
    ));
    text
}

#[cfg(test)]
mod tests;
