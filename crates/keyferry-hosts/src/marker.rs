//! The comment of our lines, which tells an auditor whose they are.

use std::fmt;
use std::str::FromStr;

use crate::contract::Marker;

/// `keyferry owner=li machine=li-thinkpad-7f3a1c key=prod-web gen=12`. What is neither a letter, a digit nor one of `._-@+` is
/// written as `%` and two hexadecimal digits for each byte.
impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FIRST_WORD)?;
        for (name, value) in [
            ("owner", &self.owner),
            ("machine", &self.machine),
            ("key", &self.key),
        ] {
            write!(f, " {name}={}", Encoded(value))?;
        }
        match self.n {
            Some(n) => write!(f, " gen={n}"),
            None => Ok(()),
        }
    }
}

/// Takes exactly what [`Display`](fmt::Display) writes: a comment that only looks like a marker is somebody's comment.
impl FromStr for Marker {
    type Err = NotAMarker;

    fn from_str(text: &str) -> Result<Self, NotAMarker> {
        let mut words = text.split(' ');
        if words.next() != Some(FIRST_WORD) {
            return Err(NotAMarker);
        }
        let mut value = |name: &str| {
            let word = words.next()?;
            decode(word.strip_prefix(name)?.strip_prefix('=')?)
        };
        let (Some(owner), Some(machine), Some(key)) = (value("owner"), value("machine"), value("key")) else {
            return Err(NotAMarker);
        };
        let n = match words.next() {
            None => None,
            Some(word) => {
                let digits = word.strip_prefix("gen=").ok_or(NotAMarker)?;
                Some(digits.parse().map_err(|_| NotAMarker)?)
            }
        };
        let marker = Self {
            owner,
            machine,
            key,
            n,
        };
        if marker.to_string() == text {
            Ok(marker)
        } else {
            Err(NotAMarker)
        }
    }
}

impl Marker {
    /// Whether both stand for lines that the same installation put there for the same key, whatever the generation, and
    /// whatever its user and machine were called then.
    pub fn is_kin_of(&self, other: &Self) -> bool {
        let is_same = match (self.installation(), other.installation()) {
            (Some(installation), Some(others)) => installation == others,
            _ => (&self.owner, &self.machine) == (&other.owner, &other.machine),
        };
        is_same && self.key == other.key
    }

    /// What a machine's name ends with, where keyferry gave it: that never changes.
    fn installation(&self) -> Option<&str> {
        let (_, end) = self.machine.rsplit_once('-')?;
        let is_one =
            end.len() == INSTALLATION && end.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_one.then_some(end)
    }
}

/// A comment that is no marker.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no marker of keyferry")]
pub struct NotAMarker;

struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

const FIRST_WORD: &str = "keyferry";
/// Digits of an installation that stand in a machine's name.
const INSTALLATION: usize = 6;
const PLAIN: &[u8] = b"._-@+";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marker(n: Option<u64>) -> Marker {
        Marker {
            owner: "li".to_owned(),
            machine: "li-thinkpad-7f3a1c".to_owned(),
            key: "prod-web".to_owned(),
            n,
        }
    }

    #[test]
    fn is_written_for_people() {
        let text = "keyferry owner=li machine=li-thinkpad-7f3a1c key=prod-web gen=12";
        assert_eq!(marker(Some(12)).to_string(), text);
        assert_eq!(text.parse(), Ok(marker(Some(12))));
        assert_eq!(
            marker(None).to_string(),
            "keyferry owner=li machine=li-thinkpad-7f3a1c key=prod-web"
        );
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for text in [
            "",
            "keyferry",
            "keyferry owner=li machine=m key=k gen=012",
            "keyferry owner=li machine=m key=k gen=12 ",
            "keyferry owner=li machine=m key=k gen=12 and more",
            "keyferry  owner=li machine=m key=k",
            "keyferry machine=m owner=li key=k",
            "bob keyferry owner=li machine=m key=k gen=1",
            "keyferry owner=%6ci machine=m key=k",
            "keyferry owner=%zz machine=m key=k",
            "keyferry owner=%é machine=m key=k",
            "keyferry owner=l/i machine=m key=k",
        ] {
            assert_eq!(text.parse::<Marker>(), Err(NotAMarker), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(owner: String, machine: String, key: String, n: Option<u64>) {
            let marker = Marker { owner, machine, key, n };
            let text = marker.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            prop_assert_eq!(text.parse(), Ok(marker));
        }
    }
}
