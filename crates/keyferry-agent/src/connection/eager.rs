//! Waiting a few microseconds awake for a client that asks one thing after the other.
//!
//! To sleep and be woken again costs more than an Ed25519 signature, and far more in a virtual machine. A client that
//! asked again within moments of the last answer is waited for awake, once and for moments; when it does not come,
//! the next wait is an ordinary one. A client that asks now and then is never waited for so.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What one connection's pace says about its next request.
pub(super) struct Eager {
    /// When the last answer went out.
    answered: Instant,
    is_eager: bool,
}

impl Eager {
    pub(super) fn new() -> Self {
        Self {
            answered: Instant::now(),
            is_eager: false,
        }
    }

    /// The answer is on its way.
    pub(super) fn answered(&mut self) {
        self.answered = Instant::now();
    }

    /// Bytes came in the ordinary way.
    pub(super) fn arrived(&mut self) {
        self.is_eager = self.answered.elapsed() < SOON;
    }

    /// The bytes that come within moments, where that is likely. `None`: wait in the ordinary way.
    ///
    /// It asks the socket itself: what tokio knows of it changes only when its thread sleeps. Whatever error there is
    /// comes again in the ordinary way.
    pub(super) fn receive(&mut self, socket: &impl AsFd, space: &mut [u8]) -> Option<usize> {
        if !self.is_eager {
            return None;
        }
        while self.answered.elapsed() < AWAKE {
            match recv(socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return None,
                Ok((count, _)) => return Some(count),
                // On a machine with one core it is the client's turn to run.
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Err(_) => return None,
            }
        }
        self.is_eager = false;
        None
    }
}

/// A request that comes so soon after an answer was caused by it.
const SOON: Duration = Duration::from_micros(200);
/// About what going to sleep and being woken costs.
const AWAKE: Duration = Duration::from_micros(50);
