//! `cargo xtask demo`: builds, and shows the whole path.

use std::process::Command;

use crate::requirements::{self, CLIENT, COMPILER, SERVER};
use crate::run::{self, Lints, say};

/// Runs the demo; with `keep`, it leaves everything running and prints what to type.
pub(crate) fn run(keep: bool) -> Result<(), String> {
    requirements::ensure(&[COMPILER, CLIENT, SERVER])?;
    say("Building keyferry, its plugins and the loopback cloud ...");
    let programs = run::build(&["--workspace"], Lints::Shown)?;
    let demo = programs.iter().find(|program| program.target == "demo");
    let demo = demo.ok_or("cargo did not build the demo")?;
    let mut command = Command::new(&demo.path);
    command.env("KEYFERRY_BUILT", "1");
    if keep {
        command.arg("--keep");
    }
    run::run(&mut command, "the demo")
}
