//! Python programs that cases run beside keyferry, each in a virtual environment of its own: made once, kept in the
//! target folder.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_lc_rs::digest;

use crate::build;

/// The virtual environment (`bin/python` and the packages' programs are in it) that has exactly the packages of a lock
/// file: one `name==version` per line, all of them, since nothing is resolved. Only wheels are installed, so no code of a
/// package runs here; where the file has `--hash` options, pip checks them.
///
/// It is made once for each content of the lock file. Whoever asks at the same time waits, in other processes too.
///
/// # Panics
/// When it cannot be made; the message says what is missing, and what pip said.
pub fn environment(name: &str, requirements: &Path) -> PathBuf {
    match try_environment(name, requirements) {
        Ok(folder) => folder,
        Err(message) => panic!("no Python environment for {name}: {message}"),
    }
}

/// As [`environment`], for those who can do without.
///
/// # Errors
/// What is missing, and what pip said.
pub fn try_environment(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let folder = place(name, requirements)?;
    let guard = folder.with_extension("lock");
    // Released when the file is closed, also by a process that ends.
    let guard = File::create(&guard).map_err(|error| format!("{}: {error}", guard.display()))?;
    guard.lock().map_err(|error| format!("no lock: {error}"))?;

    if is_complete(&folder) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).map_err(|words| {
        format!(
            "python3 with venv is missing; install with: sudo apt-get install python3 python3-venv ({words})"
        )
    })?;
    let mut pip = Command::new(folder.join(PYTHON));
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--no-compile",
    ])
    .args(["--only-binary", ":all:", "--requirement"])
    .arg(requirements);
    run(&mut pip).map_err(|words| {
        format!(
            "pip cannot install {}, for which it needs a package index: {words}",
            requirements.display()
        )
    })?;
    let complete = folder.join(COMPLETE);
    File::create(&complete).map_err(|error| format!("{}: {error}", complete.display()))?;
    Ok(folder)
}

/// Whether [`try_environment`] would find it made.
pub fn has_environment(name: &str, requirements: &Path) -> bool {
    place(name, requirements).is_ok_and(|folder| is_complete(&folder))
}

/// Where the environment for the content of a lock file is.
fn place(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let lock = fs::read(requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    Ok(build::cache().join(format!("python-{name}-{}", short_hash(&lock))))
}

/// Not one whose interpreter has gone with an update of the system.
fn is_complete(folder: &Path) -> bool {
    folder.join(COMPLETE).exists() && run(Command::new(folder.join(PYTHON)).args(["-c", ""])).is_ok()
}

/// Runs a command; the error is the last lines of what it printed.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("; ");
    Err(format!("{}: {last}", output.status))
}

fn short_hash(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref()[..6].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string never fails");
        hex
    })
}

const PYTHON: &str = "bin/python";

/// The file that is made last.
const COMPLETE: &str = "complete";

const SHOWN_LINES: usize = 4;
