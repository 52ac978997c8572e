//! The asking side, blocking.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::adopt::AdoptRequest;
use super::{Answer, MAX_ANSWER, Request};
use crate::cli::RuntimeArguments;
use crate::error::Error;
use crate::paths;

/// Asks the daemon of a runtime directory one thing that has one answer.
///
/// # Errors
/// As [`Conversation::start`] and [`Conversation::next`]; [`Error::Refused`] where the daemon refuses it.
pub(crate) fn ask(runtime: &RuntimeArguments, request: &Request) -> Result<Answer, Error> {
    let socket = paths::control_socket(&paths::runtime(runtime.runtime.as_deref())?);
    match Conversation::start(&socket, request)?.next()? {
        Answer::Refused(message) => Err(Error::Refused(message)),
        answer => Ok(answer),
    }
}

/// An answer that is not one to the question.
pub(crate) fn strange(answer: &Answer) -> Error {
    let mut words = format!("{answer:?}");
    if let Some((end, _)) = words.char_indices().nth(200) {
        words.truncate(end);
    }
    Error::Answer(words)
}

/// A connection with one request on its way.
pub(crate) struct Conversation {
    path: PathBuf,
    lines: BufReader<io::Take<UnixStream>>,
}

impl Conversation {
    /// As [`Conversation::start`], but a daemon that is just starting gets a moment to answer, `seconds` at most.
    ///
    /// # Errors
    /// As [`Conversation::start`].
    pub(crate) fn start_soon(path: &Path, request: &Request, seconds: u64) -> Result<Self, Error> {
        let end = Instant::now() + Duration::from_secs(seconds).min(START_TIME);
        loop {
            match Self::start(path, request) {
                Err(Error::NotRunning(_)) if Instant::now() < end => thread::sleep(START_PAUSE),
                result => return result,
            }
        }
    }

    /// Connects and asks.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where nothing answers at the socket.
    pub(crate) fn start(path: &Path, request: &Request) -> Result<Self, Error> {
        let (conversation, stream) = Self::start_answering(path, request)?;
        // Nothing more is said from here.
        let shut = stream.shutdown(Shutdown::Write);
        shut.map_err(|source| Error::Control {
            path: path.to_owned(),
            source,
        })?;
        Ok(conversation)
    }

    /// As [`Conversation::start`]; what is said further goes to the stream.
    ///
    /// # Errors
    /// As [`Conversation::start`].
    pub(crate) fn start_answering(path: &Path, request: &Request) -> Result<(Self, UnixStream), Error> {
        let broken = |source| Error::Control {
            path: path.to_owned(),
            source,
        };
        let mut stream = UnixStream::connect(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning(path.to_owned()),
            _ => broken(source),
        })?;
        let mut line = serde_json::to_vec(request).map_err(|error| Error::Answer(error.to_string()))?;
        line.push(b'\n');
        let patience = match request {
            // The daemon says something when the time is over, if not before.
            Request::Wait { timeout_ms } => PATIENCE.saturating_add(Duration::from_millis(*timeout_ms)),
            // Two requests to a vendor, each with the courier's own time limit.
            Request::Adopt(AdoptRequest::Try { .. } | AdoptRequest::Places)
            | Request::CheckAccounts { .. }
            | Request::DeleteOrphans { .. }
            | Request::Survey { .. }
            | Request::Trust(_) => CLOUD_PATIENCE,
            Request::Rotate {
                timeout_ms: Some(timeout_ms),
                ..
            } => PATIENCE.saturating_add(Duration::from_millis(*timeout_ms)),
            Request::Adopt(AdoptRequest::Follow { timeout_ms, .. }) => {
                PATIENCE.saturating_add(Duration::from_millis(*timeout_ms))
            }
            // A question may come at any time, as long as the command waits.
            Request::Questions { .. } => LONG_PATIENCE,
            Request::ForgetHost { .. }
            | Request::GiveUpInstances { .. }
            | Request::History { .. }
            | Request::Hold { .. }
            | Request::Plan { .. }
            | Request::PlanToRetire { .. }
            | Request::Resume { .. }
            | Request::Retire { .. }
            | Request::RetryHosts { .. }
            | Request::Rollback { .. }
            | Request::Rotate { timeout_ms: None, .. }
            | Request::Status
            | Request::TrustHost { .. } => PATIENCE,
        };
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| stream.write_all(&line))
            .map_err(broken)?;
        let writing = stream.try_clone().map_err(broken)?;
        let conversation = Self {
            path: path.to_owned(),
            lines: BufReader::new(stream.take(MAX_ANSWER)),
        };
        Ok((conversation, writing))
    }

    /// The next answer.
    ///
    /// # Errors
    /// When the daemon goes away or answers what is not understood.
    pub(crate) fn next(&mut self) -> Result<Answer, Error> {
        let broken = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::NoAnswer(self.path.clone()),
            _ => Error::Control {
                path: self.path.clone(),
                source,
            },
        };
        self.lines.get_mut().set_limit(MAX_ANSWER);
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line).map_err(broken)?;
        if line.last() != Some(&b'\n') {
            return Err(broken(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the daemon ended the conversation",
            )));
        }
        serde_json::from_slice(&line).map_err(|error| Error::Answer(error.to_string()))
    }
}

/// `keyferry daemon & keyferry status --wait` is a fair thing to type.
const START_TIME: Duration = Duration::from_secs(5);
const START_PAUSE: Duration = Duration::from_millis(50);
/// A daemon that lives answers in milliseconds; one that was stopped (SIGSTOP, a frozen cgroup) never does.
const PATIENCE: Duration = Duration::from_secs(15);
const LONG_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
const CLOUD_PATIENCE: Duration = Duration::from_secs(150);
