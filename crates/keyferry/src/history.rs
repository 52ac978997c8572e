//! `keyferry history`: what keyferry did, from the rows of its ledger.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_engine::config::suggestion;
use keyferry_engine::ledger::{
    self, Effect, EffectKind, EffectOutcome, Generation, GenerationState, History, HostState, KeyRow,
    ORPHANS, PlacementState, Revocation, RevocationState, Trusted,
};
use keyferry_engine::snapshot::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cli::HistoryArguments;
use crate::control::client;
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::paths;
use crate::table::{self, Style, Table};

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// When.
    pub(crate) at: Timestamp,
    /// The key; null: a host, for all its keys.
    pub(crate) key: Option<String>,
    /// The generation.
    pub(crate) generation: Option<u64>,
    /// The host.
    pub(crate) host: Option<String>,
    /// What: an effect (`attach`, `create`, `import`, `delete`, `put`, `take_off`, `put_trusted`, `take_off_trusted`), or `recovery`,
    /// `also_trust`, `grant`, `revoked`, `loaded`, `promoted`, `superseded`, `missing`,
    /// `ended`, `verified`, `parked`, `blocked`, `forgotten`, `held`, `paused`, `rotation_asked`, `retirement_asked`.
    pub(crate) what: String,
    /// Of an effect: `done`, `refused`, `unknown`; null: not an effect, or not ended.
    pub(crate) outcome: Option<String>,
    /// In words.
    pub(crate) message: String,
}

/// Entries, the newest last.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Excerpt {
    /// The newest ones of those asked for.
    pub(crate) entries: Vec<Entry>,
    /// How many older ones were left out.
    pub(crate) left_out: usize,
}

/// `keyferry history`.
pub(crate) fn run(arguments: &HistoryArguments) -> Result<Exit, Error> {
    let request = Request::History {
        key: arguments.key.clone(),
        since: arguments.since,
    };
    let excerpt = match client::ask(&arguments.runtime, &request) {
        Ok(Answer::History(excerpt)) => excerpt,
        Ok(other) => return Err(client::strange(&other)),
        Err(Error::NotRunning(_)) => {
            let directory = paths::state(arguments.state.as_deref())?;
            if !directory.join(LEDGER).exists() {
                return Err(Error::Refused(format!(
                    "there is no ledger in {}: keyferry has not run with that state directory\n  name another with --state",
                    directory.display()
                )));
            }
            let history = ledger::read_history(&directory)?;
            known(&history, arguments.key.as_deref()).map_err(Error::Refused)?;
            self::excerpt(&history, arguments.key.as_deref(), arguments.since)
        }
        Err(error) => return Err(error),
    };
    if arguments.json {
        let text =
            serde_json::to_string_pretty(&excerpt).map_err(|error| Error::Answer(error.to_string()))?;
        table::print(&text)?;
    } else {
        table::print(&describe(&excerpt, Style::of_stdout(), table::width()))?;
    }
    Ok(Exit::Fine)
}

/// Refuses the name of a key that the ledger never heard of.
///
/// # Errors
/// In words, with the nearest name.
pub(crate) fn known(history: &History, key: Option<&str>) -> Result<(), String> {
    let Some(key) = key else { return Ok(()) };
    let rows = history.keys.iter().map(|row| row.name.as_str());
    let names = rows.chain(history.generations.iter().map(|row| row.key.as_str()));
    let names: BTreeSet<&str> = names.filter(|name| *name != ORPHANS).collect();
    match names.contains(key) {
        true => Ok(()),
        false => Err(format!(
            "the ledger knows of no key {key}{}",
            suggestion(key, names)
        )),
    }
}

