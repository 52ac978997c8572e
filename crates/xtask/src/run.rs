//! Printing, and running cargo and what it built.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Prints a line on standard output.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line on standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The cargo that started this program.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The root of the project.
pub(crate) fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

/// Runs cargo in the workspace and shows what it prints.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), String> {
    say(&format!("$ cargo {}", arguments.join(" ")));
    run(Command::new(cargo_program()).args(arguments), "cargo")
}

/// Runs a program in the workspace and shows what it prints.
pub(crate) fn run(command: &mut Command, name: &str) -> Result<(), String> {
    let status = command
        .current_dir(workspace())
        .status()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{name} failed: {status}")),
    }
}

/// One program that cargo built.
pub(crate) struct Program {
    /// The name of its target: `demo`.
    pub(crate) target: String,
    /// Whether it is made of tests.
    pub(crate) is_test: bool,
    /// Whether those tests are in a folder of their own, and not beside what they test.
    pub(crate) is_apart: bool,
    pub(crate) path: PathBuf,
    /// The folder of its package.
    pub(crate) folder: PathBuf,
}

/// Builds, and names the programs that were built or had been before.
pub(crate) fn build(arguments: &[&str]) -> Result<Vec<Program>, String> {
    say(&format!("$ cargo build {}", arguments.join(" ")));
    let mut child = Command::new(cargo_program())
        .arg("build")
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let lines = BufReader::new(child.stdout.take().ok_or("cargo has no output")?);
    let mut programs = Vec::new();
    for line in lines.lines() {
        let line = line.map_err(|error| format!("cargo's output cannot be read: {error}"))?;
        programs.extend(serde_json::from_str(&line).ok().as_ref().and_then(program));
    }
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    match status.success() {
        true => Ok(programs),
        false => Err(format!("cargo build failed: {status}")),
    }
}

/// The program that a message of cargo's is about.
fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some(Program {
        target: message["target"]["name"].as_str()?.to_owned(),
        is_test: message["profile"]["test"] == true,
        is_apart: message["target"]["kind"][0] == "test",
        path: message["executable"].as_str()?.into(),
        folder: manifest.parent()?.to_owned(),
    })
}
