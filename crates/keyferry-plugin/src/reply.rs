//! Reading what the step before led to. Nothing here panics on a wrong type or a missing field.

use serde_json::Value;

use crate::contract::{CredentialValue, Document, Effect, ErrorKind, ProviderError, Reply, Response};
use crate::provider::Turn;

impl<'a> Turn<'a> {
    /// The response to this operation's request; none at the first step.
    ///
    /// `effect` is what a request without an answer may have done: [`Effect::Unknown`] where it changes something.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when no whole answer came.
    pub fn response(&self, effect: Effect) -> Result<Option<&'a Response>, ProviderError> {
        match self.reply {
            None => Ok(None),
            Some(Reply::Response(response)) => Ok(Some(response)),
            Some(Reply::TransportError(error)) => {
                let effect = if error.sent { effect } else { Effect::None };
                Err(ProviderError::new(ErrorKind::Unavailable, &*error.message).with_effect(effect))
            }
            Some(Reply::Document(_) | Reply::Waited) => Err(out_of_turn("a response")),
        }
    }

    /// The source that was read; none at the first step.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the reply is something else.
    pub fn document(&self) -> Result<Option<&'a Document>, ProviderError> {
        match self.reply {
            None => Ok(None),
            Some(Reply::Document(document)) => Ok(Some(document)),
            Some(_) => Err(out_of_turn("a document")),
        }
    }
}

impl Response {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.trim())
    }

    /// How many milliseconds the vendor asks us to wait by `retry-after` in seconds (RFC 9110 §10.2.3); none where it does
    /// not ask, says 0, or names a date: a plugin has no clock.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let seconds: u64 = self.header("retry-after")?.parse().ok()?;
        seconds.checked_mul(1000).filter(|&wait| wait > 0)
    }

    /// Whether this secret was lifted out of the reply.
    pub fn has_captured(&self, name: &str) -> bool {
        self.captured.iter().any(|captured| captured == name)
    }
}

impl Document {
    /// The text at this JSON pointer (RFC 6901); none where there is none or it is empty.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.content
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    /// The handle of the secret at this JSON pointer, as a credential field.
    pub fn secret(&self, pointer: &str) -> Option<CredentialValue> {
        let handle = self.content.pointer(pointer)?.get("handle")?.as_str()?;
        Some(CredentialValue::Handle(handle.to_owned()))
    }
}

/// A field that is a string; none where it is missing or null.
///
/// # Errors
/// [`ErrorKind::Internal`] when it is something else.
pub fn text<'a>(object: &'a Value, field: &str) -> Result<Option<&'a str>, ProviderError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(field, "a string")),
    }
}

/// A field that is a whole number, or a string of its digits; none where it is missing or null.
///
/// # Errors
/// [`ErrorKind::Internal`] when it is something else.
pub fn number(object: &Value, field: &str) -> Result<Option<u64>, ProviderError> {
    let number = match object.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(digits)) => digits.trim().parse().ok(),
        Some(value) => value.as_u64(),
    };
    number
        .map(Some)
        .ok_or_else(|| wrong_type(field, "a whole number"))
}

/// The list at this JSON pointer (RFC 6901).
///
/// # Errors
/// [`ErrorKind::Internal`] when there is none.
pub fn items<'a>(body: &'a Value, pointer: &str) -> Result<&'a [Value], ProviderError> {
    match body.pointer(pointer) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(wrong_type(pointer.trim_start_matches('/'), "a list")),
    }
}

fn wrong_type(field: &str, expected: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Internal,
        format!("{field} in the provider's answer is not {expected}"),
    )
}

fn out_of_turn(expected: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Internal, format!("the reply is not {expected}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_come_as_numbers_or_digits() {
        let body = json!({"a": 7, "b": "7", "c": -7, "d": "seven", "e": null, "f": 7.5});
        let read = |field| number(&body, field).map_err(|error| error.kind);
        assert_eq!(
            [read("a"), read("b"), read("e"), read("g")],
            [Ok(Some(7)), Ok(Some(7)), Ok(None), Ok(None)]
        );
        assert_eq!([read("c"), read("d"), read("f")], [Err(ErrorKind::Internal); 3]);
    }

    #[test]
    fn a_vendor_asks_to_wait_in_seconds() {
        let wait = |headers: &[(&str, &str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let response = Response {
                status: 429,
                headers: headers.collect(),
                body: String::new(),
                captured: Vec::new(),
            };
            response.retry_after_ms()
        };
        assert_eq!(wait(&[("retry-after", " 7 ")]), Some(7000));
        assert_eq!(wait(&[]), None);
        for nothing in [
            "",
            "0",
            "-1",
            "1.5",
            "Sun, 22 Nov 2026 01:36:49 GMT",
            "18446744073709551615",
        ] {
            assert_eq!(wait(&[("retry-after", nothing)]), None, "{nothing}");
        }
    }

    #[test]
    fn fields_of_what_is_no_object_are_missing() {
        for body in [json!(null), json!(7), json!([1]), json!("x")] {
            assert_eq!(text(&body, "KeyPairName"), Ok(None));
            assert!(items(&body, "/KeyPairs/KeyPair").is_err());
        }
    }
}
