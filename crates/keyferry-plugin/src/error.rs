//! Making a [`ProviderError`], and tables that say what a vendor's codes mean.

use crate::contract::{Effect, ErrorKind, ProviderError};

impl ProviderError {
    /// An error of this kind that had no effect; the message is lower case without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            request_id: None,
            retry_after_ms: None,
            effect: Effect::None,
        }
    }

    /// The same, where the request may have taken effect.
    pub fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }
}

/// What one of a vendor's codes means.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRule {
    /// The code; a `*` at its beginning or end stands for any text.
    pub code: &'static str,
    /// What it means to keyferry.
    pub kind: ErrorKind,
    /// The same in words for a person, with what to do; empty: the vendor's own words.
    pub message: &'static str,
}

impl ErrorRule {
    /// One line of a table.
    pub const fn new(code: &'static str, kind: ErrorKind, message: &'static str) -> Self {
        Self { code, kind, message }
    }

    /// Whether it speaks of this code.
    pub fn matches(&self, code: &str) -> bool {
        let (pattern, any_prefix) = match self.code.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (self.code, false),
        };
        match (any_prefix, pattern.strip_suffix('*')) {
            (false, None) => code == pattern,
            (false, Some(pattern)) => code.starts_with(pattern),
            (true, None) => code.ends_with(pattern),
            (true, Some(pattern)) => code.contains(pattern),
        }
    }
}

/// A vendor's message as ours are: one line, at most 300 characters, lower case at the beginning, no full stop.
pub fn vendor_message(text: &str) -> String {
    let line: String = text
        .chars()
        .take(300)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = line.trim().trim_end_matches('.');
    let mut rest = line.chars();
    match (rest.next(), rest.clone().next()) {
        // Not a lone capital or an abbreviation: `The name`, but neither `A` nor `URL`.
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(rest).collect(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let matches = |pattern, code| ErrorRule::new(pattern, ErrorKind::Invalid, "").matches(code);
        assert!(matches("Throttling", "Throttling") && !matches("Throttling", "Throttling.User"));
        assert!(matches("Throttling*", "Throttling.User") && !matches("Throttling*", "Rejected.Throttling"));
        assert!(matches("*Throttling", "Rejected.Throttling") && !matches("*Throttling", "Throttling.User"));
        assert!(matches("*Throttling*", "Rejected.Throttling.User") && !matches("*Throttling*", "Rejected"));
    }

    #[test]
    fn a_vendors_message_becomes_one_of_ours() {
        assert_eq!(vendor_message("The name\tis taken.\n"), "the name is taken");
        assert_eq!(vendor_message("URL is wrong"), "URL is wrong");
        assert_eq!(vendor_message("x".repeat(1000).as_str()).len(), 300);
        assert_eq!(vendor_message("  . "), "");
    }
}
