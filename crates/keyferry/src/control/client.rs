//! The asking side, blocking.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Answer, MAX_ANSWER, Request};
use crate::error::Error;

/// A connection with one request on its way.
pub(crate) struct Conversation {
    path: PathBuf,
    lines: BufReader<io::Take<UnixStream>>,
}

impl Conversation {
    /// Connects and asks.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where nothing answers at the socket.
    pub(crate) fn start(path: &Path, request: &Request) -> Result<Self, Error> {
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
        stream
            .write_all(&line)
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .map_err(broken)?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(stream.take(MAX_ANSWER)),
        })
    }

    /// The next answer.
    ///
    /// # Errors
    /// When the daemon goes away or answers what is not understood.
    pub(crate) fn next(&mut self) -> Result<Answer, Error> {
        let broken = |source| Error::Control {
            path: self.path.clone(),
            source,
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
