//! Printing, and running cargo and what it built.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Write};
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
///
/// Lints come with it: `cargo clippy` shares nothing with a build, and every library would be compiled a second time, for its
/// types alone.
///
/// # Errors
/// What cargo says; of [`Lints::Denied`]: a warning, or no clippy.
pub(crate) fn build(arguments: &[&str], lints: Lints) -> Result<Vec<Program>, String> {
    say(&format!("$ cargo build {}", arguments.join(" ")));
    let mut command = Command::new(cargo_program());
    match (lints, lint_compiler()) {
        (Lints::None, _) | (Lints::Shown, None) => {}
        (Lints::Shown | Lints::Denied, Some(compiler)) => _ = command.env(WRAPPER, compiler),
        (Lints::Denied, None) => {
            return Err("clippy is missing; install with: rustup component add clippy".to_owned());
        }
    }
    let mut child = command
        .arg("build")
        .args(arguments)
        .arg(match std::io::stderr().is_terminal() {
            true => "--message-format=json-diagnostic-rendered-ansi",
            false => "--message-format=json",
        })
        .current_dir(workspace())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let lines = BufReader::new(child.stdout.take().ok_or("cargo has no output")?);
    let mut programs = Vec::new();
    let mut warned = false;
    for line in lines.lines() {
        let line = line.map_err(|error| format!("cargo's output cannot be read: {error}"))?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if let Some(diagnostic) = message["message"]["rendered"].as_str() {
            warned = true;
            complain(diagnostic.trim_end());
        }
        programs.extend(program(&message));
    }
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    match status.success() {
        true if warned && lints == Lints::Denied => Err("there are warnings (above)".to_owned()),
        true => Ok(programs),
        false => Err(format!("cargo build failed: {status}")),
    }
}

/// What becomes of lints in a build.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lints {
    /// What is shipped is compiled by rustc itself: the compiler that knows the lints leaves out some of its optimising.
    None,
    /// They are shown, where clippy is installed.
    Shown,
    /// They are shown, and nothing goes on.
    Denied,
}

/// Tells cargo which program compiles what is in the workspace.
pub(crate) const WRAPPER: &str = "RUSTC_WORKSPACE_WRAPPER";

/// The compiler that knows clippy's lints: beside cargo, where it was installed.
pub(crate) fn lint_compiler() -> Option<PathBuf> {
    let cargo = PathBuf::from(cargo_program());
    let driver = cargo.with_file_name(format!("clippy-driver{}", std::env::consts::EXE_SUFFIX));
    driver.is_file().then_some(driver)
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
