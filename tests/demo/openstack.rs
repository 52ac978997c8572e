//! The genuine OpenStack: the one part of the demo that something has to be installed for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use keyferry_tests::nova::{Nova, Options};

use super::say;

/// Starts Keystone and Nova; while that takes its time, says so.
///
/// # Errors
/// Why they cannot be had here.
pub(crate) fn start(stay: bool) -> Result<Nova, String> {
    let installed = Nova::is_installed();
    say(match installed {
        true => "   starting Keystone and Nova ...",
        false => {
            "   installing Keystone and Nova from PyPI, which takes some minutes and is done once; all that was to be \
             proved without them is above"
        }
    });
    let begin = Instant::now();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let nova = Nova::try_start(Options {
            stay,
            ..Options::default()
        });
        // Somebody waits for it below.
        let _ = sender.send(nova);
    });
    let nova = loop {
        match receiver.recv_timeout(BETWEEN_WORDS) {
            Ok(nova) => break nova?,
            Err(RecvTimeoutError::Timeout) => say(&format!(
                "   ... still at it after {} s",
                begin.elapsed().as_secs()
            )),
            Err(RecvTimeoutError::Disconnected) => return Err("its starter panicked".to_owned()),
        }
    };
    say(&format!(
        "   {:<15} {} (Nova's API up to {}), after {:.1} s{}",
        "openstack-nova",
        nova.auth_url(),
        nova.max_microversion(),
        begin.elapsed().as_secs_f32(),
        if installed {
            ""
        } else {
            " of installing and starting"
        }
    ));
    Ok(nova)
}

const BETWEEN_WORDS: Duration = Duration::from_secs(10);
