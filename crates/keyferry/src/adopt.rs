//! `keyferry adopt`: from a private key in a file to keys that keyferry makes and rotates.
//!
//! The private half goes from the file into the daemon's agent, as with `ssh-add`, and nowhere else: the control socket is
//! told its fingerprint. It is tried at each host, then the new key's file is written, and the daemon does the rest. Begun
//! again, it goes on where it was.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keyferry_engine::config;
use keyferry_engine::desired::FileState;
use keyferry_engine::snapshot::{HostCondition, KeyStatus, RETIRED, Snapshot};

use crate::cli::AdoptArguments;
use crate::control::adopt::{AdoptAnswer, AdoptRequest};
use crate::control::client::{self, Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::new_file;
use crate::progress::Progress;
use crate::prompts::answering::Answering;
use crate::table::{self, Style, Table};

mod agent;
mod holding;
mod key_file;
mod names;
mod private_file;
mod trying;
mod words;

use agent::Agent;
use holding::Adopted;
use key_file::{Draft, Standing};

/// `keyferry adopt`.
pub(crate) fn run(arguments: &AdoptArguments) -> Result<Exit, Error> {
    if !arguments.yes {
        table::check_for_a_person("whether to adopt the key")?;
    }
    let key = names::of_key(arguments)?;
    names::check_hosts(&arguments.hosts)?;
    let adoption = Adoption::prepare(arguments, key)?;
    let found = private_file::read(&arguments.file)?;
    if let Some(warning) = private_file::warning(&arguments.file) {
        table::complain(&format!("warning: {warning}"));
    }
    let mut adopted = adoption.put_into_agent(found)?;
    let standing = key_file::standing(&adoption.path, &adopted.fingerprint)?;
    let goes_on = standing != Standing::Nothing;
    let hosts = match standing {
        Standing::Adopted { hosts, replaces } => {
            adoption.goes_on(&hosts, replaces)?;
            hosts
        }
        Standing::Nothing => match adoption.begin(&adopted)? {
            Some(hosts) => hosts,
            None => return Ok(Exit::Failed),
        },
        Standing::Other => {
            return Err(Error::Refused(format!(
                "{} is there already, for another key\n  name the new key with --key",
                adoption.path.display()
            )));
        }
    };
    adoption.let_stay(&mut adopted)?;
    adoption.end(&adopted, &hosts, goes_on)
}

/// What is known before anything is done.
struct Adoption<'a> {
    arguments: &'a AdoptArguments,
    /// The new key's name.
    key: String,
    /// Its file.
    path: PathBuf,
    agent: Agent,
    door: Door,
    /// Fingerprints of keyferry's own keys, and their names.
    own: Vec<(String, String)>,
    end: Instant,
}

impl<'a> Adoption<'a> {
    fn prepare(arguments: &'a AdoptArguments, key: String) -> Result<Self, Error> {
        let door = Door::of(&arguments.runtime)?;
        let places = Request::Adopt(AdoptRequest::Places);
        let (agent_socket, config_directory) = match client::ask(&arguments.runtime, &places)? {
            Answer::Adopt(AdoptAnswer::Places {
                agent_socket,
                config_directory,
            }) => (agent_socket, config_directory),
            other => return Err(client::strange(&other)),
        };
        let snapshot = match client::ask(&arguments.runtime, &Request::Status)? {
            Answer::Status(snapshot) => snapshot,
            other => return Err(client::strange(&other)),
        };
        let accounts: Vec<&str> = snapshot.accounts.iter().map(|account| &*account.name).collect();
        if !accounts.contains(&&*arguments.account) {
            return Err(Error::Refused(format!(
                "there is no account {}{}\n  `keyferry status --json` lists them; `keyferry init` writes some",
                arguments.account,
                config::suggestion(&arguments.account, accounts)
            )));
        }
        let path = config_directory.join("keys").join(format!("{key}.toml"));
        let is_known = snapshot.keys.iter().any(|known| known.name == key);
        if is_known && path.symlink_metadata().is_err() {
            return Err(Error::Refused(format!(
                "there is a key {key} already, whose file is gone\n  name the new key with --key"
            )));
        }
        let own = snapshot
            .keys
            .iter()
            .filter_map(|known| Some((known.fingerprint.clone()?, known.name.clone())));
        Ok(Self {
            arguments,
            key,
            path,
            agent: Agent::at(agent_socket, door.believed()?),
            door,
            own: own.collect(),
            // Longer than anybody waits, and short enough for a clock.
            end: Instant::now() + Duration::from_secs(arguments.wait).min(MAX_WAIT),
        })
    }

