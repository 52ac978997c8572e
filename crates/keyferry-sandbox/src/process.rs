//! The sandbox process: one library, no network, no files, no secrets.
//!
//! Its standard input is the socket to keyferry. A sealed copy of the library comes first, then a frame with what the
//! library says about itself and with limits; every further frame is a request for the plugin, answered by what the plugin answered, whatever that is. An answer that is too
//! long is announced by its header and not sent. The process ends when the socket closes.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::frame::{self, FrameError};
use crate::jail::{self, Memory};
use crate::library::{LibraryFacts, LoadError};
use crate::sandbox::Limits;

mod table;

use table::Plugin;

/// The first frame.
#[derive(Deserialize, Serialize)]
pub(crate) struct Load {
    /// The library as it was checked.
    pub(crate) facts: LibraryFacts,
    /// What it may use.
    pub(crate) limits: Limits,
    /// The copy to load. On Linux it comes as a descriptor ahead of this frame.
    #[cfg(not(target_os = "linux"))]
    pub(crate) path: std::path::PathBuf,
}

/// The answer to [`Load`].
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loaded {
    /// Questions are welcome.
    Ready {
        /// Memory that counts for the process so far.
        memory: Memory,
    },
    /// The library was not loaded, in words.
    Refused(String),
}

/// Runs the sandbox process until keyferry closes the socket.
///
/// It is to be called first thing in `main`, before the process has opened anything: descriptors that leaked into it are
/// closed.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) | Err(Ended::Frame(FrameError::Closed | FrameError::Cut)) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening: then there is nobody to tell.
            let _ = writeln!(io::stderr(), "sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("cannot give up rights: {0}")]
    Jail(#[source] io::Error),
    #[cfg(target_os = "linux")]
    #[error("what came ahead of the first message is not a sealed library: restart keyferry")]
    Library,
    #[error("standard input is not keyferry's socket, which starts this process: {0}")]
    Socket(#[source] io::Error),
    #[error("the first message is not understood, restart keyferry: {0}")]
    Version(#[from] serde_json::Error),
}

fn run() -> Result<(), Ended> {
    jail::close_inherited_descriptors();
    jail::harden().map_err(Ended::Jail)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Ended::Socket)?;
    let mut socket = UnixStream::from(stdin);
    socket.peer_addr().map_err(Ended::Socket)?;

    #[cfg(target_os = "linux")]
    let place = match crate::handover::take(&socket) {
        Ok(place) => place.ok_or(Ended::Library)?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        Err(error) => return Err(Ended::Socket(error)),
    };
    #[cfg(target_os = "linux")]
    let path = place.path();
    let first: Vec<u8> = frame::read(&mut socket, MAX_REQUEST)?;
    #[cfg(target_os = "linux")]
    let Load { facts, limits } = serde_json::from_slice(&first)?;
    #[cfg(not(target_os = "linux"))]
    let Load { facts, limits, path } = serde_json::from_slice(&first)?;
    drop(first);
    let (plugin, answer) = match load(&path, &facts, &limits)? {
        Ok(plugin) => {
            let memory = jail::memory();
            (Some(plugin), Loaded::Ready { memory })
        }
        Err(error) => (None, Loaded::Refused(error.to_string())),
    };
    // What is mapped stays.
    #[cfg(target_os = "linux")]
    drop(place);
    frame::write(&mut socket, &serde_json::to_vec(&answer)?, MAX_ANSWER)?;
    match plugin {
        Some(plugin) => serve(&plugin, &mut socket, limits.step_time),
        None => Ok(()),
    }
}

/// Loads exactly the bytes that were checked.
fn load(path: &Path, facts: &LibraryFacts, limits: &Limits) -> Result<Result<Plugin, LoadError>, Ended> {
    jail::confine(limits).map_err(Ended::Jail)?;
    jail::arm(limits.start_time);
    let plugin = table::load(path, facts);
    jail::disarm();
    Ok(plugin)
}

fn serve(plugin: &Plugin, socket: &mut UnixStream, step_time: Duration) -> Result<(), Ended> {
    loop {
        let request: Vec<u8> = frame::read(socket, MAX_REQUEST)?;
        jail::arm(step_time);
        let answer = plugin.step(&request);
        jail::disarm();
        let bytes = answer.bytes();
        if bytes.len() > MAX_ANSWER {
            let announced = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            socket
                .write_all(&announced.to_be_bytes())
                .map_err(FrameError::Io)?;
        } else {
            frame::write(socket, bytes, MAX_ANSWER)?;
        }
    }
}

/// The longest question in bytes: a reply of the provider and the state, written as JSON.
pub(crate) const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// The longest answer in bytes.
pub(crate) const MAX_ANSWER: usize = 4 * 1024 * 1024;
