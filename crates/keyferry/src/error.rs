//! What can go wrong in a command, with the way out.

use std::io;
use std::path::PathBuf;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The agent's socket could not be bound.
    #[error(transparent)]
    AgentSocket(#[from] keyferry_agent::BindError),
    /// The account file is not there.
    #[error("there is no account file {}\n  name a file, such as ~/.config/keyferry/accounts/NAME.toml", .0.display())]
    AccountMissing(PathBuf),
    /// A file was named for the config directory.
    #[error("{} is a file\n  name the config directory, which holds keyferry.toml, accounts/ and keys/: all of it is checked", .0.display())]
    ConfigIsFile(PathBuf),
    /// The config directory is not there.
    #[error("there is no config directory at {}\n  `keyferry init` writes a first one; or name another", .0.display())]
    ConfigMissing(PathBuf),
    /// The answer of the daemon was not understood.
    #[error(
        "the daemon's answer is not understood ({0})\n  is it another version than this program? restart it"
    )]
    Answer(String),
    /// The command of `keyferry exec` could not be started.
    #[error("{}: {source}", program.to_string_lossy())]
    Command {
        /// The program.
        program: std::ffi::OsString,
        /// The cause.
        source: io::Error,
    },
    /// The control socket could not be used.
    #[error("cannot talk to the daemon at {}: {source}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The engine could not start.
    #[error(transparent)]
    Engine(#[from] keyferry_engine::error::EngineError),
    /// The process could not be hardened.
    #[error("cannot forbid core dumps and tracing: {0}")]
    Harden(io::Error),
    /// The daemon's answer is longer than any that is read.
    #[error(
        "the daemon's answer is longer than {0} MiB, which is more than this program reads\n  ask for some keys or hosts by name"
    )]
    LongAnswer(u64),
    /// The manual pages could not be written.
    #[error("cannot write the manual pages into {}: {source}", directory.display())]
    Manual {
        /// Where they were to go.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no home directory to find things in.
    #[error(
        "there is no home directory: set HOME, or name the directories with --config, --state and --runtime"
    )]
    NoHome,
    /// Somebody listens and says nothing.
    #[error("the daemon at {} does not answer\n  is it stopped? look at its process: ps -C keyferry", .0.display())]
    NoAnswer(PathBuf),
    /// No daemon answers.
    #[error("the daemon is not running: nothing answers at {}\n  start it with: keyferry daemon", .0.display())]
    NotRunning(PathBuf),
    /// Standard output is closed or full.
    #[error("cannot print: {0}")]
    Output(io::Error),
    /// A path could not be made absolute.
    #[error("cannot resolve {}: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A plugin could not be used.
    #[error("{0}")]
    Plugin(String),
    /// The daemon refused what was asked, in words.
    #[error("{0}")]
    Refused(String),
    /// The runtime directory cannot be used.
    #[error("cannot use the runtime directory {}: {reason}", path.display())]
    Runtime {
        /// The directory.
        path: PathBuf,
        /// Why not, and the way out.
        reason: String,
    },
    /// The program's own threads could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// A part of the daemon ended that must not.
    #[error("{0}; the log says more. Start it again: what was loaded is gone and is made anew")]
    Stopped(String),
    /// The command line asks for what makes no sense.
    #[error("{0}\n  see: keyferry help")]
    Usage(String),
}

impl Error {
    /// The exit code that goes with it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotRunning(_) => Exit::NotRunning,
            Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}
