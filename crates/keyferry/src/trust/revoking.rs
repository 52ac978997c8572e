//! `keyferry revoke`: lines that are to go, whoever put them there.
//!
//! First the hosts are looked at, and nothing is changed. Then all of it is noted, so that it is tried until it is done,
//! whatever becomes of this command; and then it waits.

use std::collections::BTreeSet;
use std::time::Duration;

use keyferry_engine::config;
use keyferry_engine::ledger::Selector;
use keyferry_engine::snapshot::{LineState, RevocationPreview, RevokedStatus, TrustedStatus};
use serde_json::json;

use super::{ask, outcome, words};
use crate::cli::RevokeArguments;
use crate::control::client::{self, Door};
use crate::control::trust::{TrustAnswer, TrustRequest};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::prompts::terminal;
use crate::retire;
use crate::table::{self, Style, print_json};

/// `keyferry revoke`.
pub(crate) fn revoke(arguments: &RevokeArguments) -> Result<Exit, Error> {
    let selector = selector(arguments)?;
    let asks = !arguments.yes;
    if asks && (arguments.json || !terminal::has_person()) {
        return Err(Error::Usage(
            "there is nobody to ask whether to revoke: say --yes".to_owned(),
        ));
    }
    let preview = looked_at(arguments, &selector)?;
    let is_limited = !arguments.hosts.is_empty() || !arguments.more_hosts.is_empty();
    if let Some(key) = preview.retires.as_ref().filter(|_| is_limited) {
        return Err(Error::Refused(format!(
            "{key} is this machine's own key, and revoking it takes it off all its hosts, not off those of --hosts alone: nothing \
             was changed\n  to end it, leave --hosts out; other machines' lines go by --machine or --owner"
        )));
    }
    let style = Style::of_stdout();
    if !arguments.json {
        let text = words::preview(&preview, &selector, style);
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
            print_json(
                &json!({ "preview": preview, "revoked": [], "own": [], "retired": null, "under_way": false }),
            )?;
        }
        return Ok(Exit::Fine);
    }
    if asks && !table::is_confirmed("revoke this?")? {
        table::print("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    let done = Revoking {
        arguments,
        selector,
        preview: &preview,
    }
    .done(&hosts)?;
    if arguments.json {
        let is_retiring = done.retired.as_ref().is_some_and(|end| end.exit() != Exit::Fine);
        print_json(&json!({
            "preview": preview,
            "revoked": done.revoked,
            "own": done.own,
            "retired": done.retired.as_ref().map(retire::End::status),
            "under_way": done.is_under_way || is_retiring,
        }))?;
    } else {
        let mut text = words::revoked(&done.revoked, &done.own, style);
        if let Some(end) = &done.retired {
            text.push_str(&format!("\n{}", end.text()));
        }
        table::print(&table::wrapped(text.trim(), table::width()))?;
    }
    let is_through = !done.is_under_way && done.retired.is_none_or(|end| end.exit() == Exit::Fine);
    let errors = done.revoked.iter().map(|row| &row.error);
    match is_through {
        true => Ok(outcome(errors.chain(done.own.iter().map(|line| &line.error)))),
        false => Ok(Exit::Failed),
    }
}

/// What a look at the hosts found; it changes nothing.
fn looked_at(arguments: &RevokeArguments, selector: &Selector) -> Result<RevocationPreview, Error> {
    let mut named = arguments.hosts.clone();
    named.extend(arguments.more_hosts.iter().cloned());
    // Without names it is the daemon that knows them.
    let parts: Vec<&[String]> = match named.is_empty() {
        true => vec![&[]],
        false => named.chunks(AT_ONCE).collect(),
    };
    let mut preview = RevocationPreview::default();
    for hosts in parts {
        // Another part's hosts are nothing to this one.
        let of_part = arguments
            .accept_loss
            .iter()
            .filter(|name| hosts.contains(name) || !named.contains(name));
        let request = TrustRequest::PreviewRevocation {
            selector: selector.clone(),
            hosts: hosts.to_vec(),
            accept_loss: of_part.cloned().collect(),
        };
        match ask(&arguments.runtime, request, "looking at the hosts")? {
            TrustAnswer::Previewed(some) => {
                preview.hosts.extend(some.hosts);
                preview.own.extend(some.own);
                preview.retires = some.retires;
                preview.of_retired = some.of_retired;
            }
            TrustAnswer::UnderWay => {
                return Err(Error::Refused(
                    "looking at the hosts takes too long, and nothing was changed\n  name some of them with --hosts"
                        .to_owned(),
                ));
            }
            other => return Err(client::strange(&Answer::Trust(other))),
        }
    }
    Ok(preview)
}

