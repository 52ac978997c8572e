//! The moment after which a host lets a line in no longer, as sshd(8) reads it.

use std::time::{Duration, SystemTime};

/// `expiry-time="..."` for a line that is to be let in until a moment, and a day or two longer at most.
///
/// OpenSSH takes UTC, marked with a `Z`, since 9.1 alone; an earlier one refuses the whole line. So it is the form that all of
/// them take since 7.7, which is the host's local time: with a day more it is nowhere earlier than meant. The line's end is a
/// switch for when nobody comes to take it off, and may be late.
pub(crate) fn option(until: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(until + DAY).to_string();
    // From `2026-12-31T23:59:00Z`.
    let digits = text
        .chars()
        .filter(char::is_ascii_digit)
        .take("YYYYMMDDHHMM".len());
    format!("expiry-time=\"{}\"", digits.collect::<String>())
}

/// The same as earlier versions wrote it.
pub(super) fn earlier_option(until: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(until).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    format!("expiry-time=\"{digits}Z\"")
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_written_as_every_sshd_reads_it() {
        // 2026-11-22T03:36:49Z.
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609);
        assert_eq!(option(until), "expiry-time=\"202611230336\"");
        assert_eq!(earlier_option(until), "expiry-time=\"20261122033649Z\"");
    }
}
