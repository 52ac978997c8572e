//! Line g: text from a plugin or a cloud is made fit for a terminal, a file and a log; public keys are rebuilt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_plugin::contract::{Pair, ProviderError};

/// Drops control and invisible characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|&c| is_plain(c)).collect()
}

/// The same, and shortens to so many characters. A secret must be blanked before: half of one is not found again.
pub(crate) fn clean(text: &str, most: usize) -> String {
    text.chars()
        .filter(|&c| is_plain(c))
        .take(most)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A pair with clean names and a rebuilt public key. A public key that is not one is left out.
pub(crate) fn clean_pair(pair: Pair) -> Pair {
    let tidy = |text: Option<String>| {
        text.map(|text| clean(&text, MAX_NAME))
            .filter(|text| !text.is_empty())
    };
    Pair {
        name: clean(&pair.name, MAX_NAME),
        id: tidy(pair.id),
        fingerprint: tidy(pair.fingerprint),
        public_key: pair.public_key.as_deref().and_then(rebuilt_public_key),
        created_at: tidy(pair.created_at),
    }
}

/// An error with clean words.
pub(crate) fn clean_error(error: ProviderError) -> ProviderError {
    let tidy = |text: Option<String>| {
        text.map(|text| clean(&text, MAX_NAME))
            .filter(|text| !text.is_empty())
    };
    ProviderError {
        message: clean(&error.message, MAX_MESSAGE),
        code: tidy(error.code),
        request_id: tidy(error.request_id),
        retry_after_ms: error.retry_after_ms.map(|ms| ms.min(MAX_RETRY_AFTER_MS)),
        ..error
    }
}

/// Type and blob of a public key (RFC 4253 §6.6), written anew: no comment, no options, nothing that is not the key.
pub(crate) fn rebuilt_public_key(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_ascii_whitespace().take(2).collect();
    let (named, encoded) = match words.as_slice() {
        [name, encoded] if !name.starts_with("AAAA") => (Some(*name), *encoded),
        [encoded, ..] => (None, *encoded),
        [] => return None,
    };
    if encoded.len() > MAX_KEY {
        return None;
    }
    let blob = STANDARD.decode(encoded).ok()?;
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let name = std::str::from_utf8(name).ok()?;
    let is_algorithm =
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if !is_algorithm || named.is_some_and(|named| named != name) || rest.len() == name.len() {
        return None;
    }
    Some(format!("{name} {}", STANDARD.encode(&blob)))
}

fn is_plain(c: char) -> bool {
    let is_invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_invisible
}

/// Characters of a name, an identifier, a fingerprint or a code.
pub(crate) const MAX_NAME: usize = 256;
/// Characters of an error message.
pub(crate) const MAX_MESSAGE: usize = 600;
/// Characters of a public key in base64: RSA with 16384 bits has 2,800.
const MAX_KEY: usize = 8192;
const MAX_RETRY_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use keyferry_plugin::contract::ErrorKind;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzXSTLPNQ4EBeAVPnYbVRIPYGYBqBUGLfWKzFPNZUtB";

    #[test]
    fn a_public_key_loses_all_but_itself() {
        assert_eq!(rebuilt_public_key(KEY).as_deref(), Some(KEY));
        let dressed = format!("  {KEY}  \u{1b}]0;owned\u{7} command=\"x\"\r\n");
        assert_eq!(rebuilt_public_key(&dressed).as_deref(), Some(KEY));
        let (_, bare) = KEY.split_once(' ').unwrap();
        assert_eq!(rebuilt_public_key(bare).as_deref(), Some(KEY));
    }

    #[test]
    fn what_is_no_public_key_is_left_out() {
        let (_, blob) = KEY.split_once(' ').unwrap();
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 not/base64!",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "ssh-ed25519 AAAA",
            &format!("ssh-rsa {blob}"),
            &format!("command=\"x\" {KEY}"),
            "-----BEGIN PUBLIC KEY-----",
        ] {
            assert_eq!(rebuilt_public_key(text), None, "{text}");
        }
    }

    #[test]
    fn text_is_cleaned_and_shortened() {
        assert_eq!(clean(" na\u{1b}[31mme\u{202e}\t\n", 100), "na[31mme");
        assert_eq!(clean(&"x".repeat(1000), 10).len(), 10);
        let pair = clean_pair(Pair {
            name: "web\u{7}".to_owned(),
            id: Some("\t\n".to_owned()),
            fingerprint: Some("ab\0cd".to_owned()),
            public_key: Some("garbage".to_owned()),
            created_at: None,
        });
        assert_eq!(
            (
                pair.name.as_str(),
                pair.id,
                pair.fingerprint.as_deref(),
                pair.public_key
            ),
            ("web", None, Some("abcd"), None)
        );
        let mut error = ProviderError::new(ErrorKind::Quota, "no\nmore");
        error.request_id = Some("473469C7\t".to_owned());
        error.retry_after_ms = Some(u64::MAX);
        let error = clean_error(error);
        assert_eq!(
            (error.message.as_str(), error.request_id.as_deref()),
            ("nomore", Some("473469C7"))
        );
        assert_eq!(error.retry_after_ms, Some(86_400_000));
    }
}
