//! Running all test programs, several at a time: most of them wait, for clouds, for hosts, for deadlines.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use keyferry_tests::build::workspace;
use serde_json::Value;

use crate::run::{cargo, cargo_program, complain, say};

/// Builds every test program of the workspace and runs them all, [`AT_ONCE`] at a time, each in its package's folder as
/// cargo does; then the examples in documentation. What a program prints is shown when it has ended. Words in `arguments`
/// go to the programs.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let arguments = arguments.strip_prefix(&["--"]).unwrap_or(arguments);
    let programs = build()?;
    let start = Instant::now();
    let waiting = Mutex::new(VecDeque::from(programs));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no thread panics with it").pop_front();
                    let Some(program) = next else { return };
                    if let Err(message) = program.run(arguments) {
                        failed.lock().expect("no thread panics with it").push(message);
                    }
                }
            });
        }
    });
    say(&format!("all test programs: {} s", start.elapsed().as_secs()));
    let failed = failed.into_inner().expect("no thread panics with it");
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    let mut words = vec!["test", "--workspace", "--doc", "--"];
    words.extend(arguments);
    cargo(&words)
}

/// One test program.
struct Program {
    /// What cargo calls it, with its package.
    name: String,
    path: PathBuf,
    folder: PathBuf,
}

impl Program {
    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        let start = Instant::now();
        let output = Command::new(&self.path)
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO", cargo_program())
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("KEYFERRY_BUILT", "1")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start {}: {error}", self.name))?;
        let is_fine = output.status.success();
        self.show(&output, start.elapsed(), is_fine);
        match is_fine {
            true => Ok(()),
            false => Err(format!("{} failed: {}", self.name, output.status)),
        }
    }

    /// In one piece, so that the words of programs that run side by side do not mix.
    fn show(&self, output: &Output, time: Duration, is_fine: bool) {
        let mut text = format!("     Ran {} in {:.1} s\n", self.name, time.as_secs_f64());
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        // What a test says that passes is of interest to nobody.
        if !is_fine {
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        say(text.trim_end());
    }
}

/// Builds the test programs and names them, the longest ones first.
fn build() -> Result<Vec<Program>, String> {
    let words = [
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ];
    say(&format!("$ cargo {}", words.join(" ")));
    let mut child = Command::new(cargo_program())
        .args(words)
        .current_dir(workspace())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let lines = BufReader::new(child.stdout.take().ok_or("cargo has no output")?);
    let mut programs = Vec::new();
    for line in lines.lines() {
        let line = line.map_err(|error| format!("cargo's output cannot be read: {error}"))?;
        programs.extend(serde_json::from_str(&line).ok().as_ref().and_then(test_program));
    }
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cargo {} failed: {status}", words.join(" ")));
    }
    if programs.is_empty() {
        return Err("cargo named no test programs".to_owned());
    }
    programs.sort_by_key(|program| {
        let place = LONGEST.iter().position(|name| program.name.ends_with(name));
        (place.unwrap_or(LONGEST.len()), program.name.clone())
    });
    complain(&format!("{} test programs, {AT_ONCE} at a time", programs.len()));
    Ok(programs)
}

/// The test program that a message of cargo's is about.
fn test_program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let folder = PathBuf::from(message["manifest_path"].as_str()?)
        .parent()?
        .to_owned();
    let package = folder.strip_prefix(workspace()).ok()?.display().to_string();
    let target = message["target"]["name"].as_str()?;
    let kind = match message["target"]["kind"][0].as_str()? {
        "test" => "test",
        _ => "unit tests",
    };
    Some(Program {
        name: format!("{package}: {kind} {target}"),
        path,
        folder,
    })
}

/// On two cores as many as keep both busy. With more, waits that have a deadline begin to miss it.
const AT_ONCE: usize = 4;

/// Programs that take minutes, begun first so that none of them runs alone at the end.
const LONGEST: [&str; 1] = ["tests: test rotation_crashes"];
