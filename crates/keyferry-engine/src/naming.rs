//! Names of pairs at the provider: readable, unique, fitted to the vendor's rules.

use aws_lc_rs::digest::{SHA256, digest};
use keyferry_plugin::manifest::NameRules;

/// What a pair's name is made of.
#[derive(Clone, Copy, Debug)]
pub struct NameParts<'a> {
    /// The key's name.
    pub key: &'a str,
    /// What the key's file wants the name to begin with; none: `keyferry-KEY`.
    pub pair_name: Option<&'a str>,
    /// The installation: at least six hex digits, of which six are used.
    pub installation: &'a str,
    /// The generation's number.
    pub n: u64,
}

/// The name of a generation's pair: `keyferry-prod-web-3fa2c1-12`.
///
/// Characters that the vendor does not take become its separator or are left out, and a beginning too long is cut.
/// Where the result does not tell the key by itself (it was cut or changed, or the file gave a beginning of its
/// own) and `taken` says that another key has it, six hex digits of the key's own name are put in.
///
/// # Errors
/// In words, when the rules leave no room for a name.
pub fn pair_name(
    parts: NameParts<'_>,
    rules: &NameRules,
    taken: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let separator = ['-', '_', '.', ':']
        .into_iter()
        .find(|&c| rules.punctuation.contains(c));
    let joint = separator.map(String::from).unwrap_or_default();
    let installation = digits(parts.installation).to_owned();
    let key_digest: String = digest(&SHA256, parts.key.as_bytes()).as_ref()[..3]
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();

    let wanted = match parts.pair_name {
        Some(name) => name.to_owned(),
        None => format!("keyferry-{}", parts.key),
    };
    let mut beginning: String = wanted
        .chars()
        .filter_map(
            |c| match c.is_ascii_alphanumeric() || rules.punctuation.contains(c) {
                true => Some(c),
                false => separator,
            },
        )
        .collect();
    let lower = beginning.to_ascii_lowercase();
    if (rules.starts_with_letter && !beginning.starts_with(|c: char| c.is_ascii_alphabetic()))
        || rules
            .forbidden_prefixes
            .iter()
            .any(|prefix| lower.starts_with(prefix.as_str()))
    {
        beginning.insert_str(0, &format!("k{joint}"));
    }

    let mut refused = "there is no room for a name".to_owned();
    for middle in [installation.clone(), format!("{key_digest}{joint}{installation}")] {
        // Without a separator, a letter keeps the numbers apart.
        let end = match separator {
            Some(separator) => format!("{separator}{middle}{separator}{}", parts.n),
            None => format!("x{middle}x{}", parts.n),
        };
        let room = rules.max_length.saturating_sub(end.len());
        if room == 0 {
            break;
        }
        let start: String = beginning.chars().take(room).collect();
        let name = format!("{}{end}", start.trim_end_matches(['-', '_', '.', ':']));
        match rules.check(&name) {
            Ok(()) if !taken(&name) => return Ok(name),
            Ok(()) => refused = format!("{name} is taken by another key"),
            Err(reason) => refused = format!("{name} {reason}"),
        }
    }
    Err(refused)
}

/// Which installation a pair's name tells of, if it is built as [`pair_name`] builds them: six hex digits and a number at
/// its end, each behind the same separator.
pub fn installation_of(name: &str) -> Option<&str> {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let separator = rest
        .chars()
        .last()
        .filter(|c| rest.len() < name.len() && "-_.:x".contains(*c))?;
    let rest = rest.strip_suffix(separator)?;
    let digits = rest.len().checked_sub(INSTALLATION_DIGITS)?;
    let (beginning, installation) = (rest.get(..digits)?, rest.get(digits..)?);
    let is_hex = installation
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (is_hex && beginning.len() > 1 && beginning.ends_with(separator)).then_some(installation)
}

/// The number of a generation in its pair's name, if the name is built so. One that nobody ever counts to is none.
pub fn number_of(name: &str) -> Option<u64> {
    installation_of(name)?;
    let number = name.get(without_number(name).len()..)?.parse().ok()?;
    (number < A_LIFE_OF_GENERATIONS).then_some(number)
}