/// What happened to a key (none: to all) since then.
pub(crate) fn excerpt(history: &History, key: Option<&str>, since: Option<Timestamp>) -> Excerpt {
    let mut entries: Vec<Entry> = history
        .effects
        .iter()
        .map(|effect| of_effect(effect, history))
        .collect();
    let rows = history.keys.iter();
    let patterns: BTreeMap<&str, &str> = rows
        .filter_map(|row| Some((row.name.as_str(), row.made_after.as_deref()?)))
        .collect();
    let generations = history.generations.iter();
    entries.extend(generations.flat_map(|row| of_generation(row, patterns.get(row.key.as_str()).copied())));
    entries.extend(history.placements.iter().filter_map(|placement| {
        let at = placement.verified_at?;
        Some(Entry {
            host: Some(placement.host.clone()),
            ..entry(
                at,
                &placement.key,
                Some(placement.n),
                "verified",
                format!("was last seen to log in at {}", placement.host),
            )
        })
    }));
    entries.extend(history.keys.iter().flat_map(of_key));
    entries.extend(history.trusted.iter().map(of_trusted));
    if key.is_none() {
        entries.extend(history.revocations.iter().map(of_revocation));
    }
    entries.retain(|entry| key.is_none_or(|key| entry.key.as_deref() == Some(key)));
    let is_of_key = |host: &str| {
        let mut placements = history.placements.iter();
        key.is_none_or(|key| placements.any(|placement| placement.key == key && placement.host == host))
    };
    let hosts = history.hosts.iter().filter(|host| is_of_key(&host.address));
    entries.extend(hosts.filter_map(|host| {
        let note = host
            .note
            .as_ref()
            .map(|note| format!(": {note}"))
            .unwrap_or_default();
        let message = match host.state {
            HostState::Parked => format!("{} could not be reached from here on{note}", host.address),
            HostState::Blocked => format!("{} wants a person{note}", host.address),
            HostState::Forgotten => format!("{} was given up{note}", host.address),
            HostState::New | HostState::Reached => return None,
        };
        Some(Entry {
            key: None,
            host: Some(host.address.clone()),
            ..entry(host.since, "", None, host.state.name(), message)
        })
    }));
    entries
        .retain(|entry| entry.key.as_deref() != Some(ORPHANS) && since.is_none_or(|since| entry.at >= since));
    // What happened at the same time stays in the order of the ledger.
    entries.sort_by_key(|entry| entry.at);
    let left_out = entries.len().saturating_sub(MOST_ENTRIES);
    entries.drain(..left_out);
    Excerpt { entries, left_out }
}

fn entry(at: i64, key: &str, generation: Option<u64>, what: &str, message: String) -> Entry {
    Entry {
        at: Timestamp::from_ms(at),
        key: Some(key.to_owned()),
        generation,
        host: None,
        what: what.to_owned(),
        outcome: None,
        message,
    }
}

fn of_effect(effect: &Effect, history: &History) -> Entry {
    let generations = &history.generations;
    let place =
        generations.binary_search_by(|row| (row.key.as_str(), row.n).cmp(&(effect.key.as_str(), effect.n)));
    let row = place.ok().and_then(|place| generations.get(place));
    let pair = row.map_or_else(|| "its pair".to_owned(), |row| format!("pair {}", row.pair_name));
    let account = row.map(|row| match &row.region {
        Some(region) => format!(" at account {} in {region}", row.account),
        None => format!(" at account {}", row.account),
    });
    let account = account.unwrap_or_default();
    let host = effect.host.as_deref().unwrap_or("a host");
    let instance = effect.instance.as_deref().unwrap_or("?");
    let (subject, was) = match effect.kind {
        EffectKind::Attach => (pair, format!("attached to instance {instance} ({host}){account}")),
        EffectKind::Create => (pair, format!("made{account}")),
        EffectKind::Delete => (pair, format!("deleted{account}")),
        EffectKind::Import => (
            "its public half".to_owned(),
            format!(
                "registered{account} as {}",
                row.map_or("a pair", |row| &row.pair_name)
            ),
        ),
        EffectKind::Put => ("its line".to_owned(), format!("put on {host}")),
        EffectKind::PutTrusted => ("another's line".to_owned(), format!("put on {host}")),
        EffectKind::TakeOff => ("its line".to_owned(), format!("taken off {host}")),
        EffectKind::TakeOffTrusted => ("another's line".to_owned(), format!("taken off {host}")),
    };
    let mut message = match effect.outcome {
        Some(EffectOutcome::Done) => format!("{subject} was {was}"),
        Some(EffectOutcome::Refused) => format!("{subject} was not {was}: it was refused, or failed"),
        Some(EffectOutcome::Unknown) => {
            format!("whether {subject} was {was} is not known: the answer was lost")
        }
        None => format!("{subject} is being {was}, or keyferry was stopped meanwhile"),
    };
    if effect.attempt > 1 {
        message.push_str(&format!(" (try {})", effect.attempt));
    }
    Entry {
        host: effect.host.clone(),
        outcome: effect.outcome.map(|outcome| outcome.name().to_owned()),
        ..entry(
            effect.outcome_at.unwrap_or(effect.intent_at),
            &effect.key,
            Some(effect.n),
            effect.kind.name(),
            message,
        )
    }
}

/// How another's line stands, since when.
fn of_trusted(row: &Trusted) -> Entry {
    let who = format!("{} ({})", row.fingerprint(), row.purpose.name());
    let host = &row.host;
    let until = row
        .until
        .map(|until| format!(" until {}", Timestamp::from_ms(until)));
    let message = match row.state {
        PlacementState::Placing => format!("{who} is to be let in at {host}"),
        PlacementState::Placed => format!("{who} is let in at {host}{}", until.unwrap_or_default()),
        PlacementState::Verified => format!("{who} was seen to log in at {host}"),
        PlacementState::Removing => format!("{who} is to be taken off {host}"),
        PlacementState::Removed => format!("{who} was taken off {host}"),
    };
    Entry {
        host: Some(host.clone()),
        ..entry(row.changed_at, &row.key, None, row.purpose.name(), message)
    }
}

