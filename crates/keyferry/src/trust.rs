//! `keyferry grant`, `revoke` and `recover`: other public keys than keyferry's own.

use std::fs::File;
use std::io::{self, IsTerminal, Read as _};
use std::path::Path;
use std::time::SystemTime;

use keyferry_engine::config;
use keyferry_engine::ledger::{Purpose, Selector};
use keyferry_engine::snapshot::{StatusError, TrustedStatus};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{GrantArguments, RecoverArguments, RevokeArguments};
use crate::control::client;
use crate::control::trust::{TrustAnswer, TrustRequest};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::prompts::answering::Answering;
use crate::table::{self, Style, Table};
use crate::{paths, when};

mod words;

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

/// `keyferry revoke`.
pub(crate) fn revoke(arguments: &RevokeArguments) -> Result<Exit, Error> {
    let selector = selector(arguments)?;
    let asks = !arguments.yes;
    if asks && (arguments.json || !io::stdin().is_terminal()) {
        return Err(Error::Usage(
            "there is nobody to ask whether to revoke: say --yes".to_owned(),
        ));
    }
    let mut hosts = arguments.hosts.clone();
    hosts.extend(arguments.more_hosts.iter().cloned());
    let request = TrustRequest::PreviewRevocation {
        selector: selector.clone(),
        hosts,
    };
    let preview = match ask(&arguments.runtime, request, "looking at the hosts")? {
        TrustAnswer::Previewed(preview) => preview,
        other => return under_way(other, "keyferry revoke"),
    };
    let style = Style::of_stdout();
    if !arguments.json {
        let text = words::preview(&preview, &selector, &arguments.accept_loss, style);
        table::print(&table::wrapped(&text, table::width()))?;
    }
    // What could not be looked at may have such lines.
    let found = preview
        .hosts
        .iter()
        .filter(|host| !host.lines.is_empty() || host.error.is_some());
    let hosts: Vec<String> = found.map(|host| host.host.clone()).collect();
    let is_something = !hosts.is_empty() || !preview.own.is_empty() || preview.retires.is_some();
    if !is_something {
        if arguments.json {
            print_json(&json!({ "preview": preview, "revoked": [], "own": [] }))?;
        }
        return Ok(Exit::Fine);
    }
    if asks && !table::is_confirmed("revoke this?")? {
        table::print("nothing was changed")?;
        return Ok(Exit::Fine);
    }
    let (mut revoked, mut own) = (Vec::new(), Vec::new());
    let mut parts: Vec<Vec<String>> = hosts.chunks(AT_ONCE).map(<[String]>::to_vec).collect();
    if parts.is_empty() && !preview.own.is_empty() {
        parts.push(Vec::new());
    }
    for hosts in parts {
        let request = TrustRequest::Revoke {
            selector: selector.clone(),
            hosts,
            accept_loss: arguments.accept_loss.clone(),
        };
        match ask(&arguments.runtime, request, "taking the lines off")? {
            TrustAnswer::Revoked {
                revoked: some,
                own: of_ours,
            } => {
                revoked.extend(some);
                own.extend(of_ours);
            }
            other => return under_way(other, "keyferry grant --list"),
        }
    }
    if let Some(key) = &preview.retires {
        let request = Request::Retire {
            key: key.clone(),
            accept_loss: arguments.accept_loss.clone(),
        };
        match client::ask(&arguments.runtime, &request)? {
            Answer::Noted => {}
            other => return Err(client::strange(&other)),
        }
    }
    if arguments.json {
        print_json(&json!({ "preview": preview, "revoked": revoked, "own": own }))?;
    } else {
        let text = words::revoked(&revoked, &own, preview.retires.as_deref(), style);
        table::print(&table::wrapped(&text, table::width()))?;
    }
    let errors = revoked.iter().map(|row| &row.error);
    Ok(outcome(errors.chain(own.iter().map(|line| &line.error))))
}

/// `keyferry recover`.
pub(crate) fn recover(arguments: &RecoverArguments) -> Result<Exit, Error> {
    if arguments.attach {
        return Err(Error::Refused(
            "--attach is not in this version: keyferry never has a provider put a key on an instance, which restarts it\n  \
             put the public half there yourself (public/KEY.pub in the state directory): keyferry sees it"
                .to_owned(),
        ));
    }
    let request = TrustRequest::Recover {
        hosts: arguments.hosts.clone(),
    };
    let control = paths::control_socket(&paths::runtime(arguments.runtime.runtime.as_deref())?);
    // Before anything is tried.
    let _answering = Answering::start(&control, &[], &arguments.hosts)?;
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

fn selector(arguments: &RevokeArguments) -> Result<Selector, Error> {
    let RevokeArguments {
        key,
        machine,
        owner,
        grant,
        ..
    } = arguments;
    match (key, machine, owner, grant) {
        (Some(key), None, None, None) => Ok(Selector::Key(key.clone())),
        (None, Some(machine), None, None) => Ok(Selector::Machine(machine.clone())),
        (None, None, Some(owner), None) => Ok(Selector::Owner(owner.clone())),
        (None, None, None, Some(grant)) => match config::check_fingerprint(grant) {
            Ok(()) => Ok(Selector::Grant(grant.clone())),
            Err(problem) => Err(Error::Usage(format!(
                "--grant: {problem}\n  `keyferry grant --list` and `ssh-keygen -lf FILE.pub` tell it"
            ))),
        },
        _ => Err(Error::Usage(
            "name one thing: a key, --machine, --owner or --grant".to_owned(),
        )),
    }
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

fn print_json(value: &serde_json::Value) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Answer(error.to_string()))?;
    table::print(&text)
}

/// Whether a line is somebody's for a while.
fn is_grant(line: &TrustedStatus) -> bool {
    line.purpose == Purpose::Grant
}

/// Hosts in one request: far below the longest that the daemon reads.
const AT_ONCE: usize = 200;
/// Many times the longest public key.
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Command, CommandLine};

    fn revoking(grant: &str) -> Result<Selector, Error> {
        let Command::Revoke(arguments) =
            CommandLine::parse_from(["keyferry", "revoke", "--grant", grant, "--yes"]).command
        else {
            unreachable!("it is `revoke`");
        };
        selector(&arguments)
    }

    #[test]
    fn what_is_no_fingerprint_is_not_looked_for() {
        let sound = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(revoking(sound).unwrap(), Selector::Grant(sound.to_owned()));
        for text in ["SHA256:", "SHA256:x", &sound[..40], "MD5:00:11", ""] {
            let error = revoking(text).unwrap_err().to_string();
            assert!(error.contains("is no fingerprint"), "{text}: {error}");
        }
    }
}
