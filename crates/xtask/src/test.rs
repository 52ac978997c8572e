//! `cargo xtask test`: everything that must hold, the fastest check first.

use std::time::Instant;

use crate::requirements::{self, CLIENT, COMPILER, HOSTS, NETWORK, PYTHON, Requirement, SERVER, TRACER};
use crate::run::{cargo, say};
use crate::suite;

/// Runs format, lints and all tests. Words after `--` go to the test programs.
pub(crate) fn test(arguments: &[&str]) -> Result<(), String> {
    let start = Instant::now();
    tell_who_is_not_root();
    requirements::ensure(NEEDED.iter().chain(&HOSTS))?;
    cargo(&["fmt", "--all", "--check"])?;
    let result = suite::run(arguments);
    say(&format!(
        "All of it took {} s, the build included",
        start.elapsed().as_secs()
    ));
    result
}

/// Runs the long forms: the same cases, with more rounds.
pub(crate) fn soak(arguments: &[&str]) -> Result<(), String> {
    tell_who_is_not_root();
    requirements::ensure(NEEDED.iter().chain(&HOSTS))?;
    suite::soak(arguments)
}

/// Before what takes minutes. It is no error: most cases need no root.
fn tell_who_is_not_root() {
    if !rustix::process::geteuid().is_root() {
        say(
            "not running as root: the cases that make hosts or drop to another user will fail (sudo -E cargo xtask test)",
        );
    }
}

const NEEDED: [Requirement; 6] = [COMPILER, CLIENT, SERVER, TRACER, PYTHON, NETWORK];
