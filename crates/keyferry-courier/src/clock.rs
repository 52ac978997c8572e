//! How far this machine's clock is from the providers', as the `date` headers of their replies tell (RFC 9110 §6.6.1).
//!
//! Signatures and tokens hold for minutes; where one is refused and the clocks differ, that is said.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use keyferry_plugin::contract::{ErrorKind, ProviderError};

/// What the last reply told.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    seen: Mutex<Option<Skew>>,
}

#[derive(Clone, Debug)]
struct Skew {
    /// Seconds that our clock is behind; negative: ahead.
    behind: i64,
    /// Whose clock it was compared with.
    authority: String,
}

impl Clock {
    /// Compares the date of a reply with our time, between when its request was begun and when it was there.
    pub(crate) fn note(&self, authority: &str, date: &[u8], begun: SystemTime, ended: SystemTime) {
        let Some(date) = std::str::from_utf8(date).ok().and_then(parse_date) else {
            return;
        };
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let behind = match (date.duration_since(ended), begun.duration_since(date)) {
            (Ok(behind), _) => seconds(behind),
            (_, Ok(ahead)) => -seconds(ahead),
            _ => 0,
        };
        let authority = authority.to_owned();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Skew { behind, authority });
    }

    /// Seconds that our clock is behind the last provider's; negative: ahead. None before the first reply.
    pub(crate) fn behind(&self) -> Option<i64> {
        self.seen().map(|skew| skew.behind)
    }

    /// The time at the last provider's, as far as we know.
    pub(crate) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        let Some(skew) = self.seen().filter(Skew::matters) else {
            return now;
        };
        let distance = Duration::from_secs(skew.behind.unsigned_abs());
        let there = match skew.behind > 0 {
            true => now.checked_add(distance),
            false => now.checked_sub(distance),
        };
        there.unwrap_or(now)
    }

    /// The error, naming the skew where that may be its cause.
    pub(crate) fn explained(&self, mut error: ProviderError) -> ProviderError {
        if let Some(skew) = self.seen().filter(Skew::matters)
            && may_be_of_time(&error)
        {
            let (distance, direction) = match skew.behind > 0 {
                true => (skew.behind, "behind"),
                false => (-skew.behind, "ahead of"),
            };
            let authority = &skew.authority;
            let words = in_words(distance);
            error.message = format!(
                "{}; this machine's clock is {words} {direction} that of {authority}: correct it",
                error.message
            );
        }
        error
    }

    fn seen(&self) -> Option<Skew> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Skew {
    fn matters(&self) -> bool {
        self.behind.unsigned_abs() > TOLERATED
    }
}

/// Whether a wrong clock leads to such an error.
fn may_be_of_time(error: &ProviderError) -> bool {
    let code = error.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    match error.kind {
        ErrorKind::Unauthorized => true,
        ErrorKind::Invalid => ["sign", "time", "date", "expire", "skew", "nonce"]
            .iter()
            .any(|word| code.contains(word)),
        _ => false,
    }
}

fn in_words(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; the older forms are sent by nobody.
fn parse_date(text: &str) -> Option<SystemTime> {
    let (_, date) = text.trim().split_once(", ")?;
    let mut words = date.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = 1 + MONTHS.iter().position(|&name| name == month)?;
    if zone != "GMT" || words.next().is_some() {
        return None;
    }
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// Seconds that are not worth a word: providers allow five minutes or more.
const TOLERATED: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn noted(seconds: i64) -> Clock {
        let date = parse_date(DATE).unwrap();
        let ours = match seconds > 0 {
            true => date - Duration::from_secs(seconds.unsigned_abs()),
            false => date + Duration::from_secs(seconds.unsigned_abs()),
        };
        let clock = Clock::default();
        clock.note("ens.aliyuncs.com", DATE.as_bytes(), ours, ours);
        clock
    }

    #[test]
    fn dates_are_read() {
        let date = parse_date(DATE).unwrap();
        assert_eq!(
            humantime::format_rfc3339_seconds(date).to_string(),
            "1994-11-06T08:49:37Z"
        );
        for wrong in [
            "",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
        ] {
            assert!(parse_date(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_skew_is_named_where_it_may_be_the_cause() {
        let message = |seconds, kind, code: Option<&str>| {
            let mut error = ProviderError::new(kind, "refused");
            error.code = code.map(str::to_owned);
            noted(seconds).explained(error).message
        };
        assert_eq!(
            message(14 * 60 + 5, ErrorKind::Unauthorized, None),
            "refused; this machine's clock is 14 minutes behind that of ens.aliyuncs.com: correct it"
        );
        assert_eq!(
            message(-3 * 86_400, ErrorKind::Invalid, Some("InvalidTimeStamp.Expired")),
            "refused; this machine's clock is 3 days ahead of that of ens.aliyuncs.com: correct it"
        );
        assert_eq!(message(60, ErrorKind::Unauthorized, None), "refused");
        assert_eq!(
            message(-600, ErrorKind::Invalid, Some("InvalidKeyPairName")),
            "refused"
        );
        assert_eq!(message(600, ErrorKind::Throttled, None), "refused");
    }

    #[test]
    fn a_slow_reply_is_no_skew() {
        let date = parse_date(DATE).unwrap();
        let clock = Clock::default();
        clock.note(
            "x",
            DATE.as_bytes(),
            date - Duration::from_secs(25),
            date + Duration::from_secs(200),
        );
        assert_eq!(clock.behind(), Some(0));
        assert_eq!(noted(100).behind(), Some(100));
        assert_eq!(noted(-100).behind(), Some(-100));
        assert_eq!(Clock::default().behind(), None);
    }
}
