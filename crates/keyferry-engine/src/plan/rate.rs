//! How fast an account may be asked: one rate for all that is done with it.

use crate::desired::{Account, Desired};

/// Requests begun per account and second, where nothing else is said: no vendor minds so many for a moment, and who has
/// hundreds of keys is not kept waiting for a minute. A vendor that minds says so, and the whole account goes slower.
pub const DEFAULT_PER_SECOND: u32 = 50;

/// How many requests of an account may be begun in a second.
pub fn max_per_second(desired: &Desired, account: &Account) -> u32 {
    account
        .max_per_second
        .or(desired.daemon.max_per_second)
        .unwrap_or(DEFAULT_PER_SECOND)
        .clamp(1, 1_000)
}

/// How fast an account was asked so far: a bucket that holds one second's requests and leaks all the time, and the pause
/// that the provider asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rate {
    /// Uptime in microseconds at which the bucket will be empty.
    empty_at: u64,
    /// Nothing is begun before this uptime in milliseconds.
    pub paused_until: u64,
    /// How often in a row the provider said that it is asked too much.
    pub refusals: u32,
}

impl Rate {
    /// When the next request may begin, in milliseconds of uptime; now or earlier: at once.
    pub fn next(&self, per_second: u32) -> u64 {
        let full = SECOND - cost(per_second);
        self.empty_at
            .saturating_sub(full)
            .div_ceil(1_000)
            .max(self.paused_until)
    }

    /// Counts a request that begins at an uptime in milliseconds.
    pub fn begun(&mut self, now: u64, per_second: u32) {
        self.empty_at = self.empty_at.max(now.saturating_mul(1_000)) + cost(per_second);
    }

    /// Begins nothing until then, and no burst after it. Milliseconds of uptime.
    pub fn pause(&mut self, until: u64, per_second: u32) {
        self.paused_until = self.paused_until.max(until);
        let full = SECOND - cost(per_second);
        self.empty_at = self
            .empty_at
            .max(self.paused_until.saturating_mul(1_000).saturating_add(full));
    }
}

/// What one request puts into the bucket, in microseconds.
fn cost(per_second: u32) -> u64 {
    SECOND / u64::from(per_second.clamp(1, 1_000))
}

const SECOND: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins as many as may at each millisecond, and says when they began.
    fn begun(rate: &mut Rate, per_second: u32, from: u64, to: u64) -> Vec<u64> {
        let mut times = Vec::new();
        for now in from..to {
            while rate.next(per_second) <= now {
                rate.begun(now, per_second);
                times.push(now);
            }
        }
        times
    }

    #[test]
    fn a_second_may_begin_at_once_and_then_the_rate_holds() {
        for per_second in [1, 3, 10, 1_000] {
            let mut rate = Rate::default();
            let times = begun(&mut rate, per_second, 5_000, 9_000);
            let at_once = times.iter().filter(|&&time| time == 5_000).count();
            assert_eq!(at_once, per_second as usize);
            // In four seconds: the burst and four times the rate.
            let most = 5 * per_second as usize;
            assert!(
                (most - 1..=most).contains(&times.len()),
                "{per_second}: {}",
                times.len()
            );
        }
    }

    #[test]
    fn after_a_pause_there_is_no_burst() {
        let mut rate = Rate::default();
        rate.pause(7_000, 10);
        assert_eq!(begun(&mut rate, 10, 5_000, 7_350), [7_000, 7_100, 7_200, 7_300]);
    }
}