/// A pair's name without the number.
pub fn without_number(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Whether a pair's name begins as keyferry's do by themselves.
pub fn is_usual(name: &str) -> bool {
    name.starts_with("keyferry")
}

/// The digits of an installation that stand in names.
pub fn digits(installation: &str) -> &str {
    installation.get(..INSTALLATION_DIGITS).unwrap_or(installation)
}

const INSTALLATION_DIGITS: usize = 6;

/// One every second, for thirty years.
const A_LIFE_OF_GENERATIONS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> NameRules {
        NameRules {
            min_length: 2,
            max_length: 128,
            starts_with_letter: true,
            punctuation: "-_:".to_owned(),
            forbidden_prefixes: vec!["http://".to_owned(), "aliyun".to_owned()],
        }
    }

    #[track_caller]
    fn check(key: &str, pair_name_wanted: Option<&str>, rules: &NameRules, expected: &str) {
        let parts = NameParts {
            key,
            pair_name: pair_name_wanted,
            installation: "3fa2c1aabb",
            n: 12,
        };
        assert_eq!(pair_name(parts, rules, |_| false).as_deref(), Ok(expected));
    }

    #[test]
    fn names_are_readable_and_fit() {
        check("prod-web", None, &rules(), "keyferry-prod-web-3fa2c1-12");
        check("prod-web", Some("team.a"), &rules(), "team-a-3fa2c1-12");
        check("prod-web", Some("7up"), &rules(), "k-7up-3fa2c1-12");
        check("prod-web", Some("aliyun"), &rules(), "k-aliyun-3fa2c1-12");
        let short = NameRules {
            max_length: 20,
            ..rules()
        };
        check("prod-web", None, &short, "keyferry-p-3fa2c1-12");
        check(
            "web",
            None,
            &NameRules {
                max_length: 19,
                ..rules()
            },
            "keyferry-3fa2c1-12",
        );
        let bare = NameRules {
            punctuation: String::new(),
            ..rules()
        };
        check("prod-web", None, &bare, "keyferryprodwebx3fa2c1x12");
    }

    #[test]
    fn a_name_that_another_key_has_gets_digits_of_its_own() {
        let parts = NameParts {
            key: "b",
            pair_name: Some("team"),
            installation: "3fa2c1",
            n: 1,
        };
        let name = pair_name(parts, &rules(), |name| name == "team-3fa2c1-1").unwrap();
        assert_ne!(name, "team-3fa2c1-1");
        assert!(name.starts_with("team-") && name.ends_with("-3fa2c1-1"), "{name}");
    }

    #[test]
    fn no_room_is_said() {
        let parts = NameParts {
            key: "b",
            pair_name: None,
            installation: "3fa2c1",
            n: 1,
        };
        assert!(
            pair_name(
                parts,
                &NameRules {
                    max_length: 5,
                    ..rules()
                },
                |_| false
            )
            .is_err()
        );
    }

    #[test]
    fn names_tell_their_installation() {
        for (name, expected) in [
            ("keyferry-prod-web-3fa2c1-12", Some("3fa2c1")),
            ("team_a_3fa2c1_1", Some("3fa2c1")),
            ("keyferryprodwebx3fa2c1x12", Some("3fa2c1")),
            ("keyferry-web-3fa2c1", None),
            ("keyferry-web-3fa2c1-", None),
            ("keyferry-web-3FA2C1-1", None),
            ("keyferry-web_3fa2c1-1", None),
            ("3fa2c1-1", None),
            ("-3fa2c1-1", None),
            ("", None),
            ("12", None),
            ("\u{5bc6}\u{94a5}\u{5bc6}-1", None),
        ] {
            assert_eq!(installation_of(name), expected, "{name}");
        }
    }

    #[test]
    fn names_tell_their_number() {
        for (name, expected) in [
            ("keyferry-prod-web-3fa2c1-12", Some(12)),
            ("keyferryprodwebx3fa2c1x7", Some(7)),
            ("keyferry-web-3fa2c1-999999999", Some(999_999_999)),
            ("keyferry-web-3fa2c1-1000000000", None),
            ("keyferry-web-3fa2c1-99999999999999999999", None),
            ("somebody-12", None),
            ("keyferry-web-3fa2c1-", None),
        ] {
            assert_eq!(number_of(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_fits_the_rules(
            key in "[a-z0-9][a-z0-9-]{0,47}",
            wanted in proptest::option::of("\\PC{0,60}"),
            n in 1u64..100_000,
            max_length in 24usize..255,
            punctuation in prop_oneof![Just(""), Just("-"), Just("_"), Just("-_:"), Just(".")],
        ) {
            let rules = NameRules { max_length, punctuation: punctuation.to_owned(), ..rules() };
            let parts = NameParts { key: &key, pair_name: wanted.as_deref(), installation: "3fa2c1", n };
            let first = pair_name(parts, &rules, |_| false).unwrap();
            prop_assert_eq!(rules.check(&first), Ok(()));
            let other = pair_name(NameParts { key: "other-key", ..parts }, &rules, |name| name == first);
            prop_assert_ne!(other.as_deref(), Ok(first.as_str()));
            prop_assert_eq!(installation_of(&first), Some("3fa2c1"));
            prop_assert_eq!(number_of(&first), Some(n));
        }
    }
}
