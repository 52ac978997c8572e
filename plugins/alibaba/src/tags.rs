//! The account's `tags`, for new pairs.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{ErrorKind, ProviderError};
use serde_json::Value;

use crate::Call;

/// The most tags of a pair.
const MOST: usize = 20;
/// The most characters of a tag's key or value.
const MAX_LENGTH: usize = 128;

impl Call {
    /// The same with the setting `tags` as `Tag.N.Key` and `Tag.N.Value`, in the order of the keys.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the vendor takes no such tag.
    pub fn tags(self, turn: &Turn<'_>) -> Result<Self, ProviderError> {
        let Some(Value::Object(tags)) = turn.context.settings.get("tags") else {
            return Ok(self);
        };
        if tags.len() > MOST {
            return Err(invalid(format!(
                "there are {} tags, {MOST} are allowed",
                tags.len()
            )));
        }
        let mut tags: Vec<(&String, &Value)> = tags.iter().collect();
        tags.sort_by_key(|(key, _)| *key);
        tags.into_iter()
            .zip(1..)
            .try_fold(self, |call, ((key, value), number)| {
                let value = value
                    .as_str()
                    .ok_or_else(|| invalid(format!("the value of {key:?} is not a text")))?;
                check(key, value).map_err(|words| invalid(format!("{key:?} {words}")))?;
                Ok(call
                    .parameter(&format!("Tag.{number}.Key"), &**key)
                    .parameter(&format!("Tag.{number}.Value"), value))
            })
    }
}

fn check(key: &str, value: &str) -> Result<(), &'static str> {
    let has_url = |text: &str| text.contains("http://") || text.contains("https://");
    let is_long = |text: &str| text.chars().count() > MAX_LENGTH;
    match () {
        () if key.is_empty() => Err("is no key"),
        () if is_long(key) || is_long(value) => Err("is longer than 128 characters, or its value is"),
        () if has_url(key) || has_url(value) => Err("or its value contains a URL"),
        () if key.starts_with("aliyun") || key.starts_with("acs:") => {
            Err("starts with `aliyun` or `acs:`, which the vendor keeps for itself")
        }
        () if value.starts_with("acs:") => Err("has a value that starts with `acs:`"),
        () => Ok(()),
    }
}

fn invalid(words: String) -> ProviderError {
    ProviderError::new(
        ErrorKind::Invalid,
        format!("{words}: correct `tags` in the account's [settings]"),
    )
}
