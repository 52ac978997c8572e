//! Waiting on a condition with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until `condition` gives a value, looking again every few milliseconds.
///
/// # Panics
/// When `deadline` passes first; the message names `what`.
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
