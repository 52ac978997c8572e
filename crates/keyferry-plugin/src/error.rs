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

    /// An error about an answer that is not in the vendor's own form, so that its HTTP status says all there is. What the
    /// request did is not known from it: see [`ProviderError::with_effect`].
    pub fn of_status(status: u16) -> Self {
        match status {
            429 => Self::new(ErrorKind::Throttled, "too many requests"),
            500.. => Self::new(
                ErrorKind::Unavailable,
                format!("the provider answered with status {status}"),
            ),
            _ => Self::new(
                ErrorKind::Internal,
                format!("the answer, with status {status}, is not the provider's own form"),
            ),
        }
    }
}

/// A vendor's refusal in its own form.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The HTTP status that it came with.
    pub status: u16,
    /// The vendor's code; empty: none.
    pub code: &'a str,
    /// The vendor's words as they came; empty: none.
    pub message: &'a str,
    /// What the request may have done where the refusal leaves that open: [`Effect::Unknown`] where it changes something.
    pub effect: Effect,
    /// The permission that the request takes: `ecs:CreateKeyPair`.
    pub permission: &'a str,
    /// When the request was signed ([`Context::time`](crate::contract::Context)).
    pub time: &'a str,
}

impl Refusal<'_> {
    /// What it means by the first of these rules that speaks of its code; without one, by its status.
    ///
    /// The effect is [`Refusal::effect`] where the vendor may have gone on all the same: with a status of 500 or more, and
    /// where the kind is [`ErrorKind::Unavailable`]. Else, and where the rule says so, there was none.
    pub fn error<'r>(&self, rules: impl IntoIterator<Item = &'r ErrorRule>) -> ProviderError {
        let rule = rules.into_iter().find(|rule| rule.matches(self.code));
        let kind = match (rule, self.status) {
            (Some(rule), _) => rule.kind,
            (None, 401 | 403) => ErrorKind::Unauthorized,
            (None, 429) => ErrorKind::Throttled,
            (None, 500..) => ErrorKind::Unavailable,
            (None, _) => ErrorKind::Invalid,
        };
        let words = vendor_message(self.message);
        let own = rule
            .map(|rule| rule.message)
            .filter(|message| !message.is_empty());
        let message = match own {
            Some(message) => message
                .replace("{permission}", self.permission)
                .replace("{time}", self.time),
            None if words.is_empty() => format!("the provider answered {}", self.code),
            None => words,
        };
        let is_final =
            rule.is_some_and(|rule| rule.is_final) || self.status < 500 && kind != ErrorKind::Unavailable;
        let code = Some(self.code).filter(|code| !code.is_empty());
        ProviderError {
            code: code.map(str::to_owned),
            effect: if is_final { Effect::None } else { self.effect },
            ..ProviderError::new(kind, message)
        }
    }
}

/// What one of a vendor's codes means.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRule {
    /// The code; a `*` at its beginning or end stands for any text.
    pub code: &'static str,
    /// What it means to keyferry.
    pub kind: ErrorKind,
    /// The same in words for a person, with what to do; empty: the vendor's own words. `{permission}` and `{time}` stand for
    /// those of the [`Refusal`].
    pub message: &'static str,
    /// Whether the vendor did nothing for certain, whatever the kind and the status.
    pub is_final: bool,
}

impl ErrorRule {
    /// One line of a table.
    pub const fn new(code: &'static str, kind: ErrorKind, message: &'static str) -> Self {
        Self {
            code,
            kind,
            message,
            is_final: false,
        }
    }

    /// The same for a code with which the vendor did nothing, although the kind or the status leaves that open: of a
    /// request that it did not accept by its time or number, say.
    pub const fn without_effect(self) -> Self {
        Self {
            is_final: true,
            ..self
        }
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

    const RULES: &[ErrorRule] = &[
        ErrorRule::new("Busy", ErrorKind::Throttled, "too many requests").without_effect(),
        ErrorRule::new("Clock", ErrorKind::Unavailable, "signed at {time}").without_effect(),
        ErrorRule::new("Denied", ErrorKind::Unauthorized, "it takes {permission}"),
        ErrorRule::new("Down*", ErrorKind::Unavailable, ""),
        ErrorRule::new("Down.Twice", ErrorKind::Invalid, "not the first"),
    ];

    fn refused(status: u16, code: &str, message: &str) -> ProviderError {
        let refusal = Refusal {
            status,
            code,
            message,
            effect: Effect::Unknown,
            permission: "ecs:CreateKeyPair",
            time: "2026-11-22T01:36:49Z",
        };
        refusal.error(RULES)
    }

    #[test]
    fn a_refusal_has_the_kind_of_its_rule_or_status_and_an_effect() {
        use ErrorKind::*;
        for (status, code, kind, effect) in [
            (400, "Other", Invalid, Effect::None),
            (401, "Other", Unauthorized, Effect::None),
            (403, "Other", Unauthorized, Effect::None),
            (429, "Other", Throttled, Effect::None),
            (500, "Other", Unavailable, Effect::Unknown),
            (503, "Other", Unavailable, Effect::Unknown),
            (400, "Denied", Unauthorized, Effect::None),
            (500, "Denied", Unauthorized, Effect::Unknown),
            (400, "Down.Twice", Unavailable, Effect::Unknown),
            (400, "Clock", Unavailable, Effect::None),
            (503, "Busy", Throttled, Effect::None),
        ] {
            let error = refused(status, code, "No.");
            assert_eq!((error.kind, error.effect), (kind, effect), "{status} {code}");
            assert_eq!(error.code.as_deref(), Some(code));
        }
    }

    #[test]
    fn a_request_that_changes_nothing_has_no_effect() {
        let refusal = Refusal {
            status: 500,
            code: "Other",
            message: "",
            effect: Effect::None,
            permission: "",
            time: "",
        };
        assert_eq!(refusal.error(RULES).effect, Effect::None);
    }

    #[test]
    fn a_refusal_is_put_in_the_rules_words_else_the_vendors() {
        let words = |code, message| refused(400, code, message).message;
        assert_eq!(words("Denied", "No."), "it takes ecs:CreateKeyPair");
        assert_eq!(words("Clock", "No."), "signed at 2026-11-22T01:36:49Z");
        assert_eq!(words("Down", "Not now."), "not now");
        assert_eq!(words("Other", "{time}"), "{time}");
        assert_eq!(words("Other", ""), "the provider answered Other");
        assert_eq!(refused(400, "", "No way.").code, None);
    }

    #[test]
    fn an_answer_in_no_form_is_judged_by_its_status() {
        for (status, kind) in [
            (200, ErrorKind::Internal),
            (404, ErrorKind::Internal),
            (429, ErrorKind::Throttled),
            (502, ErrorKind::Unavailable),
        ] {
            assert_eq!(ProviderError::of_status(status).kind, kind, "{status}");
        }
    }

    #[test]
    fn a_vendors_message_becomes_one_of_ours() {
        assert_eq!(vendor_message("The name\tis taken.\n"), "the name is taken");
        assert_eq!(vendor_message("URL is wrong"), "URL is wrong");
        assert_eq!(vendor_message("x".repeat(1000).as_str()).len(), 300);
        assert_eq!(vendor_message("  . "), "");
    }
}
