//! What the vendor's services ask of parameters: names, pages, tags. The error codes are each service's own.

use crate::inventory::{Page, Tag};
use crate::refusal::Refusal;
use crate::vendor::Parameters;

/// Leaves out the parameters of the protocol: what is left is the same in both signature versions, and holds
/// neither signature nor token.
pub(super) fn without_protocol(parameters: Vec<(String, String)>) -> Parameters {
    Parameters(
        parameters
            .into_iter()
            .filter(|(name, _)| !PROTOCOL_PARAMETERS.contains(&&**name))
            .collect(),
    )
}

/// A parameter that must be there.
pub(super) fn required<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a str, Refusal> {
    parameters.get(name).ok_or_else(|| missing(name))
}

/// A parameter that must be there is not, or is empty.
pub(super) fn missing(parameter: &str) -> Refusal {
    Refusal::new(
        400,
        "MissingParameter",
        format!("The mandatory parameter \"{parameter}\" is not supplied."),
    )
}

/// `InvalidParameter.<parameter>`, as ENS documents it.
pub(super) fn invalid(parameter: &str) -> Refusal {
    Refusal::new(
        400,
        format!("InvalidParameter.{parameter}"),
        format!("The parameter \"{parameter}\" is not valid."),
    )
}

/// The values of `Name.1`, `Name.2` and so on, as far as the numbers go.
pub(super) fn numbered(parameters: &Parameters, name: &str) -> Vec<String> {
    (1..)
        .map_while(|number| parameters.get(&format!("{name}.{number}")))
        .map(str::to_owned)
        .collect()
}

/// `Tag.1.Key`, `Tag.1.Value` and so on, in the order of their numbers.
pub(super) fn tags(parameters: &Parameters) -> Result<Vec<Tag>, Refusal> {
    let mut tags = Vec::new();
    for number in 1..=MAX_TAGS + 1 {
        let value = parameters.get(&format!("Tag.{number}.Value")).unwrap_or_default();
        let Some(key) = parameters.get(&format!("Tag.{number}.Key")) else {
            if value.is_empty() {
                continue;
            }
            return Err(missing(&format!("Tag.{number}.Key")));
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
pub(super) fn page(parameters: &Parameters) -> Result<Page, Refusal> {
    let number = |name: &str, default: usize, most: usize| match parameters.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|value| (1..=most).contains(value))
            .ok_or_else(|| invalid(name)),
    };
    Ok(Page {
        number: number("PageNumber", 1, usize::MAX)?,
        size: number("PageSize", 10, MAX_PAGE_SIZE)?,
    })
}

/// From 2 to `most` letters, digits, `:`, `_`, `-` and what else the action allows; the first is a letter. A URL fails
/// by its slashes.
pub(super) fn is_pair_name(name: &str, most: usize, also: &[char], first: fn(char) -> bool) -> bool {
    let mut characters = name.chars();
    (2..=most).contains(&name.chars().count())
        && characters.next().is_some_and(first)
        && characters.all(|c| c.is_alphanumeric() || ":_-".contains(c) || also.contains(&c))
}

/// A letter that may start a name in most actions: Latin or Chinese.
pub(super) fn is_latin_or_chinese(letter: char) -> bool {
    letter.is_ascii_alphabetic() || ('\u{3400}'..='\u{9fff}').contains(&letter)
}

/// Whether `*` in the pattern, each standing for any text, makes it the name.
pub(super) fn matches_wildcard(pattern: &str, name: &str) -> bool {
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

const PROTOCOL_PARAMETERS: [&str; 12] = [
    "AccessKeyId",
    "Action",
    "Format",
    "OIDCToken",
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
        let ecs = |name: &str| is_pair_name(name, 128, &[], is_latin_or_chinese);
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
