//! `cargo xtask test`: everything that must hold, the fastest check first.

use crate::requirements::{self, CLIENT, COMPILER, HOSTS, NETWORK, PYTHON, Requirement, SERVER, TRACER};
use crate::run::cargo;
use crate::suite;

/// Runs format, lints and all tests. Words after `--` go to the test programs.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    requirements::ensure(NEEDED.iter().chain(&HOSTS))?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ])?;
    // The programs and libraries that end-to-end cases start; built here, so that no case waits for a build.
    cargo(&["build", "--workspace"])?;
    suite::run(arguments)
}

/// Runs the long forms: the same cases, with more rounds.
pub(crate) fn soak(arguments: &[&str]) -> Result<(), String> {
    requirements::ensure(NEEDED.iter().chain(&HOSTS))?;
    cargo(&["build", "--workspace"])?;
    let mut words = vec!["test", "--package", "keyferry-tests"];
    words.extend(arguments);
    crate::run::cargo_with(&words, &[("KEYFERRY_SOAK", "1")])
}

const NEEDED: [Requirement; 6] = [COMPILER, CLIENT, SERVER, TRACER, PYTHON, NETWORK];