    /// The file is there from an earlier run: it counts.
    fn goes_on(&self, hosts: &[String], replaces: bool) -> Result<(), Error> {
        table::print(&format!(
            "{} adopts this key already: going on with it",
            self.path.display()
        ))?;
        let others = self.arguments.hosts.iter().filter(|host| !hosts.contains(host));
        let others: Vec<&str> = others.map(String::as_str).collect();
        if !others.is_empty() {
            table::complain(&format!(
                "not among its hosts: {}; add them to `hosts` there",
                others.join(", ")
            ));
        }
        if self.arguments.replace && !replaces {
            table::complain("it has no `replaces`: write it there, or the adopted key's lines stay");
        }
        Ok(())
    }

    /// Finds where the key logs in, shows what is to be written, asks, and writes it. None: nothing was written.
    fn begin(&self, adopted: &Adopted<'_>) -> Result<Option<Vec<String>>, Error> {
        let tried = self.tried(adopted, &self.arguments.hosts)?;
        let logs_in = tried.iter().any(|tried| tried.error.is_none());
        // Where it could not be tried, the key may be the only way in: keyferry's own is put there as soon as that is mended.
        let hosts: Vec<String> = tried
            .iter()
            .filter(|tried| !tried.is_refused)
            .map(|tried| tried.host.clone())
            .collect();
        let style = Style::of_stdout();
        let mut listed = Table::new(&["HOST", "KEY"]);
        for tried in &tried {
            listed.row(vec![tried.host.clone(), words::tried(tried, style)]);
        }
        table::print(&format!("{}\n", adopted.fingerprint))?;
        table::print(listed.render_within(style, table::width()).trim_end())?;
        if !logs_in {
            table::complain(&format!(
                "the key logs in nowhere: nothing was written, and it {}",
                adopted.without_adoption()
            ));
            return Ok(None);
        }
        let text = Draft {
            account: &self.arguments.account,
            hosts: &hosts,
            fingerprint: &adopted.fingerprint,
            replace: self.arguments.replace,
        }
        .text();
        let shown: Vec<String> = text
            .lines()
            .map(|line| format!("  {line}").trim_end().to_owned())
            .collect();
        table::print(&format!("\n{}:\n\n{}", self.path.display(), shown.join("\n")))?;
        let question = match self.arguments.replace {
            true => "write this file, and have the adopted key's lines replaced on these hosts?",
            false => "write this file, and have keyferry's own key put on these hosts?",
        };
        if !self.arguments.yes && !table::is_confirmed(question)? {
            table::print(&format!(
                "nothing was written, and the key {}",
                adopted.without_adoption()
            ))?;
            return Ok(None);
        }
        new_file::write(&self.path, &text)?;
        Ok(Some(hosts))
    }

