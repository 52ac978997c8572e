//! What a command prints: the account's own, or one that a vendor's file names. The worker runs it; its output comes here
//! without touching the worker.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

use super::given::Raw;
use super::object;
use crate::enforce::blanking::Blanker;
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
    let outputs = drain(stdout, stderr, deadline);
    // The worker ends the command at its own deadline, and tells.
    let outcome = match need.answer(deadline + Duration::from_secs(5)) {
        Some(Answer::CommandEnded(outcome)) => outcome,
        _ => Err(format!("did not finish within {} s", DEADLINE.as_secs())),
    };
    let Outputs {
        stdout,
        stderr,
        complete,
        too_long,
    } = outputs.map_err(|error| format!("{source} cannot be read: {error}"))?;
    // Said first: a command whose output nobody reads any more fails for that.
    if too_long {
        return Err(format!("{source} is longer than {MAX_OUTPUT} bytes"));
    }
    if let Err(reason) = outcome {
        return Err(format!(
            "the command {program} {reason}{}",
            last_words(&stdout, &stderr)
        ));
    }
    if !complete {
        return Err(format!("{source} did not end with the command"));
    }
    Ok(Printed {
        bytes: stdout,
        location: source,
    })
}

struct Outputs {
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<Vec<u8>>,
    /// Whether standard output came to its end.
    complete: bool,
    /// Whether it was more than is read.
    too_long: bool,
}

/// Reads both pipes to their ends, or until the deadline. Of standard error, only the beginning is kept.
fn drain(stdout: OwnedFd, stderr: OwnedFd, deadline: Instant) -> rustix::io::Result<Outputs> {
    let mut streams = [
        (Some(stdout), WipedBuffer::default()),
        (Some(stderr), WipedBuffer::default()),
    ];
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_open = streams[0].0.is_some();
        if !is_open || left.is_zero() {
            let [(_, stdout), (_, stderr)] = streams;
            return Ok(Outputs {
                stdout: stdout.into_bytes(),
                stderr: stderr.into_bytes(),
                complete: !is_open,
                too_long: false,
            });
        }
        let (open, mut waiting): (Vec<usize>, Vec<PollFd<'_>>) = streams
            .iter()
            .enumerate()
            .filter_map(|(index, (fd, _))| Some((index, PollFd::new(fd.as_ref()?, PollFlags::IN))))
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
            let (fd, buffer) = &mut streams[index];
            let Some(open) = fd else { continue };
            match rustix::io::read(open, chunk.as_mut_slice()) {
                Ok(0) => *fd = None,
                Ok(count) if buffer.len() + count > MAX_OUTPUT => {
                    if index == 0 {
                        // Too long: what follows would be cut anyway.
                        let [(_, stdout), (_, stderr)] = streams;
                        return Ok(Outputs {
                            stdout: stdout.into_bytes(),
                            stderr: stderr.into_bytes(),
                            complete: false,
                            too_long: true,
                        });
                    }
                }
                Ok(count) => buffer.push(&chunk[..count]),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The last line of standard error, without anything that standard output says too.
fn last_words(stdout: &[u8], stderr: &[u8]) -> String {
    let mut blanker = Blanker::default();
    let is_word = |b: &u8| b.is_ascii_whitespace() || b"\"{}[],:'".contains(b);
    for word in stdout.split(is_word) {
        blanker.add_value(word, "output");
    }
    match String::from_utf8_lossy(stderr)
        .lines()
        .map(|line| blanker.shown(line, 200))
        .rfind(|line| !line.is_empty())
    {
        Some(line) => format!(": {line}"),
        None => String::new(),
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

    #[test]
    fn last_words_repeat_nothing_of_the_output() {
        let words = last_words(
            b"{\"access_key_secret\":\"sesame-open\"}",
            b"start\nbad sesame-open\x1b[0m\n\n",
        );
        assert_eq!(words, ": bad <output>[0m");
        assert_eq!(last_words(b"", b""), "");
    }
}
