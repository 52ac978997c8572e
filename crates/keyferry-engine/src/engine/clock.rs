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
    /// Minutes after midnight where the user is, 0 to 1439: for hours of the day.
    pub local_minute: u16,
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
    /// Ends when the uptime is reached, also when the machine slept over it; with `u64::MAX`, never.
    fn sleep_until(&self, uptime: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// A random number from 0 to `limit`, both included.
    fn random(&self, limit: u64) -> u64;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let wall = SystemTime::now();
        Moment {
            uptime: uptime(),
            wall,
            local_minute: local_minute(wall),
        }
    }

    fn sleep_until(&self, at: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if at == u64::MAX {
                std::future::pending::<()>().await;
            }
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

/// The minute of the day in the system's time zone (`TZ`, or `/etc/localtime`); in UTC where that is not known. The zone's
/// database is read once in a while, not each time.
fn local_minute(wall: SystemTime) -> u16 {
    let Ok(stamp) = jiff::Timestamp::try_from(wall) else {
        return 0;
    };
    let time = stamp.to_zoned(jiff::tz::TimeZone::system()).time();
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
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

#[cfg(test)]
mod tests;
