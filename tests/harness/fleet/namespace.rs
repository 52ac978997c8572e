//! Mount and process namespaces of a host, kept by one process as long as the host is there.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The namespaces. With them ends every process in them; that is so too when the test is killed, since the process that keeps
/// them waits for the end of a pipe from here.
#[derive(Debug)]
pub(super) struct Namespace {
    keeper: Child,
    /// The process in them with number 1.
    first: u32,
}

impl Namespace {
    /// Makes them, and runs a script of sh in them first, with these arguments.
    ///
    /// # Panics
    /// Without root, or when the script fails.
    pub(super) fn new(script: &str, arguments: &[&OsStr]) -> Self {
        let script = format!("set -e\n{script}\necho ready\nexec cat\n");
        let mut keeper = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
                "--",
            ])
            .args(["/bin/sh", "-c", &script, "host"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be started (Debian: util-linux)");
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the pipe can be read");
        assert_eq!(line, "ready\n", "the host's file systems cannot be mounted");
        let first = child_of(keeper.id()).expect("the namespace has a first process");
        Self { keeper, first }
    }

    /// A path as the processes in them see it. Those outside reach it by this one.
    pub(super) fn path(&self, inside: &Path) -> PathBuf {
        let below = inside.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.first)).join(below)
    }

    /// A command that runs a program in them. What is started is `nsenter`; the program is its child.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--pid", "--target"])
            .arg(self.first.to_string())
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a program in them to its end.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub(super) fn run(&self, program: &str, arguments: &[&OsStr]) {
        let output = self
            .command(Path::new(program))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("nsenter can be started (Debian: util-linux)");
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its child goes with it (--kill-child), and with that one everything else in there.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// The child of a process that has one alone.
pub(super) fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
