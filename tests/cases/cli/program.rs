//! Running the program as a person or a script does.

use std::path::Path;
use std::process::{Command, Stdio};

use keyferry_tests::build::built;

/// A key that is quick to make.
pub(crate) const KEY: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `keyferry` in an environment with nothing but a home and a PATH.
pub(crate) fn keyferry(home: &Path, arguments: &[&str]) -> Ran {
    let output = command(home)
        .args(arguments)
        .output()
        .expect("keyferry can be started");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("text is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("text is UTF-8"),
    }
}

/// `keyferry` in an environment with nothing but a home and a PATH.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(built().keyferry());
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null());
    command
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
