//! Time and chance, passed in so that tests need neither.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// Milliseconds since the machine started, sleep included. Deadlines of this process go by it.
    pub uptime: u64,
    /// The wall clock: for people, and for deadlines that outlive the process.
    pub wall: SystemTime,
}

impl Moment {
    /// The wall clock in milliseconds since 1970 UTC, as the ledger keeps it.
    pub fn wall_ms(self) -> i64 {
        let since = self
            .wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// What the wall clock will show at an uptime, if nobody sets it.
    pub fn wall_at(self, uptime: u64) -> SystemTime {
        self.wall + Duration::from_millis(uptime.saturating_sub(self.uptime))
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Moment;
    /// Ends when the uptime is reached, also when the machine slept over it.
    fn sleep_until(&self, uptime: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// A random number from 0 to `limit`, both included.
    fn random(&self, limit: u64) -> u64;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            uptime: uptime(),
            wall: SystemTime::now(),
        }
    }

    fn sleep_until(&self, at: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // Timers stand still while the machine sleeps, so a long one is looked at again.
            while let Some(left) = at.checked_sub(uptime()).filter(|&left| left > 0) {
                tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await;
            }
        })
    }

    fn random(&self, limit: u64) -> u64 {
        let mut octets = [0; 8];
        aws_lc_rs::rand::fill(&mut octets)
            .expect("the system's random generator does not fail once it has started");
        // The remainder's bias is of no matter to a delay.
        u64::from_ne_bytes(octets) % limit.saturating_add(1).max(1)
    }
}

const LONGEST_SLEEP: Duration = Duration::from_secs(60);

fn uptime() -> u64 {
    use rustix::time::ClockId;
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // macOS counts sleep in its monotonic clock.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let milliseconds = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
    seconds * 1000 + milliseconds
}