/// How far a revocation is, since when.
fn of_revocation(row: &Revocation) -> Entry {
    let (host, selector) = (&row.host, &row.selector);
    let message = match row.state {
        RevocationState::Asked | RevocationState::Removing => {
            format!("lines of {selector} are to go from {host}")
        }
        RevocationState::Left => format!("lines of {selector} were left on {host}"),
        RevocationState::Removed if row.lines.is_empty() => format!("{host} has no lines of {selector}"),
        RevocationState::Removed => format!("lines of {selector} were taken off {host}"),
    };
    let note = row
        .note
        .as_ref()
        .map(|note| format!(": {note}"))
        .unwrap_or_default();
    Entry {
        key: None,
        host: Some(host.clone()),
        ..entry(row.changed_at, "", None, "revoked", format!("{message}{note}"))
    }
}

/// `after`: of a key for one command, the key after whose pattern it was made.
fn of_generation(row: &Generation, after: Option<&str>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut add = |at: Option<i64>, what: &str, message: &str| {
        entries.extend(at.map(|at| entry(at, &row.key, Some(row.n), what, message.to_owned())));
    };
    match after {
        Some(after) => {
            let message = format!("came into the agent, for one command (after {after})");
            add(row.loaded_at, "loaded", &message);
        }
        None => add(row.loaded_at, "loaded", "came into the agent"),
    }
    // A copy has no part in a rotation, and one for a command is offered to nobody.
    if row.copy_of.is_none() && after.is_none() {
        add(row.promoted_at, "promoted", "was offered from here on");
        add(
            row.superseded_at,
            "superseded",
            "was superseded, and stays where its successor is not yet",
        );
    }
    let missing = match row.state {
        GenerationState::Replaced => format!("another key was found in the place of pair {}", row.pair_name),
        _ => format!("pair {} was not found any more", row.pair_name),
    };
    add(row.missing_since, "missing", &missing);
    if let Some(note) = &row.note {
        let times = [
            Some(row.requested_at),
            row.loaded_at,
            row.missing_since,
            row.delete_asked_at,
        ];
        add(times.into_iter().flatten().max(), "ended", note);
    }
    entries
}

fn of_key(row: &KeyRow) -> Vec<Entry> {
    let until = row
        .paused_until
        .map(|until| format!(" until {}", Timestamp::from_ms(until)));
    let reason = row.pause_reason.as_ref().map(|reason| format!(": {reason}"));
    let paused = format!(
        "its rotation was put on hold{}{}",
        until.unwrap_or_default(),
        reason.unwrap_or_default()
    );
    let retirement = match &row.accepted_loss {
        _ if row.is_for_command() => "its command was over, or its time".to_owned(),
        Some(accepted) => format!("its end was asked for, with what is lost by that: {accepted}"),
        None => "its end was asked for".to_owned(),
    };
    let times = [
        (
            "held",
            row.held_at,
            "it was taken away with ssh-add -d or -D".to_owned(),
        ),
        ("paused", row.paused_at, paused),
        ("retirement_asked", row.retire_asked_at, retirement),
        (
            "rotation_asked",
            row.rotate_asked_at,
            "its next generation was asked for".to_owned(),
        ),
    ];
    let known = times
        .into_iter()
        .filter_map(|(what, at, message)| Some(entry(at?, &row.name, None, what, message)));
    known.collect()
}

/// History as a person reads it.
fn describe(excerpt: &Excerpt, style: Style, width: Option<usize>) -> String {
    if excerpt.entries.is_empty() {
        return "nothing happened yet, as far as the ledger tells".to_owned();
    }
    let mut table = Table::new(&["TIME", "KEY", "GEN", "WHAT"]);
    for entry in &excerpt.entries {
        let is_bad = matches!(entry.outcome.as_deref(), Some("refused" | "unknown"))
            || matches!(entry.what.as_str(), "blocked" | "missing");
        table.row(vec![
            entry.at.to_string(),
            entry.key.clone().unwrap_or_else(|| "-".to_owned()),
            entry.generation.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            if is_bad {
                style.bad(&entry.message)
            } else {
                entry.message.clone()
            },
        ]);
    }
    let mut text = table.render_within(style, width);
    if excerpt.left_out > 0 {
        text.push_str(&format!(
            "\n{} older entries are left out: name a key, or --since\n",
            excerpt.left_out
        ));
    }
    text.truncate(text.trim_end().len());
    text
}

/// The ledger's file in the state directory.
const LEDGER: &str = "ledger.sqlite";
/// Far below the longest answer that is read.
const MOST_ENTRIES: usize = 20_000;

#[cfg(test)]
mod tests;
