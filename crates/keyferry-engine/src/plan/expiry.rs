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

/// The options of a line with the end that others have, or with none where those have none.
pub(crate) fn with_end_of(options: &str, others: &str) -> String {
    let is_end = |option: &&str| option.starts_with("expiry-time=");
    let stay = each(options).into_iter().filter(|option| !is_end(option));
    let end = each(others).into_iter().filter(is_end);
    stay.chain(end).collect::<Vec<_>>().join(",")
}

/// Options one by one: a comma within quotes parts none.
fn each(options: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let mut before = ' ';
    let parts = options.split(|c: char| {
        is_quoted ^= c == '"' && before != '\\';
        before = c;
        c == ',' && !is_quoted
    });
    parts.filter(|option| !option.is_empty()).collect()
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

    #[test]
    fn another_end_leaves_the_other_options_alone() {
        for (options, others, expected) in [
            ("", "", ""),
            ("", "no-pty,expiry-time=\"2\"", "expiry-time=\"2\""),
            (
                "from=\"a,b\",expiry-time=\"1\",no-pty",
                "expiry-time=\"2\"",
                "from=\"a,b\",no-pty,expiry-time=\"2\"",
            ),
            ("expiry-time=\"1\"", "restrict", ""),
            (
                "command=\"echo \\\",\\\"\",restrict",
                "",
                "command=\"echo \\\",\\\"\",restrict",
            ),
        ] {
            assert_eq!(with_end_of(options, others), expected, "{options}");
        }
    }
}
