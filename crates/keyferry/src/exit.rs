//! Exit codes: the contract with scripts.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// All is well.
    Fine,
    /// Something failed, and a message said what.
    Failed,
    /// The command line was not understood.
    Usage,
    /// No daemon answers at the control socket.
    NotRunning,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => ExitCode::from(0),
            Exit::Failed => ExitCode::from(1),
            Exit::Usage => ExitCode::from(2),
            Exit::NotRunning => ExitCode::from(3),
        }
    }
}

/// What `--help` says about exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0  fine
  1  something failed, and a message says what; or a question was answered with no
  2  the command line was not understood
  3  the daemon is not running";
