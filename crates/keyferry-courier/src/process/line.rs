//! The courier's end of the line to the worker: messages out, and answers to what it needs.

use std::collections::HashMap;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyferry_sandbox::frame::FrameError;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::secret::Secret;
use crate::wire::{self, FromCourier};

/// What the worker answered.
pub(crate) enum Answer {
    Variables(Vec<(String, Option<Secret>)>),
    CommandStarted { stdout: OwnedFd, stderr: OwnedFd },
    CommandEnded(Result<(), String>),
}

/// Sends messages, and waits for answers.
pub(crate) struct Line {
    writer: Mutex<UnixStream>,
    waiting: Mutex<HashMap<u64, Sender<Answer>>>,
    next: AtomicU64,
}

impl Line {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            writer: Mutex::new(socket),
            waiting: Mutex::new(HashMap::new()),
            next: AtomicU64::new(1),
        }
    }

    /// Sends a message. When the worker is gone this does nothing: the reading thread ends the process.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub(crate) fn send(&self, message: &FromCourier) -> Result<(), FrameError> {
        let whole = wire::encode(message)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writer.write_all(&whole);
        Ok(())
    }

    /// The values of these variables in the worker's environment.
    pub(crate) fn variables(&self, names: Vec<String>) -> Result<Vec<(String, Option<Secret>)>, String> {
        let need = self.need();
        let message = FromCourier::NeedVariables { need: need.id, names };
        self.send(&message).map_err(|error| error.to_string())?;
        match need.answer(Instant::now() + PATIENCE) {
            Some(Answer::Variables(values)) => Ok(values),
            _ => Err("the daemon did not tell its environment variables: restart keyferry".to_owned()),
        }
    }

    /// Has a command run: the one of these words, which a vendor's file names, or without them the account's own. Two answers
    /// come: that it started, and that it ended.
    pub(crate) fn command(&self, argv: Option<Vec<String>>) -> Result<Need<'_>, String> {
        let need = self.need();
        let message = FromCourier::NeedCommand { need: need.id, argv };
        self.send(&message).map_err(|error| error.to_string())?;
        Ok(need)
    }

    /// An answer came.
    pub(super) fn answered(&self, need: u64, answer: Answer) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.get(&need) {
            // Whoever waited may have given up meanwhile.
            let _ = sender.send(answer);
        }
    }

    fn need(&self) -> Need<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, sender);
        Need {
            id,
            receiver,
            line: self,
        }
    }
}

/// Something the worker was asked for.
pub(crate) struct Need<'a> {
    id: u64,
    receiver: Receiver<Answer>,
    line: &'a Line,
}

impl Need<'_> {
    /// The next answer; none when it does not come in time.
    pub(crate) fn answer(&self, deadline: Instant) -> Option<Answer> {
        self.receiver
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok()
    }
}

impl Drop for Need<'_> {
    fn drop(&mut self) {
        self.line
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// Reads bytes, and keeps the descriptors that come with them.
pub(super) struct DescriptorReader {
    socket: UnixStream,
    descriptors: Vec<OwnedFd>,
}

impl DescriptorReader {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            descriptors: Vec::new(),
        }
    }

    /// What came with the last frame.
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }
}

impl Read for DescriptorReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        #[cfg(target_os = "linux")]
        let flags = RecvFlags::CMSG_CLOEXEC;
        #[cfg(not(target_os = "linux"))]
        let flags = RecvFlags::empty();
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(buffer)],
            &mut ancillary,
            flags,
        )?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        Ok(received.bytes)
    }
}

/// How long the worker may take to look at its environment.
const PATIENCE: Duration = Duration::from_secs(20);
