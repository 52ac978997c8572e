//! Logs go to standard error. systemd's journal, or whoever started the daemon, adds the time where it wants one.
//!
//! Nobody waits for the log and nobody stops for it: lines pass through a queue to a thread that writes them. A
//! reader that is slow costs lines, one that went away costs all further ones, and neither costs a signature.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging with the level of `KEYFERRY_LOG`.
///
/// What is returned is kept until the program ends: dropping it gives the last lines a moment to be written.
#[must_use]
pub(crate) fn start() -> Log {
    let wanted = std::env::var("KEYFERRY_LOG").unwrap_or_default();
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let (filter, understood) = match builder.parse(&wanted) {
        Ok(filter) if wanted.split(',').all(is_sensible) => (filter, true),
        _ => (
            EnvFilter::default().add_directive(LevelFilter::INFO.into()),
            false,
        ),
    };
    let (lines, queue) = sync_channel(QUEUE);
    let (done, written) = sync_channel(1);
    // Without a thread there is no log, and everything else goes on.
    let _ = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&queue, &done));
    // A second start (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Queue(lines.clone()))
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .try_init();
    if !understood {
        tracing::warn!(
            "KEYFERRY_LOG={wanted:?} is not understood and info is used: write error, warn, info, debug or trace, or \
             MODULE=LEVEL such as keyferry_engine=debug, joined by commas"
        );
    }
    Log { lines, written }
}

/// Keeps the log going; see [`start`].
pub(crate) struct Log {
    lines: SyncSender<Message>,
    written: Receiver<()>,
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.lines.try_send(Message::Flush).is_ok() {
            let _ = self.written.recv_timeout(LAST_LINES);
        }
    }
}

/// What goes through the queue.
enum Message {
    Flush,
    Line(Vec<u8>),
}

fn write_lines(queue: &Receiver<Message>, done: &SyncSender<()>) {
    for message in queue {
        match message {
            // A closed or full standard error is nobody's fault here, and there is nowhere else to say so.
            Message::Line(line) => drop(io::stderr().write_all(&line)),
            Message::Flush => drop(done.try_send(())),
        }
    }
}

/// Writes by putting into the queue. The subscriber writes each event in one piece.
struct Queue(SyncSender<Message>);

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A full queue means that nobody reads; the line is lost.
        let _ = self.0.try_send(Message::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that wait for a slow reader.
const QUEUE: usize = 4096;
/// What the last lines may cost at the end of the program.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Whether one part of the filter is a level or names a module. A word that is neither would be taken for a module
/// that logs nothing, and silence all others.
fn is_sensible(part: &str) -> bool {
    let part = part.trim();
    part.is_empty()
        || part.contains('=')
        || part.starts_with("keyferry")
        || part.parse::<LevelFilter>().is_ok()
}
