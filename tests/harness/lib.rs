//! What the end-to-end cases share: the built programs, a daemon in a home of its own, a loopback cloud and the
//! real OpenSSH tools.
//!
//! Everything here waits on a condition with a deadline, stops on drop what it started, and prints the daemon's log
//! when a case fails.

pub mod build;
pub mod daemon;
pub mod fleet;
pub mod home;
pub mod internet;
pub mod ledger;
pub mod moto;
pub mod nova;
pub mod openssh;
pub mod other_agent;
pub mod processes;
pub mod python;
pub mod terminal;
pub mod trouble;
pub mod wait;

use cloud_sim::{CloudSim, Options};

/// A loopback cloud that knows the access key of [`home`].
///
/// # Panics
/// When loopback has no free ports.
pub fn cloud() -> CloudSim {
    CloudSim::start(Options::new(home::ACCESS_KEY, home::SECRET_KEY))
        .expect("a loopback cloud can be started")
}
