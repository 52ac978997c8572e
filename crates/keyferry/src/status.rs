//! `keyferry status` and `keyferry resume`.

use std::time::SystemTime;

use keyferry_engine::snapshot::{KeyState, KeyStatus, LOCKED, RegionState, Snapshot, StatusError};
use serde_json::json;

use crate::cli::{ResumeArguments, StatusArguments};
use crate::control::client::{Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::table::{self, Style};

pub(crate) mod rotation;

/// `keyferry status`.
pub(crate) fn status(arguments: &StatusArguments) -> Result<Exit, Error> {
    let door = Door::of(&arguments.runtime)?;
    let request = match arguments.wait {
        Some(seconds) => Request::Wait {
            timeout_ms: seconds.saturating_mul(1000),
        },
        None => Request::Status,
    };
    let mut conversation = Conversation::start_soon(&door, &request, arguments.wait.unwrap_or(0))?;
    let mut progress = Progress::new();
    let (snapshot, timed_out) = loop {
        match conversation.next()? {
            Answer::Progress(snapshot) => progress.show(&waited_for(&snapshot)),
            Answer::Status(snapshot) => break (snapshot, false),
            Answer::TimedOut(snapshot) => break (snapshot, true),
            Answer::Refused(message) => return Err(Error::Refused(message)),
            other => return Err(Error::Answer(format!("{other:?} to a question for status"))),
        }
    };
    drop(progress);
    if arguments.json {
        let text =
            serde_json::to_string_pretty(&snapshot).map_err(|error| Error::Answer(error.to_string()))?;
        table::print(&text)?;
    } else {
        let style = Style::of_stdout();
        table::print(&describe(&snapshot, SystemTime::now(), style, table::width()))?;
    }
    if timed_out {
        let missing: Vec<String> = snapshot
            .unsettled(SystemTime::now())
            .map(|key| format!("{} ({})", key.name, key.state.name()))
            .collect();
        let missing = match missing.as_slice() {
            [] => "the config directory, which is still being read".to_owned(),
            keys => keys.join(", "),
        };
        table::complain(&format!("the time is over; still missing: {missing}"));
        return Ok(Exit::Failed);
    }
    let has_failed = |key: &KeyStatus| {
        key.state == KeyState::Failed
            || key
                .regions
                .iter()
                .any(|region| region.state == RegionState::Failed)
    };
    let failed = arguments.wait.is_some() && snapshot.keys.iter().any(has_failed);
    match failed || snapshot.has_failed_hosts() || snapshot.needs_person() {
        true => Ok(Exit::Failed),
        false => Ok(Exit::Fine),
    }
}

/// `keyferry resume`.
pub(crate) fn resume(arguments: &ResumeArguments) -> Result<Exit, Error> {
    let door = Door::of(&arguments.runtime)?;
    let request = Request::Resume {
        keys: arguments.keys.clone(),
    };
    match Conversation::start(&door, &request)?.next()? {
        Answer::Resumed(keys) if arguments.json => table::print_json(&json!({ "resumed": keys }))?,
        Answer::Resumed(keys) if keys.is_empty() => {
            table::print("nothing to resume: no key is held, and nothing waits to be tried again")?
        }
        Answer::Resumed(keys) => table::print(&format!("resumed: {}", keys.join(", ")))?,
        Answer::Refused(message) => return Err(Error::Refused(message)),
        other => return Err(Error::Answer(format!("{other:?} to a question for resume"))),
    }
    Ok(Exit::Fine)
}

/// That the agent is locked, and what follows from it.
pub(crate) fn locked(style: Style) -> String {
    format!(
        "{}: no key lists or signs, and nothing is done at hosts, until it is unlocked",
        style.bad(LOCKED)
    )
}

/// The status as a person reads it.
fn describe(snapshot: &Snapshot, now: SystemTime, style: Style, width: Option<usize>) -> String {
    let mut text = String::new();
    let mut keys = table::Table::new(&["KEY", "STATE", "GEN", "ACCOUNT", "ALGORITHM", "FINGERPRINT"]);
    for key in &snapshot.keys {
        keys.row(vec![
            key.name.clone(),
            style.state(key.state.name()),
            key.generation.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            key.account.clone().unwrap_or_else(|| "-".to_owned()),
            key.algorithm.clone().unwrap_or_else(|| "-".to_owned()),
            key.fingerprint.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    if snapshot.keys.is_empty() {
        text.push_str("no keys yet: each file keys/NAME.toml in the config directory declares one\n");
    } else {
        text.push_str(&keys.render(style));
    }
    let rest = text.len();
    if snapshot.locked {
        text.push_str(&format!("\n{}\n", locked(style)));
    }
    text.push_str(&rotation::describe(snapshot, now, style));
    if snapshot.keys.iter().any(|key| key.state == KeyState::Held) {
        text.push_str("\nheld keys, taken away with ssh-add -d or -D, neither list nor sign: keyferry resume brings them back\n");
    }
    let problems = snapshot
        .keys
        .iter()
        .flat_map(|key| {
            let own = key
                .error
                .as_ref()
                .map(|error| (format!("key {}", key.name), error));
            // What is said of the key itself need not be said of its region too.
            let hosts = key.hosts.iter().filter_map(|host| {
                let error = host
                    .error
                    .as_ref()
                    .filter(|error| key.error.as_ref() != Some(*error))?;
                Some((format!("key {} at {}", key.name, host.host), error))
            });
            let regions = key.regions.iter().filter_map(|region| {
                let error = region
                    .error
                    .as_ref()
                    .filter(|error| key.error.as_ref() != Some(*error))?;
                let place = region.region.as_deref().map(|region| format!(" in {region}"));
                Some((format!("key {}{}", key.name, place.unwrap_or_default()), error))
            });
            own.into_iter().chain(regions).chain(hosts)
        })
        .chain(
            snapshot
                .accounts
                .iter()
                .filter_map(|account| Some((format!("account {}", account.name), account.error.as_ref()?))),
        )
        .chain(
            snapshot
                .plugins
                .iter()
                .filter_map(|plugin| Some((format!("plugin {}", plugin.name), plugin.error.as_ref()?))),
        )
        .chain(snapshot.trusted.iter().filter_map(|line| {
            // What waits for the key itself is said of that.
            let error = line.error.as_ref().filter(|error| error.kind != "waiting")?;
            let purpose = line.purpose.name();
            Some((format!("key {} at {} ({purpose})", line.key, line.host), error))
        }))
        .chain(
            snapshot
                .ledger
                .iter()
                .map(|error| ("the ledger".to_owned(), error)),
        )
        .chain(snapshot.revoked.iter().filter_map(|row| {
            let subject = format!("lines of {} on {}", row.lines_of, row.host);
            Some((subject, row.error.as_ref()?))
        }));
    // One account without credentials would else say the same once for each of its keys.
    let mut groups: Vec<(Vec<String>, &StatusError)> = Vec::new();
    for (subject, error) in problems {
        let said = |(_, known): &&mut (Vec<String>, &StatusError)| {
            (&known.message, &known.code, &known.remedy) == (&error.message, &error.code, &error.remedy)
        };
        match groups.iter_mut().find(said) {
            Some((subjects, _)) => subjects.push(subject),
            None => groups.push((vec![subject], error)),
        }
    }
    for (subjects, error) in groups {
        let mut named = subjects
            .iter()
            .take(MOST_NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if subjects.len() > MOST_NAMED {
            named.push_str(&format!(" and {} more", subjects.len() - MOST_NAMED));
        }
        text.push_str(&format!("\n{}: {}\n", style.bad(&named), error.message));
        let retry_at = error.retry_at.map(|at| at.to_string());
        let facts = [
            ("vendor's code", &error.code),
            ("request id", &error.request_id),
            ("next try", &retry_at),
        ];
        for (name, value) in facts {
            if let Some(value) = value {
                text.push_str(&format!("  {name}: {value}\n"));
            }
        }
        if let Some(remedy) = &error.remedy {
            text.push_str(&format!("  what to do: {remedy}\n"));
        }
    }
    for file in &snapshot.files {
        if let Some(message) = &file.message {
            let place = match (file.line, file.column) {
                (Some(line), Some(column)) => format!("{}:{line}:{column}", file.path),
                _ => file.path.clone(),
            };
            text.push_str(&format!(
                "\n{} ({}): {message}\n",
                style.bad(&place),
                file.state.name()
            ));
        }
    }
    for account in snapshot.accounts.iter().filter(|account| account.insecure_http) {
        text.push_str(&format!(
            "\naccount {} talks plain http to {}\n",
            account.name,
            account.endpoint.as_deref().unwrap_or("-")
        ));
    }
    text.truncate(text.trim_end().len());
    // The table has its own width, and what is below it is for reading.
    let below = text.split_off(rest.min(text.len()));
    text.push_str(&table::wrapped(&below, width));
    text
}

/// How many keys an error that they share names.
const MOST_NAMED: usize = 5;

/// What is being waited for.
fn waited_for(snapshot: &Snapshot) -> String {
    let missing: Vec<&str> = snapshot
        .unsettled(SystemTime::now())
        .map(|key| key.name.as_str())
        .collect();
    let settled = snapshot.keys.len() - missing.len();
    let first = missing.first().copied().unwrap_or("-");
    format!(
        "{settled} of {} keys; waiting for {first} ...",
        snapshot.keys.len()
    )
}