    /// Waits for the new key, and says what is left to do.
    fn end(&self, adopted: &Adopted<'_>, hosts: &[String], goes_on: bool) -> Result<Exit, Error> {
        let answering = Answering::start(&self.door, &[], hosts)?;
        let (snapshot, timed_out) = self.followed()?;
        drop(answering);
        let Some(key) = snapshot.keys.iter().find(|key| key.name == self.key) else {
            return Err(self.not_taken(&snapshot));
        };
        let verified = |host: &&String| {
            let mut statuses = key.hosts.iter();
            statuses.any(|status| status.host == **host && status.state == HostCondition::Verified)
        };
        let (seen, unseen): (Vec<&String>, Vec<&String>) = hosts.iter().partition(verified);
        let replaces = matches!(
            key_file::standing(&self.path, &adopted.fingerprint)?,
            Standing::Adopted { replaces: true, .. }
        );
        // Those that its file does not name may have no other way in either.
        let is_left_out = |host: &String| goes_on && !hosts.contains(host);
        let named = self.arguments.hosts.iter();
        let left_out: Vec<&String> = named.filter(|host| is_left_out(host)).collect();
        let seen: Vec<String> = seen.into_iter().cloned().collect();
        let still = match replaces && !seen.is_empty() {
            true => self.still_let_in(adopted, &seen)?,
            false => seen.clone(),
        };
        let outcome = words::Outcome {
            key,
            seen: &seen,
            unseen: &unseen,
            left_out: &left_out,
            still: &still,
            replaces,
            timed_out,
            path: &self.path,
        };
        let style = Style::of_stdout();
        table::print(&table::wrapped(&outcome.text(style), table::width()))?;
        let farewell = words::Farewell {
            file: &self.arguments.file,
            public_blob: &adopted.public_blob,
            agent_socket: self.agent.socket(),
            stays_as_it_was: adopted.stays_as_it_was(),
            path: &self.path,
            is_needed: !left_out.is_empty() || !unseen.is_empty(),
        };
        // Its commands are to be copied: no line of it is broken.
        table::print(&format!("\n{}", farewell.text()))?;
        match left_out.is_empty() && unseen.is_empty() && (!replaces || still.is_empty()) {
            true => Ok(Exit::Fine),
            false => Ok(Exit::Failed),
        }
    }

    fn followed(&self) -> Result<(Box<Snapshot>, bool), Error> {
        let left = self.end.saturating_duration_since(Instant::now());
        let request = Request::Adopt(AdoptRequest::Follow {
            key: self.key.clone(),
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        });
        let mut conversation = Conversation::start(&self.door, &request)?;
        let mut progress = Progress::new();
        progress.show(&format!("{}: waiting for its first generation", self.key));
        let result = loop {
            match conversation.next()? {
                Answer::Progress(snapshot) => {
                    if let Some(key) = snapshot.keys.first() {
                        self.check_is_made(key)?;
                        progress.show(&words::progress(key));
                    }
                }
                Answer::Status(snapshot) => break (snapshot, false),
                Answer::TimedOut(snapshot) => break (snapshot, true),
                Answer::Refused(message) => return Err(Error::Refused(message)),
                other => return Err(client::strange(&other)),
            }
        };
        drop(progress);
        Ok(result)
    }

    /// Of one that was retired nothing is made until the user says so: there is nothing to wait for.
    fn check_is_made(&self, key: &KeyStatus) -> Result<(), Error> {
        let retired = key.error.as_ref().filter(|error| error.kind == RETIRED);
        retired.map_or(Ok(()), |error| {
            let (why, key) = (&error.message, &self.key);
            Err(Error::Refused(format!(
                "{why}\n  `keyferry resume {key}`, and run this again"
            )))
        })
    }

    /// Why the daemon does not take the file that was written.
    fn not_taken(&self, snapshot: &Snapshot) -> Error {
        let path = self.path.display().to_string();
        let file = snapshot.files.iter().find(|file| file.path == path);
        let why = file
            .filter(|file| file.state != FileState::Loaded)
            .and_then(|file| file.message.clone())
            .unwrap_or_else(|| "the daemon did not read it".to_owned());
        Error::Refused(format!(
            "{path} was written and is not taken: {why}\n  correct it, and run this again"
        ))
    }
}

/// How many hosts of a key are verified.
fn verified(key: &KeyStatus) -> usize {
    let hosts = key.hosts.iter();
    hosts.filter(|host| host.state == HostCondition::Verified).count()
}

/// A day.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
