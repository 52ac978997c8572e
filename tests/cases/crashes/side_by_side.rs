//! Many cases at once: most of a case's time is waiting.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Homes at a time.
const WIDTH: usize = 8;

/// Whether all combinations are asked for, again and again.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("KEYFERRY_SOAK").is_some()
}

/// Runs every case, in a soak so many times, and fails with the names of those that failed.
///
/// # Panics
/// When one did.
#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what a test prints is shown when it fails or when asked for"
)]
pub(crate) fn run<C: Sync>(
    what: &str,
    soak_rounds: usize,
    cases: &[C],
    name: impl Fn(&C) -> String + Sync,
    case: impl Fn(&C) + Sync,
) {
    let begin = Instant::now();
    let rounds = if is_soak() { soak_rounds } else { 1 };
    let queue: VecDeque<&C> = (0..rounds).flat_map(|_| cases).collect();
    let count = queue.len();
    let queue = Mutex::new(queue);
    let (failed, times) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WIDTH {
            scope.spawn(|| {
                loop {
                    let Some(next) = queue.lock().expect("no case runs under this lock").pop_front() else {
                        return;
                    };
                    let begin = Instant::now();
                    // The panic's own message and the daemon's log are on standard error by then.
                    if catch_unwind(AssertUnwindSafe(|| case(next))).is_err() {
                        eprintln!("--- failed: {what}: {} ---", name(next));
                        let mut failed = failed.lock().expect("no case runs under this lock");
                        failed.push(name(next));
                    }
                    let mut times = times.lock().expect("no case runs under this lock");
                    times.push((begin.elapsed(), name(next)));
                }
            });
        }
    });
    let failed = failed.into_inner().expect("all threads have ended");
    let times = times.into_inner().expect("all threads have ended");
    let (longest, which) = times.into_iter().max().unwrap_or_default();
    println!(
        "{what}: {count} cases in {:.1} s; {:.1} s of them: {which}",
        begin.elapsed().as_secs_f32(),
        longest.as_secs_f32()
    );
    assert!(
        failed.is_empty(),
        "{what}: {} of {count} failed: {failed:#?}",
        failed.len()
    );
}
