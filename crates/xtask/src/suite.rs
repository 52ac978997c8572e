//! Running all test programs, some at a time: most of them wait, for clouds, for hosts, for deadlines.

use std::collections::VecDeque;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::run::{self, Lints, Program, cargo_program, say, workspace};

/// Builds everything, and runs all test programs, [`ALONE`] or [`AT_ONCE`] at a time, each in its package's folder as cargo
/// does; then the examples in documentation. What a program prints is shown when it has ended. Words in `arguments` go to the
/// programs.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let arguments = arguments.strip_prefix(&["--"]).unwrap_or(arguments);
    // The programs and libraries that end-to-end cases start are built here too, so that no case waits for a build.
    let mut programs = run::build(&["--workspace", "--all-targets"], Lints::Denied)?;
    programs.retain(|program| program.is_test);
    programs.sort_by_key(|program| {
        let place = LONGEST.iter().position(|name| program.target == *name);
        (place.unwrap_or(LONGEST.len()), name(program))
    });
    if programs.is_empty() {
        return Err("cargo built no test programs".to_owned());
    }
    say(&format!("{} test programs", programs.len()));

    let start = Instant::now();
    let (alone, together): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .partition(|program| ALONE.contains(&program.target.as_str()));
    let alone = alone.iter().map(|program| run_one(program, arguments));
    let failed = Mutex::new(alone.filter_map(Result::err).collect::<Vec<_>>());
    let waiting = Mutex::new(VecDeque::from(together));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no thread panics with it").pop_front();
                    let Some(program) = next else { return };
                    if let Err(message) = run_one(&program, arguments) {
                        failed.lock().expect("no thread panics with it").push(message);
                    }
                }
            });
        }
    });
    say(&format!("All test programs took {} s", start.elapsed().as_secs()));
    let failed = failed.into_inner().expect("no thread panics with it");
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    examples(arguments)
}

/// Builds everything, and runs what has a long form, one program after the other, each of which shows how far it is. Words in
/// `arguments` go to the programs.
pub(crate) fn soak(arguments: &[&str]) -> Result<(), String> {
    let arguments = arguments.strip_prefix(&["--"]).unwrap_or(arguments);
    let mut programs = run::build(&["--workspace", "--all-targets"], Lints::Shown)?;
    programs.retain(|program| program.is_test && LONG.contains(&program.target.as_str()));
    let mut failed = Vec::new();
    for program in &programs {
        let start = Instant::now();
        say(&format!("     Running {}", name(program)));
        let status = command(program, arguments)
            .env("KEYFERRY_SOAK", "1")
            .status()
            .map_err(|error| format!("cannot start {}: {error}", name(program)))?;
        say(&format!(
            "     Ran {} in {} s",
            name(program),
            start.elapsed().as_secs()
        ));
        if !status.success() {
            failed.push(format!("{} failed: {status}", name(program)));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n")),
    }
}

/// Runs the examples in documentation, with the libraries that were built already.
fn examples(arguments: &[&str]) -> Result<(), String> {
    let words = ["test", "--workspace", "--doc", "--"];
    say(&format!("$ cargo {}", words.join(" ")));
    let mut command = Command::new(cargo_program());
    if let Some(driver) = run::lint_compiler() {
        command.env(run::WRAPPER, driver);
    }
    run::run(command.args(words).args(arguments), "cargo test")
}

fn run_one(program: &Program, arguments: &[&str]) -> Result<(), String> {
    let start = Instant::now();
    let output = command(program, arguments)
        .output()
        .map_err(|error| format!("cannot start {}: {error}", name(program)))?;
    show(program, &output, start.elapsed());
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{} failed: {}", name(program), output.status)),
    }
}

/// How a program is started that finds what it needs already built.
fn command(program: &Program, arguments: &[&str]) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(arguments)
        .current_dir(&program.folder)
        .env("CARGO", cargo_program())
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .env("KEYFERRY_BUILT", "1")
        .stdin(Stdio::null());
    if let Some((_, cases)) = PATIENT.iter().find(|(name, _)| program.target == *name) {
        command.env("RUST_TEST_THREADS", cases);
    }
    command
}

/// In one piece, so that the words of programs that run side by side do not mix.
fn show(program: &Program, output: &Output, time: Duration) {
    let mut text = format!("     Ran {} in {:.1} s\n", name(program), time.as_secs_f64());
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    // What is said beside tests that pass is of interest to nobody.
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    say(text.trim_end());
}

fn name(program: &Program) -> String {
    let folder = program
        .folder
        .strip_prefix(workspace())
        .unwrap_or(&program.folder);
    match program.is_apart {
        true => format!("{} ({})", folder.join("tests").display(), program.target),
        false => format!("{} ({})", folder.join("src").display(), program.target),
    }
}

/// What waits with a deadline begins to miss it with more, on two cores.
const AT_ONCE: usize = 2;

/// Programs that load the machine, or in which the patience that keyferry has with a plugin runs out on one that is loaded.
const ALONE: [&str; 4] = ["authors", "courier", "interference", "sandbox"];

/// Programs that take minutes, begun first so that none of them runs alone at the end.
const LONGEST: [&str; 4] = ["nova", "rotation_crashes", "crashes", "clouds"];

/// Programs whose cases wait most of their time for deadlines to pass, and how many of them run at once.
const PATIENT: [(&str, &str); 3] = [("clouds", "4"), ("courier", "6"), ("hosts", "4")];

/// Programs some of whose cases have a long form.
const LONG: [&str; 5] = [
    "courier",
    "crashes",
    "keyferry_engine",
    "rotation",
    "rotation_crashes",
];
