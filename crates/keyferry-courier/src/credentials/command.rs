//! What a command prints: the account's own, or one that a vendor's file names. The worker runs it; its output comes here
//! without touching the worker.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

use super::given::Raw;
use super::object;
use crate::enforce::cleaning;
use crate::process::Shared;
use crate::process::line::Answer;
use crate::secret::WipedBuffer;

/// Has the account's command run, and parses what it prints.
pub(super) fn obtain(shared: &Shared, argv: &[String], deadline: Instant) -> Result<Raw, String> {
    let program = argv.first().map(String::as_str).unwrap_or_default();
    let printed = run(shared, program, None, deadline)?;
    object::parse(&printed.bytes, &printed.location)
}

/// The words of a command's line, as a POSIX shell splits it; no shell runs it, so that variables and patterns stay as they
/// are.
pub(super) fn words(line: &str) -> Result<Vec<String>, &'static str> {
    if line.len() > MAX_LINE {
        return Err("is longer than a command may be");
    }
    if line.contains(['\0', '\n', '\r']) {
        return Err("holds a line end or a null character");
    }
    match shlex::split(line) {
        None => Err("has a quote without its end"),
        Some(words) if words.first().is_none_or(String::is_empty) => Err("names no program"),
        // No shell would set it; and the name of the program is shown, while the variable may hold a password.
        Some(words) if words.first().is_some_and(|word| is_assignment(word)) => {
            Err("begins with a variable, which only a shell sets: put it into a script")
        }
        Some(words) => Ok(words),
    }
}

/// Whether a word is `NAME=VALUE`, as a shell understands it before a command.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// What a command printed.
pub(super) struct Printed {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// In words: `the output of the command NAME`.
    pub(super) location: String,
}

/// Has a command run to its end: these words, or without them the account's own.
pub(super) fn run(
    shared: &Shared,
    program: &str,
    argv: Option<Vec<String>>,
    deadline: Instant,
) -> Result<Printed, String> {
    let program = cleaning::clean(program, 100);
    let source = format!("the output of the command {program}");
    let deadline = deadline.min(Instant::now() + DEADLINE);
    let need = shared.line.command(argv)?;
    let (stdout, stderr) = match need.answer(deadline) {
        Some(Answer::CommandStarted { stdout, stderr }) => (stdout, stderr),
        Some(Answer::CommandEnded(Err(reason))) => return Err(format!("the command {program} {reason}")),
        Some(_) => return Err(format!("the command {program} was not run")),
        None => return Err(format!("the command {program} was not started in time")),
    };
    let output = drain(stdout, stderr, deadline);
    // The worker ends the command at its own deadline, and tells.
    let outcome = match need.answer(deadline + Duration::from_secs(5)) {
        Some(Answer::CommandEnded(outcome)) => outcome,
        _ => Err(format!("did not finish within {} s", DEADLINE.as_secs())),
    };
    let Output {
        bytes,
        complete,
        too_long,
    } = output.map_err(|error| format!("{source} cannot be read: {error}"))?;
    // Said first: a command whose output nobody reads any more fails for that.
    if too_long {
        return Err(format!("{source} is longer than {MAX_OUTPUT} bytes"));
    }
    if let Err(reason) = outcome {
        // A wrapper that is traced (`set -x`) and a tool in debug mode say secrets there, in forms that nobody can tell.
        return Err(format!(
            "the command {program} {reason}; what it may have said on standard error is not shown, since it may hold a \
             secret: run {program} by hand to see it"
        ));
    }
    if !complete {
        return Err(format!("{source} did not end with the command"));
    }
    Ok(Printed {
        bytes,
        location: source,
    })
}

/// Standard output.
struct Output {
    bytes: Zeroizing<Vec<u8>>,
    /// Whether it came to its end.
    complete: bool,
    /// Whether it was more than is read.
    too_long: bool,
}

/// Reads standard output to its end, or until the deadline. Standard error is emptied meanwhile, so that the command does not
/// wait for a reader, and nothing of it is kept.
fn drain(stdout: OwnedFd, stderr: OwnedFd, deadline: Instant) -> rustix::io::Result<Output> {
    let mut streams = [Some(stdout), Some(stderr)];
    let mut kept = WipedBuffer::default();
    let mut chunk = Zeroizing::new([0; 4096]);
    let mut too_long = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_open = streams[0].is_some();
        // What follows an output that is too long would be cut anyway.
        if !is_open || left.is_zero() || too_long {
            return Ok(Output {
                bytes: kept.into_bytes(),
                complete: !is_open,
                too_long,
            });
        }
        let (open, mut waiting): (Vec<usize>, Vec<PollFd<'_>>) = streams
            .iter()
            .enumerate()
            .filter_map(|(index, fd)| Some((index, PollFd::new(fd.as_ref()?, PollFlags::IN))))
            .unzip();
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let ready: Vec<usize> = open
            .iter()
            .zip(&waiting)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(&index, _)| index)
            .collect();
        drop(waiting);
        for index in ready {
            let fd = &mut streams[index];
            let Some(open) = fd else { continue };
            match rustix::io::read(open, chunk.as_mut_slice()) {
                Ok(0) => *fd = None,
                Ok(_) if index != 0 => {}
                Ok(count) if kept.len() + count > MAX_OUTPUT => too_long = true,
                Ok(count) => kept.push(&chunk[..count]),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Time for the command, as the worker's.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of its output.
const MAX_OUTPUT: usize = 64 * 1024;
/// Bytes of a command's line.
const MAX_LINE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_without_a_shell() {
        let split = |line: &str| words(line).map(|words| words.join("|"));
        assert_eq!(
            split("/bin/tool --x 'a b' \"c d\" e\\ f").unwrap(),
            "/bin/tool|--x|a b|c d|e f"
        );
        assert_eq!(
            split("tool $HOME *.txt ; rm -rf / && `x`").unwrap(),
            "tool|$HOME|*.txt|;|rm|-rf|/|&&|`x`"
        );
        assert_eq!(split("./a=b --x=y").unwrap(), "./a=b|--x=y");
        for line in [
            "",
            "  ",
            "tool 'x",
            "''",
            "a\nb",
            "a\0b",
            "TOKEN=sesame tool",
            &"x".repeat(MAX_LINE + 1),
        ] {
            words(line).unwrap_err();
        }
    }
}
