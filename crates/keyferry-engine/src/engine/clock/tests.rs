use std::time::Instant;

use super::*;

/// Runs a future to its end, or for as long as it takes to ask it once.
fn run<F: Future>(future: F, most: Duration) -> Option<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // It is asked before its time is looked at.
    runtime.block_on(async { tokio::time::timeout(most, future).await.ok() })
}

#[test]
fn a_sleep_ends_at_about_its_time() {
    let begun = (uptime(), Instant::now());
    assert_eq!(
        run(SystemClock.sleep_until(begun.0 + 80), Duration::from_secs(30)),
        Some(())
    );
    assert!(uptime() >= begun.0 + 80, "not before");
    // One millisecond is what an uptime is cut to.
    assert!(begun.1.elapsed() >= Duration::from_millis(79));
    assert!(
        begun.1.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.1.elapsed()
    );
}

#[test]
fn what_is_over_ends_at_once_and_what_never_comes_never() {
    for at in [0, uptime().saturating_sub(1), uptime()] {
        assert_eq!(run(SystemClock.sleep_until(at), Duration::ZERO), Some(()), "{at}");
    }
    for at in [u64::MAX, uptime() + 3_600_000] {
        assert_eq!(
            run(SystemClock.sleep_until(at), Duration::from_millis(50)),
            None,
            "{at}"
        );
    }
}

#[test]
fn both_clocks_of_a_moment_go_on_together() {
    let (first, before) = (SystemClock.now(), SystemTime::now());
    assert!(before.duration_since(first.wall).unwrap() < Duration::from_secs(10));
    assert_eq!(
        run(
            SystemClock.sleep_until(first.uptime + 30),
            Duration::from_secs(30)
        ),
        Some(())
    );
    let second = SystemClock.now();
    assert!(second.uptime >= first.uptime + 30);
    assert!(first.local_minute < 1_440);
}

/// The kernel's own account of the time since it was started counts sleep too.
#[cfg(target_os = "linux")]
#[test]
fn uptime_counts_sleep() {
    let boot = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap())
    };
    let (before, shown, after) = (boot(), SystemClock.now().uptime, boot());
    let span = before.as_millis()..=after.as_millis();
    assert!(
        span.contains(&u128::from(shown)),
        "{shown} is not within {span:?}"
    );
}
