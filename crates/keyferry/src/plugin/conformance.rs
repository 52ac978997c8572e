//! `keyferry plugin check`: whether a library keeps the contract.

use std::path::{Path, PathBuf};

use keyferry_conformance::{CheckResult, Options, Report};
use keyferry_sandbox::{Launch, LibraryFacts, library};
use serde_json::json;

use super::commands::CheckArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::table::{self, Style, Table};
use crate::{clouds, paths};

/// Runs all checks and prints what came of them.
pub(super) fn check(arguments: &CheckArguments) -> Result<Exit, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Plugin(error.to_string());
    let facts = library::inspect(&paths::absolute(&arguments.library)?).map_err(|error| failed(&error))?;
    let beside = Path::new("conformance");
    let recorded: Option<PathBuf> = match &arguments.recorded {
        Some(folder) => Some(folder.clone()),
        None => beside.is_dir().then(|| beside.to_owned()),
    };
    let role = clouds::role("sandbox");
    let launch = Launch {
        program: role.program,
        args: role.args,
        env: Vec::new(),
    };
    let options = Options {
        rounds: arguments.rounds,
        seed: arguments.seed,
    };
    let mut progress = Progress::new();
    progress.show(&format!("checking {}, which may take a minute ...", facts.name));
    let report = keyferry_conformance::check(&launch, &facts, recorded.as_deref(), options)
        .map_err(|error| failed(&error))?;
    drop(progress);
    table::print(&match arguments.json {
        true => format!(
            "{:#}",
            json!({"plugin": facts.name, "version": facts.version, "sha256": facts.sha256,
                   "passed": report.passed(), "checks": report.checks})
        ),
        false => described(&facts, recorded.as_deref(), &report),
    })?;
    Ok(if report.passed() { Exit::Fine } else { Exit::Failed })
}

fn described(facts: &LibraryFacts, recorded: Option<&Path>, report: &Report) -> String {
    let style = Style::of_stdout();
    let mut rows = Table::new(&["CHECK", "RESULT", ""]);
    for check in &report.checks {
        let (result, words) = match check.result {
            CheckResult::Absent => ("absent".to_owned(), check.message.clone()),
            CheckResult::Failed => (style.bad("failed"), String::new()),
            CheckResult::Passed => ("passed".to_owned(), check.message.clone()),
        };
        rows.row(vec![check.name.clone(), result, words]);
    }
    let mut text = rows.render(style);
    for check in report.failures() {
        text.push_str(&format!("\n{}: {}\n", style.bad(&check.name), check.message));
    }
    let count = report.failures().count();
    let (name, version) = (&facts.name, &facts.version);
    text.push_str(&match count {
        0 => format!(
            "\n{name} {version} keeps the contract: {} checks passed",
            report.checks.len()
        ),
        _ => format!(
            "\n{name} {version}: {count} of {} checks failed",
            report.checks.len()
        ),
    });
    if recorded.is_none() {
        text.push_str("\nno recorded replies: run it in the plugin's folder, or name them with --recorded");
    }
    text
}
