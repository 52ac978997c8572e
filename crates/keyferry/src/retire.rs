//! `keyferry retire`.

use std::time::{Duration, SystemTime};

use keyferry_engine::snapshot::{HostStatus, KeyStatus, PairsLeft};
use serde_json::json;

use crate::cli::RetireArguments;
use crate::control::client::{self, Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::plan;
use crate::prompts::answering::Answering;
use crate::rotation::course;
use crate::table::{self, Style};

/// `keyferry retire`.
pub(crate) fn run(arguments: &RetireArguments) -> Result<Exit, Error> {
    let RetireArguments {
        runtime,
        key,
        accept_loss,
        wait,
        earlier,
        yes,
        json,
    } = arguments;
    if *json && !yes && !earlier {
        return Err(Error::Usage("--json asks nothing: say --yes".to_owned()));
    }
    if *earlier {
        let request = Request::GiveUpInstances {
            key: key.clone(),
            instances: accept_loss.clone(),
        };
        return match client::ask(runtime, &request)? {
            Answer::Noted if *json => {
                table::print_json(&json!({ "key": key, "given_up": accept_loss }))?;
                Ok(Exit::Fine)
            }
            Answer::Noted => {
                let text = format!(
                    "key {key}: its earlier generations wait no longer for {}",
                    accept_loss.join(", ")
                );
                table::print(&table::wrapped(&text, table::width()))?;
                Ok(Exit::Fine)
            }
            other => Err(client::strange(&other)),
        };
    }
    if !yes {
        table::check_for_a_person("whether to retire the key")?;
    }
    let request = Request::PlanToRetire {
        key: key.clone(),
        accept_loss: accept_loss.clone(),
    };
    let plans = match client::ask(runtime, &request)? {
        Answer::Planned(plans) => plans,
        other => return Err(client::strange(&other)),
    };
    if !json {
        let text = plan::describe(&plans, SystemTime::now(), Style::of_stdout());
        table::print(&table::wrapped(&text, table::width()))?;
    }
    if !yes && !table::is_confirmed(&format!("retire key {key}?"))? {
        table::print("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    let door = Door::of(runtime)?;
    let Some(seconds) = wait else {
        ask(&door, key, accept_loss, None)?;
        if *json {
            table::print_json(&json!({ "key": key, "plan": plans, "status": null }))?;
            return Ok(Exit::Fine);
        }
        let text = format!(
            "key {key} is being retired: `keyferry status` shows what is left of it, `keyferry resume {key}` calls it off\n  \
             remove keys/{key}.toml when it is through"
        );
        table::print(&table::wrapped(&text, table::width()))?;
        return Ok(Exit::Fine);
    };
    // Before anything is tried.
    let _answering = Answering::start(&door, std::slice::from_ref(key), &[])?;
    let end = follow(&door, key, accept_loss, Duration::from_secs(*seconds))?;
    match json {
        true => table::print_json(&json!({ "key": key, "plan": plans, "status": end.status }))?,
        false => table::print(&table::wrapped(&end.text(), table::width()))?,
    }
    Ok(end.exit())
}

/// Has a key retired.
fn ask(
    door: &Door,
    key: &str,
    accept_loss: &[String],
    time: Option<Duration>,
) -> Result<Conversation, Error> {
    let request = Request::Retire {
        key: key.to_owned(),
        accept_loss: accept_loss.to_vec(),
        timeout_ms: time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    let mut conversation = Conversation::start(door, &request)?;
    match conversation.next()? {
        Answer::Noted => Ok(conversation),
        Answer::Refused(message) => Err(Error::Refused(message)),
        other => Err(client::strange(&other)),
    }
}

/// Has a key retired, and waits until no line and no pair of it is left, or something keeps one.
///
/// # Errors
/// [`Error::Refused`] where the daemon refuses it.
pub(crate) fn follow(door: &Door, key: &str, accept_loss: &[String], time: Duration) -> Result<End, Error> {
    let mut conversation = ask(door, key, accept_loss, Some(time))?;
    let waited = || loop {
        match conversation.next()? {
            Answer::Progress(_) => {}
            Answer::Status(snapshot) => return Ok((snapshot, false)),
            Answer::TimedOut(snapshot) => return Ok((snapshot, true)),
            Answer::Refused(message) => return Err(Error::Refused(message)),
            other => return Err(client::strange(&other)),
        }
    };
    let (snapshot, timed_out) =
        table::while_waiting("taking the key off its hosts, and deleting its pairs", waited)?;
    let status = snapshot.keys.into_iter().find(|known| known.name == key);
    Ok(End {
        key: key.to_owned(),
        status,
        timed_out,
    })
}

/// What is left of a key that was retired.
pub(crate) struct End {
    key: String,
    /// None: nothing.
    status: Option<KeyStatus>,
    timed_out: bool,
}

impl End {
    /// What is left of the key; none: nothing.
    pub(crate) fn status(&self) -> Option<&KeyStatus> {
        self.status.as_ref()
    }

    /// Whether nothing of it is left.
    pub(crate) fn exit(&self) -> Exit {
        match self.left().is_empty() && self.pairs_left().is_none() && !self.is_called_off() {
            true => Exit::Fine,
            false => Exit::Failed,
        }
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        let key = &self.key;
        if self.is_called_off() {
            return format!("key {key} is not being retired any more: somebody called that off");
        }
        let left = self.left();
        let hosts: Vec<&str> = left.iter().map(|host| host.host.as_str()).collect();
        let mut text = match (hosts.as_slice(), self.pairs_left()) {
            ([], None) => {
                return format!(
                    "key {key} stands on no host any more, and its pairs are deleted: remove keys/{key}.toml, if it is still \
                     there"
                );
            }
            ([], Some(pairs)) => format!(
                "key {key} is not through: it stands on no host any more, and of its pairs {} {} left at the provider",
                pairs.count,
                if pairs.count == 1 { "is" } else { "are" }
            ),
            (hosts, _) => format!(
                "key {key} is not through: lines are left on {}",
                table::some(hosts, 5)
            ),
        };
        let rotation = self.status.as_ref().and_then(|status| status.rotation.as_ref());
        if let Some(waiting) = rotation.and_then(|rotation| rotation.waiting.as_ref()) {
            text.push_str(&format!("\n  waiting: {waiting}"));
        }
        let of_pairs = self.status.as_ref().and_then(|status| status.error.as_ref());
        if let Some(error) = of_pairs.filter(|_| hosts.is_empty()) {
            text.push_str(&format!("\n  {}", error.message));
        }
        for host in left {
            if let Some(error) = &host.error {
                text.push_str(&format!("\n  {}: {}", host.host, error.message));
            }
        }
        text.push_str(match self.timed_out {
            true => "\n  the time is over, and it goes on: `keyferry status` shows what is left",
            false => "\n  it goes on when that is over: `keyferry status` shows what is left",
        });
        text
    }

    fn is_called_off(&self) -> bool {
        let rotation = self.status.as_ref().map(|status| status.rotation.as_ref());
        rotation.is_some_and(|rotation| rotation.is_none_or(|rotation| !rotation.retiring))
    }

    fn pairs_left(&self) -> Option<&PairsLeft> {
        self.status.as_ref()?.rotation.as_ref()?.pairs.as_ref()
    }

    fn left(&self) -> Vec<&HostStatus> {
        self.status.iter().flat_map(course::with_lines).collect()
    }
}
