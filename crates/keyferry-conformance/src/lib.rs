//! Checks a plugin's library against the contract, as its author does before anybody uses it, and as our own tests do.
//!
//! The plugin runs in a sandbox, its requests are judged by the courier's own code, and its vendor is played from
//! [recorded replies](recorded) and from what becomes of them when they are cut, twisted and blown up. Nothing is sent.

use std::path::Path;
use std::time::Duration;

use keyferry_plugin::contract::OperationKind;
use keyferry_sandbox::{Launch, LibraryFacts, Limits, Sandbox, SandboxError};

mod checks;
mod document;
mod mutate;
pub mod recorded;
mod report;
mod walk;

pub use recorded::{Recorded, RecordedError};
pub use report::{Check, CheckResult, Report};

/// How much to try.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Fuzzed replies for each operation.
    pub rounds: usize,
    /// The same seed gives the same replies.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 300, seed: 1 }
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recorded replies cannot be read.
    #[error("cannot read the recorded replies: {0}")]
    Recorded(#[from] RecordedError),
    /// The plugin does not run.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Checks an inspected library. `launch` starts the sandbox; `recorded` is the folder of recorded replies.
///
/// # Errors
/// The plugin does not run at all, or its recorded replies cannot be read. What a plugin does wrong is in the report.
pub fn check(
    launch: &Launch,
    facts: &LibraryFacts,
    recorded: Option<&Path>,
    options: Options,
) -> Result<Report, Error> {
    let recorded = match recorded {
        Some(folder) => recorded::read(folder)?,
        None => Recorded::default(),
    };
    // A second process: what is the same in both depends on nothing but the question.
    // How long a step may take is a check of its own; here a busy machine must not end one.
    let limits = Limits {
        cpu_time: Duration::from_secs(600),
        start_time: Duration::from_secs(30),
        step_time: Duration::from_secs(30),
        ..Limits::default()
    };
    let start = || Sandbox::start(launch.clone(), facts.clone(), limits);
    let bench = checks::Bench {
        facts,
        plugin: start()?,
        twin: start()?,
        recorded: &recorded,
        options,
    };
    let mut report = Report::default();
    report.note("manifest", Ok("keeps the rules".to_owned()));
    bench.check_border(&mut report);
    for kind in OperationKind::ALL {
        if kind != OperationKind::RunCommand && facts.manifest.operations.contains_key(&kind) {
            bench.check_operation(kind, &mut report);
        }
    }
    Ok(report)
}
