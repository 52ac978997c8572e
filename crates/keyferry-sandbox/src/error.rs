//! What can go wrong with a plugin: [`SandboxError`] while it runs, [`LoadError`](crate::LoadError) before that.

use std::io;
use std::time::Duration;

/// A plugin did not answer as it should. It costs this one answer: the next question starts a new process.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} {fault}")]
pub struct SandboxError {
    /// The plugin's name.
    pub plugin: String,
    /// What it did.
    pub fault: Fault,
}

impl SandboxError {
    /// What the user can do about it.
    pub fn remedy(&self) -> &'static str {
        match self.fault {
            Fault::Launch(_) => "check that this user may start processes, then try again",
            Fault::Refused(_) => "install the plugin again",
            Fault::Killed => {
                "if nobody killed it by hand, look for the kernel's out-of-memory killer in the system's log"
            }
            Fault::RequestTooLong(_) => "report it to the authors of keyferry",
            _ => {
                "it is tried again with a new process; if it happens again, update the plugin or report it to its author"
            }
        }
    }
}

/// What a plugin, or the process that holds it, did.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It ended itself by SIGABRT: a failed check in its code, or a stack overflow.
    #[error("aborted (its last words are in the log)")]
    Aborted,
    /// A signal of the processor ended it.
    #[error("crashed ({})", signal_words(*signal))]
    Crashed {
        /// The signal's number.
        signal: i32,
    },
    /// It used up the processor time of its process.
    #[error("used more than {} s of CPU time", limit.as_secs())]
    CpuTime {
        /// The limit.
        limit: Duration,
    },
    /// It ended the process, or closed the connection.
    #[error("ended its process instead of answering (exit status {code})")]
    Exited {
        /// The exit status.
        code: i32,
    },
    /// It answered what is not a step.
    #[error("gave an answer that is not understood: {0}")]
    Garbage(#[source] Garbage),
    /// Somebody else killed the process.
    #[error("was killed from outside (signal 9)")]
    Killed,
    /// The process could not be started.
    #[error("has no process: starting it failed: {0}")]
    Launch(#[source] io::Error),
    /// It crashed or aborted with most of its memory in use.
    #[error("ran out of its {} MiB of memory", limit / (1024 * 1024))]
    Memory {
        /// The limit in bytes.
        limit: u64,
    },
    /// It took too long to answer, and was killed.
    #[error("did not {doing} within {} s", limit.as_secs_f32())]
    Overrun {
        /// `answer` or `load`.
        doing: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The library was not loaded.
    #[error("was not loaded: {0}")]
    Refused(String),
    /// The question itself is too long to be asked.
    #[error("cannot be asked with a request of {0} bytes")]
    RequestTooLong(usize),
    /// The connection to the process failed while it lived; it was killed.
    #[error("lost its connection to keyferry")]
    Unconnected,
}

/// Why an answer is not a step.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Garbage {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is not JSON.
    #[error("it is not JSON ({0})")]
    NotJson(String),
    /// It is JSON, but no step, or too deeply nested to be looked at.
    #[error("it is not a step ({0})")]
    NotAStep(String),
    /// It is longer than keyferry reads.
    #[error("it has {length} bytes, at most {cap} are read")]
    TooLong {
        /// Its length in bytes; 4294967295 stands for more than that.
        length: usize,
        /// The greatest length in bytes.
        cap: usize,
    },
    /// It has a field that its version of the contract does not know.
    #[error("it has the unknown field {0}")]
    UnknownField(String),
}

fn signal_words(signal: i32) -> String {
    match signal {
        libc::SIGSEGV => "segmentation fault".to_owned(),
        libc::SIGBUS => "bus error".to_owned(),
        libc::SIGILL => "illegal instruction".to_owned(),
        libc::SIGFPE => "arithmetic fault".to_owned(),
        libc::SIGTRAP => "breakpoint".to_owned(),
        libc::SIGSYS => "forbidden system call".to_owned(),
        other => format!("signal {other}"),
    }
}

/// Text that a plugin wrote, fit for a message: short, on one line, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(QUOTED_CHARACTERS)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_debug());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        short.push_str("...");
    }
    short
}

const QUOTED_CHARACTERS: usize = 500;