/// What the user agreed to.
struct Revoking<'a> {
    arguments: &'a RevokeArguments,
    selector: Selector,
    preview: &'a RevocationPreview,
}

/// What came of it.
#[derive(Default)]
struct Done {
    revoked: Vec<RevokedStatus>,
    own: Vec<TrustedStatus>,
    /// A key of our own.
    retired: Option<retire::End>,
    /// Whether some of it takes longer than this command waits.
    is_under_way: bool,
}

impl Revoking<'_> {
    fn done(&self, hosts: &[String]) -> Result<Done, Error> {
        for hosts in hosts.chunks(AT_ONCE) {
            let request = TrustRequest::NoteRevocation {
                selector: self.selector.clone(),
                hosts: hosts.to_vec(),
                accept_loss: self.arguments.accept_loss.clone(),
            };
            match ask(&self.arguments.runtime, request, "noting what is to go")? {
                TrustAnswer::Noted => {}
                other => return Err(client::strange(&Answer::Trust(other))),
            }
        }
        let mut done = Done::default();
        if let Some(key) = &self.preview.retires {
            let door = Door::of(&self.arguments.runtime)?;
            done.retired = Some(retire::follow(&door, key, &self.preview.of_retired, RETIRE_TIME)?);
        }
        let of_own = self.preview.own.iter().map(|line| line.host.clone());
        let of_own: BTreeSet<String> = of_own.collect();
        let of_own: Vec<String> = of_own.into_iter().collect();
        for hosts in of_own.chunks(AT_ONCE) {
            let request = TrustRequest::Revoke {
                selector: self.selector.clone(),
                hosts: hosts.to_vec(),
                accept_loss: self.arguments.accept_loss.clone(),
            };
            self.wait_for(request, &mut done)?;
        }
        let mut open: Vec<&String> = Vec::new();
        for hosts in hosts.chunks(AT_ONCE) {
            let request = TrustRequest::FollowRevocation {
                selector: self.selector.clone(),
                hosts: hosts.to_vec(),
            };
            if !self.wait_for(request, &mut done)? {
                open.extend(hosts);
            }
        }
        if done.is_under_way {
            self.tell_what_is_open(&open, &mut done)?;
        }
        Ok(done)
    }

    /// Whether it is over.
    fn wait_for(&self, request: TrustRequest, done: &mut Done) -> Result<bool, Error> {
        match ask(&self.arguments.runtime, request, "taking the lines off")? {
            TrustAnswer::Revoked { revoked, own } => {
                done.revoked.extend(revoked);
                done.own.extend(own);
                Ok(true)
            }
            TrustAnswer::UnderWay => {
                done.is_under_way = true;
                Ok(false)
            }
            other => Err(client::strange(&Answer::Trust(other))),
        }
    }

    /// How it fares now where it was not waited for to the end.
    fn tell_what_is_open(&self, open: &[&String], done: &mut Done) -> Result<(), Error> {
        let snapshot = match client::ask(&self.arguments.runtime, &Request::Status)? {
            Answer::Status(snapshot) => snapshot,
            other => return Err(client::strange(&other)),
        };
        let lines_of = self.selector.to_string();
        for host in open {
            let mut rows = snapshot.revoked.iter();
            let row = rows.find(|row| row.host == **host && row.lines_of == lines_of);
            done.revoked.push(row.cloned().unwrap_or_else(|| RevokedStatus {
                host: (*host).clone(),
                lines_of: lines_of.clone(),
                state: LineState::Removed,
                lines: Vec::new(),
                error: None,
            }));
        }
        if done.own.is_empty() {
            let is_own = |line: &&TrustedStatus| {
                let mut own = self.preview.own.iter();
                own.any(|own| (&own.host, &own.fingerprint) == (&line.host, &line.fingerprint))
            };
            done.own = snapshot.trusted.iter().filter(is_own).cloned().collect();
        }
        Ok(())
    }
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

/// Hosts in one request: each of them may take a while.
const AT_ONCE: usize = 200;
/// A person waits.
const RETIRE_TIME: Duration = Duration::from_secs(600);

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
