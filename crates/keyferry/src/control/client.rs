//! The asking side, blocking.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::adopt::AdoptRequest;
use super::peer::Believed;
use super::{Answer, MAX_ANSWER, Request};
use crate::cli::RuntimeArguments;
use crate::error::Error;
use crate::paths;

/// Asks the daemon of a runtime directory one thing that has one answer.
///
/// # Errors
/// As [`Conversation::start`] and [`Conversation::next`]; [`Error::Refused`] where the daemon refuses it.
pub(crate) fn ask(runtime: &RuntimeArguments, request: &Request) -> Result<Answer, Error> {
    match Conversation::start(&Door::of(runtime)?, request)?.next()? {
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

/// Where the daemon is asked.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// The runtime directory.
    directory: PathBuf,
    /// Whether the user named it.
    is_named: bool,
}

impl Door {
    /// That of a runtime directory. Nothing is looked at yet.
    pub(crate) fn of(runtime: &RuntimeArguments) -> Result<Self, Error> {
        let flag = runtime.runtime.as_deref();
        Ok(Self {
            directory: paths::runtime(flag)?,
            is_named: flag.is_some(),
        })
    }

    /// Whom sockets here are believed of.
    ///
    /// # Errors
    /// When somebody else may have put them there.
    pub(crate) fn believed(&self) -> Result<Believed, Error> {
        Believed::in_directory(&self.directory, self.is_named)
    }

    /// Whether a daemon runs there.
    ///
    /// # Errors
    /// As [`Conversation::start`], unless none runs.
    pub(crate) fn is_answered(&self) -> Result<bool, Error> {
        match self.connect() {
            Ok(_) => Ok(true),
            Err(Error::NotRunning(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn connect(&self) -> Result<(PathBuf, UnixStream), Error> {
        let path = paths::control_socket(&self.directory);
        match self.believed()?.connect(&path) {
            Ok(stream) => Ok((path, stream)),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning(path),
                _ => Error::Control { path, source },
            }),
        }
    }
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
    pub(crate) fn start_soon(door: &Door, request: &Request, seconds: u64) -> Result<Self, Error> {
        let end = Instant::now() + Duration::from_secs(seconds).min(START_TIME);
        loop {
            match Self::start(door, request) {
                Err(Error::NotRunning(_)) if Instant::now() < end => thread::sleep(START_PAUSE),
                result => return result,
            }
        }
    }

    /// Connects and asks.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where nothing answers at the socket; [`Error::Runtime`] and [`Error::Control`] where somebody
    /// else may.
    pub(crate) fn start(door: &Door, request: &Request) -> Result<Self, Error> {
        let (conversation, stream) = Self::start_answering(door, request)?;
        // Nothing more is said from here.
        let shut = stream.shutdown(Shutdown::Write);
        shut.map_err(|source| Error::Control {
            path: conversation.path.clone(),
            source,
        })?;
        Ok(conversation)
    }

    /// As [`Conversation::start`]; what is said further goes to the stream.
    ///
    /// # Errors
    /// As [`Conversation::start`].
    pub(crate) fn start_answering(door: &Door, request: &Request) -> Result<(Self, UnixStream), Error> {
        let (path, mut stream) = door.connect()?;
        let broken = |source| Error::Control {
            path: path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(request).map_err(|error| Error::Answer(error.to_string()))?;
        line.push(b'\n');
        let patience = match request {
            // The daemon says something when the time is over, if not before.
            Request::Wait { timeout_ms } => PATIENCE.saturating_add(Duration::from_millis(*timeout_ms)),
            // Two requests to a vendor, each with the courier's own time limit.
            Request::Adopt(AdoptRequest::Try { .. } | AdoptRequest::Places)
            | Request::Attach(_)
            | Request::CheckAccounts { .. }
            | Request::DeleteOrphans { .. }
            | Request::Survey { .. }
            | Request::Trust(_) => CLOUD_PATIENCE,
            Request::Retire {
                timeout_ms: Some(timeout_ms),
                ..
            }
            | Request::Rotate {
                timeout_ms: Some(timeout_ms),
                ..
            } => PATIENCE.saturating_add(Duration::from_millis(*timeout_ms)),
            Request::Adopt(AdoptRequest::Follow { timeout_ms, .. }) => {
                PATIENCE.saturating_add(Duration::from_millis(*timeout_ms))
            }
            // A question may come at any time, as long as the command waits.
            Request::Questions { .. } => LONG_PATIENCE,
            // It says something now and then.
            Request::Adopt(AdoptRequest::Lifetimes)
            | Request::Exec(_)
            | Request::ForgetHost { .. }
            | Request::GiveUpInstances { .. }
            | Request::History { .. }
            | Request::Hold { .. }
            | Request::Plan { .. }
            | Request::PlanToRetire { .. }
            | Request::Resume { .. }
            | Request::Retire { timeout_ms: None, .. }
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
            path,
            lines: BufReader::new(stream.take(MAX_ANSWER)),
        };
        Ok((conversation, writing))
    }

    /// Waits for the next answer for as long as it takes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn have_patience(&self) -> Result<(), Error> {
        let stream = self.lines.get_ref().get_ref();
        stream.set_read_timeout(None).map_err(|source| Error::Control {
            path: self.path.clone(),
            source,
        })
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
        if line.len() as u64 >= MAX_ANSWER && line.last() != Some(&b'\n') {
            return Err(Error::LongAnswer(MAX_ANSWER / (1024 * 1024)));
        }
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
