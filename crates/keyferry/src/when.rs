//! Times on the command line: RFC 3339, a date, or a duration from now.

use std::time::{Duration, SystemTime};

use keyferry_engine::snapshot::Timestamp;

/// A time that is yet to come; a duration counts from now.
///
/// # Errors
/// What is expected instead.
pub(crate) fn to_come(text: &str) -> Result<Timestamp, String> {
    parse(text, Timestamp(SystemTime::now()), 1)
}

/// A time that has gone by; a duration counts back from now.
///
/// # Errors
/// What is expected instead.
pub(crate) fn gone_by(text: &str) -> Result<Timestamp, String> {
    parse(text, Timestamp(SystemTime::now()), -1)
}

/// How long ago a time is, or how soon it comes: `3 days ago`, `in 2 hours`.
pub(crate) fn from_now(time: Timestamp, now: SystemTime) -> String {
    match time.0.duration_since(now) {
        Ok(left) if left < Duration::from_secs(1) => "now".to_owned(),
        Ok(left) => format!("in {}", about(left)),
        Err(gone) if gone.duration() < Duration::from_secs(1) => "just now".to_owned(),
        Err(gone) => format!("{} ago", about(gone.duration())),
    }
}

/// A duration in its greatest unit that says enough: minutes up to two hours, hours up to two days.
fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn parse(text: &str, now: Timestamp, direction: i64) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(time) = date_and_time(text) {
        return Ok(time);
    }
    if let Ok(duration) = humantime::parse_duration(text) {
        let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_ms(
            now.to_ms().saturating_add(direction.saturating_mul(milliseconds)),
        ));
    }
    Err("a duration (3d, 12h 30m), a date (2026-12-01, midnight UTC) or a time (2026-12-01T09:00:00Z) is expected".to_owned())
}

fn date_and_time(text: &str) -> Option<Timestamp> {
    let utc = |text: &str| humantime::parse_rfc3339(text).ok().map(Timestamp);
    if let Some(date) = utc(&format!("{text}T00:00:00Z")) {
        return Some(date);
    }
    if let Some(time) = utc(text) {
        return Some(time);
    }
    // With the distance from UTC: `+08:00`.
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = match offset.split_at_checked(1)? {
        ("+", offset) => (-1, offset),
        ("-", offset) => (1, offset),
        _ => return None,
    };
    let (hours, minutes) = offset.split_once(':')?;
    let number = |digits: &str, most: i64| {
        let value: i64 = digits.parse().ok()?;
        (digits.len() == 2 && digits.bytes().all(|octet| octet.is_ascii_digit()) && value <= most)
            .then_some(value)
    };
    let offset = (number(hours, 23)? * 60 + number(minutes, 59)?) * 60_000;
    let local = utc(&format!("{local}Z"))?;
    Some(Timestamp::from_ms(local.to_ms() + sign * offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_ms(1_795_318_609_000)
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let found = parse(text, now(), 1).ok().map(|time| time.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn times_dates_and_durations_are_understood() {
        check("2026-12-01T09:00:00Z", Some("2026-12-01T09:00:00Z"));
        check("2026-12-01T09:00:00+08:00", Some("2026-12-01T01:00:00Z"));
        check("2026-12-01T09:00:00-00:30", Some("2026-12-01T09:30:00Z"));
        check("2026-12-01", Some("2026-12-01T00:00:00Z"));
        check("3d", Some("2026-11-25T03:36:49Z"));
        check("1h 30m", Some("2026-11-22T05:06:49Z"));
        for wrong in [
            "",
            "tomorrow",
            "3",
            "2026-13-01",
            "2026-12-01T09:00:00+8:00",
            "2026-12-01T09:00:00+24:00",
            "2026-12-01T09:00:00ä00:00",
            "-3d",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        check("100000000000000000000y", None);
        check("90000y", Some("9999-12-31T23:59:59Z"));
        let long_ago = parse("90000y", now(), -1).map(|time| time.to_string());
        assert_eq!(long_ago.as_deref(), Ok("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn distances_are_said_in_one_unit() {
        for (seconds, words) in [
            (0, "now"),
            (1, "in 1 second"),
            (119, "in 119 seconds"),
            (600, "in 10 minutes"),
            (7_200, "in 2 hours"),
            (86_400 * 12, "in 12 days"),
            (-90, "90 seconds ago"),
            (-86_400 * 3, "3 days ago"),
        ] {
            let time = Timestamp::from_ms(now().to_ms() + seconds * 1_000);
            assert_eq!(from_now(time, now().0), words);
        }
    }
}
