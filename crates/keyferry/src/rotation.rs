//! `keyferry rotate`, `rollback` and `hold`.

use std::time::SystemTime;

use keyferry_engine::snapshot::{KeyPlan, RotationAsked, Snapshot};
use serde_json::json;

use crate::cli::{HoldArguments, RollbackArguments, RotateArguments};
use crate::control::client::{self, Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::prompts::answering::Answering;
use crate::table::{self, Style};
use crate::when;

pub(crate) mod course;
mod words;

use course::Course;

/// `keyferry rotate`.
pub(crate) fn rotate(arguments: &RotateArguments) -> Result<Exit, Error> {
    let door = Door::of(&arguments.runtime)?;
    let request = Request::Rotate {
        keys: arguments.keys.clone(),
        timeout_ms: arguments.wait.map(|seconds| seconds.saturating_mul(1_000)),
    };
    // Before anything is tried.
    let _answering = match arguments.wait {
        Some(_) => Some(Answering::start(&door, &arguments.keys, &[])?),
        None => None,
    };
    let mut conversation = Conversation::start(&door, &request)?;
    let (asked, snapshot) = match conversation.next()? {
        Answer::Rotating { asked, snapshot } => (asked, snapshot),
        Answer::Refused(message) => return Err(Error::Refused(with_hint(arguments, message))),
        other => return Err(client::strange(&other)),
    };
    if arguments.wait.is_none() {
        match arguments.json {
            true => print_json(&asked, &snapshot)?,
            false => table::print(&words::asked(&asked))?,
        }
        return Ok(Exit::Fine);
    }
    let mut progress = Progress::new();
    let line = |snapshot: &Snapshot| words::progress(&asked, snapshot, SystemTime::now());
    progress.show(&line(&snapshot));
    let (snapshot, timed_out) = loop {
        match conversation.next()? {
            Answer::Progress(snapshot) => progress.show(&line(&snapshot)),
            Answer::Status(snapshot) => break (snapshot, false),
            Answer::TimedOut(snapshot) => break (snapshot, true),
            Answer::Refused(message) => return Err(Error::Refused(message)),
            other => return Err(client::strange(&other)),
        }
    };
    drop(progress);
    let now = SystemTime::now();
    if arguments.json {
        print_json(&asked, &snapshot)?;
    } else {
        let plans = remaining(arguments)?;
        let text = words::result(&asked, &snapshot, &plans, now, Style::of_stdout());
        table::print(&table::wrapped(&text, table::width()))?;
    }
    if timed_out {
        table::complain("the time is over; the rotation goes on: see `keyferry status`");
    }
    let is_done = |asked: &RotationAsked| course::of(asked, &snapshot, now, now) == Course::Done;
    match asked.iter().all(is_done) {
        true => Ok(Exit::Fine),
        false => Ok(Exit::Failed),
    }
}

/// `--wait 60` names a key 60.
fn with_hint(arguments: &RotateArguments, message: String) -> String {
    let is_time = |key: &&String| key.bytes().all(|byte| byte.is_ascii_digit());
    let time = arguments
        .keys
        .iter()
        .find(is_time)
        .filter(|_| arguments.wait.is_some());
    match time {
        Some(time) if message.contains(&format!("no key named {time}")) => {
            format!("{message}\n  a time stands behind `=`: --wait={time}")
        }
        _ => message,
    }
}

/// What is still to come for these keys.
fn remaining(arguments: &RotateArguments) -> Result<Vec<KeyPlan>, Error> {
    let request = Request::Plan {
        keys: arguments.keys.clone(),
    };
    match client::ask(&arguments.runtime, &request) {
        Ok(Answer::Planned(plans)) => Ok(plans),
        // A key that ended meanwhile.
        Err(Error::Refused(_)) => Ok(Vec::new()),
        Ok(other) => Err(client::strange(&other)),
        Err(error) => Err(error),
    }
}

/// `keyferry rollback`.
pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<Exit, Error> {
    let request = Request::Rollback {
        key: arguments.key.clone(),
    };
    match client::ask(&arguments.runtime, &request)? {
        Answer::RolledBack(rolled_back) if arguments.json => table::print_json(&rolled_back)?,
        Answer::RolledBack(rolled_back) => {
            table::print(&table::wrapped(&words::rolled_back(&rolled_back), table::width()))?
        }
        other => return Err(client::strange(&other)),
    }
    Ok(Exit::Fine)
}

/// `keyferry hold`.
pub(crate) fn hold(arguments: &HoldArguments) -> Result<Exit, Error> {
    let request = Request::Hold {
        keys: arguments.keys.clone(),
        until: arguments.until,
        reason: arguments.reason.clone(),
    };
    match client::ask(&arguments.runtime, &request)? {
        Answer::Noted => {}
        other => return Err(client::strange(&other)),
    }
    if arguments.json {
        let held = json!({
            "keys": arguments.keys,
            "until": arguments.until,
            "reason": arguments.reason,
        });
        table::print_json(&held)?;
        return Ok(Exit::Fine);
    }
    let keys = arguments.keys.join(", ");
    let until = match arguments.until {
        Some(until) => format!("until {until} ({})", when::from_now(until, SystemTime::now())),
        None => format!("until `keyferry resume {}`", arguments.keys.join(" ")),
    };
    let text = format!(
        "on hold {until}: {keys}\n  they sign on; nothing is put on hosts or taken off but what keeps them working"
    );
    table::print(&table::wrapped(&text, table::width()))?;
    Ok(Exit::Fine)
}

fn print_json(asked: &[RotationAsked], snapshot: &Snapshot) -> Result<(), Error> {
    let value = json!({ "asked": asked, "keys": snapshot.keys });
    table::print_json(&value)
}
