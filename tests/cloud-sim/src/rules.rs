//! What both services ask of parameters: names, public keys, pages, tags. The error codes are each service's own.

use ssh_key::PublicKey;

use crate::inventory::Tag;
use crate::refusal::Refusal;

/// The business parameters of a call, decoded.
#[derive(Clone)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Leaves out the parameters of the protocol: what is left is the same in both signature versions, and holds
    /// neither signature nor token.
    pub(crate) fn without_protocol(parameters: Vec<(String, String)>) -> Self {
        Self(
            parameters
                .into_iter()
                .filter(|(name, _)| !PROTOCOL_PARAMETERS.contains(&&**name))
                .collect(),
        )
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A parameter's value. An empty one counts as left out.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::missing(name))
    }

    /// `Tag.1.Key`, `Tag.1.Value` and so on, in the order of their numbers.
    pub(crate) fn tags(&self) -> Result<Vec<Tag>, Refusal> {
        let mut tags = Vec::new();
        for number in 1..=MAX_TAGS + 1 {
            let value = self.get(&format!("Tag.{number}.Value")).unwrap_or_default();
            let Some(key) = self.get(&format!("Tag.{number}.Key")) else {
                if value.is_empty() {
                    continue;
                }
                return Err(Refusal::missing(&format!("Tag.{number}.Key")));
            };
            let has_url = |text: &str| text.contains("http://") || text.contains("https://");
            let reserved = key.starts_with("aliyun") || key.starts_with("acs:");
            if key.chars().count() > MAX_TAG_LENGTH || reserved || has_url(key) {
                return Err(Refusal::new(
                    400,
                    "InvalidTagKey.Malformed",
                    "A tag key is not valid.",
                ));
            }
            if value.chars().count() > MAX_TAG_LENGTH || value.starts_with("acs:") || has_url(value) {
                return Err(Refusal::new(
                    400,
                    "InvalidTagValue.Malformed",
                    "A tag value is not valid.",
                ));
            }
            tags.push(Tag {
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
        if tags.len() > MAX_TAGS {
            return Err(Refusal::new(
                400,
                "NumberExceed.Tags",
                "A resource has at most 20 tags.",
            ));
        }
        Ok(tags)
    }

    /// Page number and page size, checked.
    pub(crate) fn page(&self) -> Result<Page, Refusal> {
        let number = |name: &str, default: usize, most: usize| match self.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|value| (1..=most).contains(value))
                .ok_or_else(|| Refusal::invalid(name)),
        };
        Ok(Page {
            number: number("PageNumber", 1, usize::MAX)?,
            size: number("PageSize", 10, MAX_PAGE_SIZE)?,
        })
    }
}

/// Which part of a list is asked for.
pub(crate) struct Page {
    /// From 1.
    pub(crate) number: usize,
    /// From 1 to 50.
    pub(crate) size: usize,
}

impl Page {
    pub(crate) fn of<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let start = (self.number - 1).saturating_mul(self.size).min(items.len());
        &items[start..items.len().min(start + self.size)]
    }
}

/// 2 to 128 letters, digits, `:`, `_`, `-` and what else the action allows; the first is a letter. A URL fails
/// by its slashes.
pub(crate) fn is_pair_name(name: &str, also: &[char], first: fn(char) -> bool) -> bool {
    let mut characters = name.chars();
    (2..=128).contains(&name.chars().count())
        && characters.next().is_some_and(first)
        && characters.all(|c| c.is_alphanumeric() || ":_-".contains(c) || also.contains(&c))
}

/// A letter that may start a name in most actions: Latin or Chinese.
pub(crate) fn is_latin_or_chinese(letter: char) -> bool {
    letter.is_ascii_alphabetic() || ('\u{3400}'..='\u{9fff}').contains(&letter)
}

/// The public key, if it is well-formed and of one of `kinds` (the algorithm names of SSH, by prefix).
pub(crate) fn public_key(text: &str, kinds: &[&str]) -> Option<PublicKey> {
    let key = PublicKey::from_openssh(text.trim()).ok()?;
    let algorithm = key.algorithm();
    kinds
        .iter()
        .any(|kind| algorithm.as_str().starts_with(kind))
        .then_some(key)
}

/// Whether `*` in the pattern, each standing for any text, makes it the name.
pub(crate) fn matches_wildcard(pattern: &str, name: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(prefix) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let suffix = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else {
            return false;
        };
        left = after;
    }
    left.ends_with(suffix)
}

const MAX_PAGE_SIZE: usize = 50;
const MAX_TAGS: usize = 20;
const MAX_TAG_LENGTH: usize = 128;

const PROTOCOL_PARAMETERS: [&str; 11] = [
    "AccessKeyId",
    "Action",
    "Format",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
    "Version",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("ab*", "abcd", true),
            ("*cd", "abcd", true),
            ("*bc*", "abcd", true),
            ("a*c*d", "abcd", true),
            ("a*d*c", "abcd", false),
            ("*", "", true),
            ("ab*bc", "abc", false),
        ] {
            assert_eq!(matches_wildcard(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn names() {
        let ecs = |name: &str| is_pair_name(name, &[], is_latin_or_chinese);
        assert!(ecs("ab") && ecs("测试密钥-Ключ_é:1") && ecs(&"a".repeat(128)));
        assert!(
            !ecs("a")
                && !ecs("1a")
                && !ecs("a.b")
                && !ecs("http://a")
                && !ecs(&"a".repeat(129))
                && !ecs("Ключ")
        );
    }
}
