//! `keyferry grant`, `revoke` and `recover`: other public keys than keyferry's own.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use keyferry_engine::config;
use keyferry_engine::ledger::Purpose;
use keyferry_engine::snapshot::{StatusError, TrustedStatus};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{GrantArguments, RecoverArguments};
use crate::control::client::{self, Door};
use crate::control::trust::{TrustAnswer, TrustRequest};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::prompts::answering::Answering;
use crate::table::{self, Style, Table, print_json};
use crate::when;

mod attaching;
mod revoking;
mod words;

pub(crate) use attaching::meaning_for_instance;
pub(crate) use revoking::revoke;

/// `keyferry grant`.
pub(crate) fn grant(arguments: &GrantArguments) -> Result<Exit, Error> {
    let (Some(file), Some(key), Some(until)) = (&arguments.file, &arguments.key, arguments.until) else {
        return list(arguments);
    };
    let public_key = public_key(file)?;
    let request = TrustRequest::Grant {
        public_key,
        key: key.clone(),
        until,
        hosts: arguments.hosts.clone(),
    };
    let lines = match ask(&arguments.runtime, request, "putting the key on the hosts")? {
        TrustAnswer::Granted(lines) => lines,
        other => return under_way(other, "keyferry grant --list"),
    };
    if arguments.json {
        print_json(&json!({ "granted": lines }))?;
    } else {
        table::print(&table::wrapped(
            &words::granted(&lines, key, until, SystemTime::now(), Style::of_stdout()),
            table::width(),
        ))?;
    }
    Ok(outcome(lines.iter().map(|line| &line.error)))
}

fn list(arguments: &GrantArguments) -> Result<Exit, Error> {
    let snapshot = match client::ask(&arguments.runtime, &Request::Status)? {
        Answer::Status(snapshot) => snapshot,
        other => return Err(client::strange(&other)),
    };
    let (lines, revoked) = (snapshot.trusted, snapshot.revoked);
    if arguments.json {
        print_json(&json!({ "lines": lines, "revoked": revoked }))?;
        return Ok(Exit::Fine);
    }
    if lines.is_empty() && revoked.is_empty() {
        table::print("nothing is granted, and no other keys than keyferry's own are put on hosts")?;
        return Ok(Exit::Fine);
    }
    let now = SystemTime::now();
    let mut listed = Table::new(&["KEY", "HOST", "FINGERPRINT", "FOR", "STATE", "ENDS"]);
    for line in &lines {
        listed.row(vec![
            line.key.clone(),
            line.host.clone(),
            line.fingerprint.clone(),
            line.purpose.name().to_owned(),
            line.state.name().to_owned(),
            line.until
                .map_or("-".to_owned(), |until| when::from_now(until, now)),
        ]);
    }
    let style = Style::of_stdout();
    let mut text = String::new();
    if !lines.is_empty() {
        text.push_str(&listed.render(style));
    }
    for line in &lines {
        text.push_str(&words::problem(&line.host, line.error.as_ref(), style));
    }
    for row in &revoked {
        let what = format!("{}: lines of {} are to go", row.host, row.lines_of);
        text.push_str(&words::problem(&what, row.error.as_ref(), style));
    }
    table::print(&table::wrapped(text.trim_end(), table::width()))?;
    Ok(Exit::Fine)
}

/// `keyferry recover`.
pub(crate) fn recover(arguments: &RecoverArguments) -> Result<Exit, Error> {
    if !arguments.attach.is_empty() {
        return attaching::attach(arguments);
    }
    let request = TrustRequest::Recover {
        hosts: arguments.hosts.clone(),
    };
    let door = Door::of(&arguments.runtime)?;
    // Before anything is tried.
    let _answering = Answering::start(&door, &[], &arguments.hosts)?;
    let waiting = "logging in with the recovery identity; touch it if it wants that";
    let recovered = match ask(&arguments.runtime, request, waiting)? {
        TrustAnswer::Recovered(recovered) => recovered,
        other => return under_way(other, "keyferry status"),
    };
    if arguments.json {
        print_json(&json!({ "hosts": recovered }))?;
    } else {
        let text = words::recovered(&recovered, Style::of_stdout());
        table::print(&table::wrapped(&text, table::width()))?;
    }
    Ok(outcome(recovered.iter().map(|host| &host.error)))
}

/// The public half that a file holds. A private one is refused, and wiped from memory.
fn public_key(path: &Path) -> Result<String, Error> {
    let refused = |problem: String| {
        Error::Refused(format!(
            "{} {problem}\n  name the file of the public half, as id_ed25519.pub",
            path.display()
        ))
    };
    let file = File::open(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    // Not its size: a pipe has none, and what follows is no public key.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    file.take(LARGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(format!("cannot be read: {error}")))?;
    if bytes.len() > LARGEST {
        return Err(refused("is larger than any public key".to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("holds no public key".to_owned()))?;
    config::public_key(text).map_err(refused)
}

fn ask(
    runtime: &crate::cli::RuntimeArguments,
    request: TrustRequest,
    waiting: &str,
) -> Result<TrustAnswer, Error> {
    let request = Request::Trust(request);
    match table::while_waiting(waiting, || client::ask(runtime, &request))? {
        Answer::Trust(answer) => Ok(answer),
        other => Err(client::strange(&other)),
    }
}

fn under_way(answer: TrustAnswer, command: &str) -> Result<Exit, Error> {
    match answer {
        TrustAnswer::UnderWay => {
            table::complain(&format!(
                "it takes long and goes on; `{command}` shows how it fares"
            ));
            Ok(Exit::Failed)
        }
        other => Err(client::strange(&Answer::Trust(other))),
    }
}

fn outcome<'a>(mut errors: impl Iterator<Item = &'a Option<StatusError>>) -> Exit {
    match errors.any(Option::is_some) {
        true => Exit::Failed,
        false => Exit::Fine,
    }
}

/// Whether a line is somebody's for a while.
fn is_grant(line: &TrustedStatus) -> bool {
    line.purpose == Purpose::Grant
}

/// Many times the longest public key.
const LARGEST: usize = 64 * 1024;
