//! A plugin's answer from bytes, believed only after all of it was looked at.

use keyferry_plugin::Step;
use serde::de::IgnoredAny;

use crate::error::{Garbage, quoted};

/// Parses an answer. Its nesting is bounded by serde_json's limit of 128.
///
/// Fields that we do not know are an error, unless the plugin was built for a newer minor version of the contract.
///
/// # Errors
/// [`Garbage`] says what it is instead of a step, and quotes little of it.
pub fn parse(answer: &[u8], newer_minor: bool) -> Result<Step, Garbage> {
    if answer.is_empty() {
        return Err(Garbage::Empty);
    }
    let mut unknown = None;
    let mut json = serde_json::Deserializer::from_slice(answer);
    let step = serde_ignored::deserialize(&mut json, |field| {
        unknown.get_or_insert_with(|| field.to_string().replace("?.", ""));
    })
    .and_then(|step| json.end().map(|()| step))
    .map_err(|error| {
        let words = quoted(&error.to_string());
        match serde_json::from_slice::<IgnoredAny>(answer) {
            Ok(_) => Garbage::NotAStep(words),
            Err(_) => Garbage::NotJson(words),
        }
    })?;
    match unknown {
        Some(field) if !newer_minor => Err(Garbage::UnknownField(quoted(&field))),
        _ => Ok(step),
    }
}

#[cfg(test)]
mod tests {
    use keyferry_plugin::contract::{DoneStep, Outcome};

    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: &str) {
        let error = parse(answer.as_bytes(), false).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_step_is_parsed() {
        let step = parse(br#"{"done":{"outcome":"deleted"}}"#, false).unwrap();
        let done = DoneStep {
            outcome: Outcome::Deleted,
            session: None,
        };
        assert_eq!(step, Step::Done(Box::new(done)));
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_no_step() {
        check("", "it is empty");
        check("{", "not JSON");
        check("\u{0}", "not JSON");
        check(r#"{"wait":{"ms":1}} {}"#, "not JSON");
        check(r#"{"dance":{}}"#, "not a step (unknown variant `dance`");
        check(r#"{"wait":{"ms":-1}}"#, "not a step");
        check(r#"{"wait":{"ms":"soon"}}"#, "not a step");
        check("null", "not a step");
    }

    #[test]
    fn an_unknown_field_is_named_and_allowed_to_newer_plugins_only() {
        let answer =
            r#"{"http":{"request":{"method":"GET","origin":"https://x.example","path":"/","color":"red"}}}"#;
        check(answer, "unknown field request.color");
        assert!(parse(answer.as_bytes(), true).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |depth| {
            format!(
                r#"{{"wait":{{"ms":1,"state":{}{}}}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(parse(deep(100).as_bytes(), false).is_ok());
        check(&deep(100_000), "not a step (recursion limit exceeded");

        let expression = |depth| {
            format!(
                r#"{{"http":{{"request":{{"method":"GET","origin":"","path":"","body":{}{{"text":""}}{}}}}}}}"#,
                r#"{"hex":"#.repeat(depth),
                "}".repeat(depth)
            )
        };
        assert!(parse(expression(40).as_bytes(), false).is_ok());
        check(&expression(100_000), "not a step (recursion limit exceeded");
    }

    #[test]
    fn what_a_message_quotes_is_short_and_on_one_line() {
        let error = parse(
            format!(r#"{{"\n{}":1}}"#, "x".repeat(1_000_000)).as_bytes(),
            false,
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 700, "{}", text.len());
        assert!(!text.contains('\n'));
    }
}
