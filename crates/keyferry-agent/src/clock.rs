//! The clock that key lifetimes run on: it counts the time that the machine spends suspended, as OpenSSH's
//! does.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A moment, as the time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        // On macOS this clock does not stop while the machine sleeps.
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let now = clock_gettime(CLOCK);
        Self(Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        ))
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// How much later it is than another; nothing, if it is earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Waits until this moment, and may come back early.
    pub(crate) async fn reached(self) {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = self.timer() {
            let _ = timer.readable().await;
            return;
        }
        // Late by the time suspended, which does no harm: an expired key is refused whether or not this woke
        // up.
        tokio::time::sleep(self.since(Self::now())).await;
    }

    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; an OwnedFd keeps the promise that the warning is about"
    )]
    fn timer(self) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
        use rustix::time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
            timerfd_settime,
        };
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let at = Timespec {
            tv_sec: i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX),
            // Never zero, which would disarm the timer.
            tv_nsec: i64::from(self.0.subsec_nanos()).max(1),
        };
        timerfd_settime(
            &timer,
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec {
                it_interval: once,
                it_value: at,
            },
        )?;
        tokio::io::unix::AsyncFd::with_interest(timer, tokio::io::Interest::READABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_until_the_moment_and_not_for_one_gone_by() {
        let start = Moment::now();
        start.reached().await;
        let later = start.after(Duration::from_millis(20));
        later.reached().await;
        assert!(Moment::now() >= later);
    }

    #[tokio::test]
    async fn the_longest_wait_does_not_overflow() {
        let never = Moment::now().after(Duration::MAX);
        assert!(never > Moment::now());
        let woke = tokio::time::timeout(Duration::from_millis(20), never.reached()).await;
        assert!(woke.is_err());
    }
}
