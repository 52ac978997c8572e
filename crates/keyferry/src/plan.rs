//! `keyferry plan`.

use std::time::SystemTime;

use keyferry_engine::snapshot::{KeyPlan, PlanStep};

use crate::cli::PlanArguments;
use crate::control::client;
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::table::{self, Style};
use crate::when;

/// `keyferry plan`.
pub(crate) fn run(arguments: &PlanArguments) -> Result<Exit, Error> {
    let request = Request::Plan {
        keys: arguments.keys.clone(),
    };
    let plans = match client::ask(&arguments.runtime, &request)? {
        Answer::Planned(plans) => plans,
        other => return Err(client::strange(&other)),
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&plans).map_err(|error| Error::Answer(error.to_string()))?;
        table::print(&text)?;
    } else {
        let text = describe(&plans, SystemTime::now(), Style::of_stdout());
        table::print(&table::wrapped(&text, table::width()))?;
    }
    Ok(Exit::Fine)
}

/// Plans as a person reads them: keys for which nothing is to be done are named together.
pub(crate) fn describe(plans: &[KeyPlan], now: SystemTime, style: Style) -> String {
    let mut text = String::new();
    let (quiet, busy): (Vec<&KeyPlan>, Vec<&KeyPlan>) = plans
        .iter()
        .partition(|plan| plan.steps.is_empty() && plan.waiting.is_none() && plan.warnings.is_empty());
    for plan in busy {
        text.push_str(&format!("{}\n", style.heading(&plan.key)));
        for line in steps(&plan.steps, now) {
            text.push_str(&format!("  {line}\n"));
        }
        if let Some(waiting) = &plan.waiting {
            text.push_str(&format!("  waits: {waiting}\n"));
        }
        for warning in &plan.warnings {
            text.push_str(&format!("  {}: {warning}\n", style.bad("beware")));
        }
        text.push('\n');
    }
    let quiet: Vec<&str> = quiet.iter().map(|plan| plan.key.as_str()).collect();
    if !quiet.is_empty() {
        text.push_str(&format!("nothing to do: {}\n", quiet.join(", ")));
    } else if plans.is_empty() {
        text.push_str("nothing to do: there are no keys\n");
    }
    text.truncate(text.trim_end().len());
    text
}

/// Steps one below the other; the same step on several hosts is one line.
fn steps(steps: &[PlanStep], now: SystemTime) -> Vec<String> {
    let mut lines: Vec<(&PlanStep, Vec<&str>)> = Vec::new();
    for step in steps {
        // Back to the last step that concerns all hosts.
        let of_hosts = lines
            .iter_mut()
            .rev()
            .take_while(|(before, _)| before.host.is_some());
        let alike = of_hosts
            .into_iter()
            .find(|(before, _)| is_alike(before, step, now));
        match (alike, step.host.as_deref()) {
            (Some((_, hosts)), Some(host)) => hosts.push(host),
            (_, host) => lines.push((step, host.into_iter().collect())),
        }
    }
    let words = |(step, hosts): (&PlanStep, Vec<&str>)| {
        let mut line = done(step.what.as_str(), step.generation);
        if !hosts.is_empty() {
            let place = match step.what.as_str() {
                "replace" | "take_off" | "take_off_trusted" => "off",
                "revoke" | "verify" | "verify_recovery" => "at",
                _ => "on",
            };
            line.push_str(&format!(" {place} {}", table::some(&hosts, MOST_NAMED)));
        }
        if let Some(at) = step.at {
            line.push_str(&format!(", {}", when::from_now(at, now)));
        }
        if !step.why.is_empty() {
            line.push_str(&format!(": {}", step.why));
        }
        line
    };
    let numbered = lines.into_iter().map(words).enumerate();
    numbered
        .map(|(index, line)| format!("{}. {line}", index + 1))
        .collect()
}

fn is_alike(one: &PlanStep, other: &PlanStep, now: SystemTime) -> bool {
    let words = |step: &PlanStep| step.at.map(|at| when::from_now(at, now));
    (&one.what, one.generation, &one.why) == (&other.what, other.generation, &other.why)
        && (other.at.is_none() || words(one) == words(other))
}

/// A step in words.
fn done(what: &str, generation: Option<u64>) -> String {
    let generation =
        generation.map_or_else(|| "the next generation".to_owned(), |n| format!("generation {n}"));
    match what {
        "copy" => format!("register the public half of {generation} in another region"),
        "create" => format!("have the provider make {generation}"),
        "look" => format!("look whether the pair of {generation} is there"),
        "delete" => format!("delete the pair of {generation} at the provider"),
        "doubt" => format!("give up looking for the pair of {generation}"),
        "forget" => "wipe a private half that has no pair".to_owned(),
        "generate" => format!("make {generation}"),
        "import" => format!("register the public half of {generation} at the provider"),
        "list_hosts" => "find out which hosts it has".to_owned(),
        "list_instances" => format!("ask which instances name the pair of {generation}"),
        "load" => format!("put {generation} into the agent"),
        "promote" => format!("offer {generation} everywhere"),
        "publish" => format!("write the public half of {generation} to the disk"),
        "put" => format!("put the line of {generation}"),
        "put_trusted" => "put the line of another key".to_owned(),
        "replace" => "take the lines of keys that it replaces".to_owned(),
        "revoke" => "take off lines that are revoked".to_owned(),
        "survey" => "look at all pairs of its account".to_owned(),
        "take_off" => format!("take the line of {generation}"),
        "take_off_trusted" => "take the lines of other keys".to_owned(),
        "unload" => format!("wipe {generation} from the agent"),
        "verify" => format!("see whether {generation} logs in"),
        "verify_recovery" => "see whether the recovery identity logs in".to_owned(),
        other => format!("{}: {generation}", other.replace('_', " ")),
    }
}

const MOST_NAMED: usize = 5;

#[cfg(test)]
mod tests;
