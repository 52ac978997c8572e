//! `cargo xtask test`: everything that must hold, the fastest check first.

use crate::requirements::{self, CLIENT, COMPILER, HOSTS, NETWORK, PYTHON, Requirement, SERVER, TRACER};
use crate::run::cargo;
use crate::suite;

/// Runs format, lints and all tests. Words after `--` go to the test programs.
pub(crate) fn test(arguments: &[&str]) -> Result<(), String> {
    requirements::ensure(NEEDED.iter().chain(&HOSTS))?;
    cargo(&["fmt", "--all", "--check"])?;
    suite::run(arguments)
}

/// Runs the long forms: the same cases, with more rounds.
pub(crate) fn soak(arguments: &[&str]) -> Result<(), String> {
    requirements::ensure(NEEDED.iter().chain(&HOSTS))?;
    suite::soak(arguments)
}

const NEEDED: [Requirement; 6] = [COMPILER, CLIENT, SERVER, TRACER, PYTHON, NETWORK];
