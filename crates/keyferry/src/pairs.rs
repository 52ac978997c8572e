//! `keyferry refresh` and `keyferry orphans`: what there is at the providers.

use std::collections::BTreeSet;

use keyferry_engine::snapshot::{OrphanResult, Snapshot, StatusError, StrayPair, SurveyReport};
use serde_json::json;

use crate::cli::{OrphansArguments, RefreshArguments};
use crate::control::client::{Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::prompts::terminal;
use crate::table::{self, Style, Table, print_json};

/// `keyferry refresh`.
pub(crate) fn refresh(arguments: &RefreshArguments) -> Result<Exit, Error> {
    let door = Door::of(&arguments.runtime)?;
    let (reports, snapshot) = survey(&door, arguments.names.clone())?;
    if arguments.json {
        let accounts: Vec<_> = reports
            .iter()
            .map(|report| json!({ "account": report.account, "pairs": report.pairs, "error": report.error }))
            .collect();
        let keys: Vec<_> = snapshot
            .keys
            .iter()
            .map(|key| json!({ "name": key.name, "drift": key.drift, "regions": key.regions }))
            .collect();
        print_json(&json!({ "accounts": accounts, "keys": keys }))?;
    } else {
        table::print(&describe(&reports, &snapshot, Style::of_stdout()))?;
    }
    Ok(outcome(&reports))
}

/// `keyferry orphans`.
pub(crate) fn orphans(arguments: &OrphansArguments) -> Result<Exit, Error> {
    let asks = arguments.delete && !arguments.yes;
    if asks && (arguments.json || !terminal::has_person()) {
        return Err(Error::Usage(
            "there is nobody to ask whether to delete: look at the list without --delete, then say --delete --yes"
                .to_owned(),
        ));
    }
    let door = Door::of(&arguments.runtime)?;
    let (reports, _) = survey(&door, Vec::new())?;
    // Two accounts may be one to the vendor. Of a pair that is listed again after its deletion the next run tells.
    let mut seen = BTreeSet::new();
    let strays = reports
        .iter()
        .flat_map(|report| report.strays.iter().cloned())
        .filter(|stray| {
            seen.insert((
                stray.region.clone(),
                stray.name.clone(),
                stray.fingerprint.clone(),
            ))
        });
    let (ours, others): (Vec<StrayPair>, Vec<StrayPair>) = strays.partition(|stray| stray.is_ours);
    if !arguments.json {
        table::print(&list(&ours, &others, &reports, Style::of_stdout()))?;
    }
    let wanted = arguments.delete && !ours.is_empty() && (!asks || is_confirmed(ours.len())?);
    let is_refused = arguments.delete && !ours.is_empty() && !wanted;
    let results = if wanted { delete(&door, &ours)? } else { Vec::new() };
    if arguments.json {
        let errors = reports.iter().filter_map(|report| {
            let error = report.error.as_ref()?;
            Some(json!({ "account": report.account, "error": error }))
        });
        let errors: Vec<_> = errors.collect();
        print_json(&json!({ "orphans": ours, "others": others, "errors": errors, "deleted": results }))?;
    } else if wanted {
        table::print(&tell(&results, Style::of_stdout()))?;
    }
    if is_refused {
        table::print("nothing was changed")?;
    }
    match is_refused || results.iter().any(|result| result.error.is_some()) {
        true => Ok(Exit::Failed),
        false => Ok(outcome(&reports)),
    }
}

fn survey(door: &Door, names: Vec<String>) -> Result<(Vec<SurveyReport>, Box<Snapshot>), Error> {
    let mut conversation = Conversation::start(door, &Request::Survey { names })?;
    match table::while_waiting("listing the pairs", || conversation.next())? {
        Answer::Surveyed {
            mut reports,
            snapshot,
        } => {
            reports.sort_by(|one, other| one.account.cmp(&other.account));
            Ok((reports, snapshot))
        }
        Answer::Refused(message) => Err(Error::Refused(message)),
        other => Err(Error::Answer(format!("{other:?} to a question about pairs"))),
    }
}

fn delete(door: &Door, orphans: &[StrayPair]) -> Result<Vec<OrphanResult>, Error> {
    let mut results = Vec::new();
    for some in orphans.chunks(AT_ONCE) {
        let request = Request::DeleteOrphans { pairs: some.to_vec() };
        let mut conversation = Conversation::start(door, &request)?;
        match table::while_waiting("deleting", || conversation.next())? {
            Answer::OrphansDeleted(some) => results.extend(some),
            Answer::Refused(message) => return Err(Error::Refused(message)),
            other => return Err(Error::Answer(format!("{other:?} to a question about orphans"))),
        }
    }
    Ok(results)
}

fn is_confirmed(count: usize) -> Result<bool, Error> {
    let pairs = if count == 1 { "this pair" } else { "these pairs" };
    table::is_confirmed(&format!("delete {pairs} at the provider?"))
}

fn outcome(reports: &[SurveyReport]) -> Exit {
    match reports.iter().any(|report| report.error.is_some()) {
        true => Exit::Failed,
        false => Exit::Fine,
    }
}

/// What was looked at, and what is not as the ledger has it.
fn describe(reports: &[SurveyReport], snapshot: &Snapshot, style: Style) -> String {
    let mut text = String::new();
    for report in reports {
        match (&report.error, report.pairs) {
            (Some(error), _) => text.push_str(&failed(&report.account, error, style)),
            (None, pairs) => {
                let pairs = pairs.unwrap_or_default();
                text.push_str(&format!(
                    "account {}: {pairs} key pairs looked at\n",
                    report.account
                ));
            }
        }
    }
    if reports.is_empty() {
        text.push_str("no accounts yet: each file accounts/NAME.toml in the config directory is one\n");
    }
    for key in &snapshot.keys {
        for region in &key.regions {
            let Some(error) = &region.error else { continue };
            let place = region
                .region
                .as_deref()
                .map(|region| format!(" in {region}"))
                .unwrap_or_default();
            let subject = format!("key {}{place}", key.name);
            text.push_str(&format!("\n{}: {}\n", style.bad(&subject), error.message));
            if let Some(remedy) = &error.remedy {
                text.push_str(&format!("  what to do: {remedy}\n"));
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Orphans, pairs of other installations, and accounts that could not be asked.
fn list(ours: &[StrayPair], others: &[StrayPair], reports: &[SurveyReport], style: Style) -> String {
    let mut text = String::new();
    let rows = |pairs: &[StrayPair]| {
        let mut table = Table::new(&["ACCOUNT", "REGION", "PAIR", "MADE", "FINGERPRINT"]);
        for pair in pairs {
            let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            table.row(vec![
                pair.account.clone(),
                or_none(&pair.region),
                pair.name.clone(),
                or_none(&pair.created_at),
                or_none(&pair.fingerprint),
            ]);
        }
        table.render(style)
    };
    match ours {
        [] => text.push_str("no orphans: every pair of this installation is in its ledger\n"),
        pairs => text.push_str(&rows(pairs)),
    }
    if !others.is_empty() {
        text.push_str("\nmade by other installations of keyferry, and never touched by this one:\n");
        text.push_str(&rows(others));
    }
    for report in reports {
        if let Some(error) = &report.error {
            text.push_str(&format!("\n{}", failed(&report.account, error, style)));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn failed(account: &str, error: &StatusError, style: Style) -> String {
    let subject = style.bad(&format!("account {account}"));
    let mut text = format!("{subject}: its pairs could not be looked at: {}\n", error.message);
    if let Some(remedy) = &error.remedy {
        text.push_str(&format!("  what to do: {remedy}\n"));
    }
    text
}

fn tell(results: &[OrphanResult], style: Style) -> String {
    let mut text = String::new();
    for result in results {
        match &result.error {
            None => text.push_str(&format!("deleted: {}\n", result.name)),
            Some(error) => {
                text.push_str(&format!(
                    "{}: {}\n",
                    style.bad(&format!("not deleted: {}", result.name)),
                    error.message
                ));
                if let Some(remedy) = &error.remedy {
                    text.push_str(&format!("  what to do: {remedy}\n"));
                }
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Orphans in one request: far below the longest that the daemon reads.
const AT_ONCE: usize = 50;
