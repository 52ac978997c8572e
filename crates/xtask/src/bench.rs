//! `cargo xtask bench`: side by side with the installed ssh-agent.

use std::process::Command;

use crate::requirements::{self, CLIENT};
use crate::run::{self, Lints, run};

/// Builds with the release profile and measures.
pub(crate) fn bench(arguments: &[&str]) -> Result<(), String> {
    requirements::ensure(&[CLIENT])?;
    let programs = run::build(&["--release", "--workspace"], Lints::None)?;
    let bench = programs.iter().find(|program| program.target == "bench");
    let bench = bench.ok_or("cargo did not build the benchmark")?;
    let mut command = Command::new(&bench.path);
    run(
        command.args(arguments).env("KEYFERRY_BUILT", "1"),
        "the benchmark",
    )
}
