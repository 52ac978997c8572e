//! Lists page by page: an answer holds the `NextToken` of the page after it.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::ProviderError;
use keyferry_plugin::reply::text;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Answered, Call};

/// A page that is asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Page {
    /// What the vendor gave to ask for it with.
    token: String,
    /// What was found on the pages before and was not emitted.
    pub found: Vec<String>,
}

impl Page {
    /// The page that this turn is about; the first one has no token.
    ///
    /// # Errors
    /// [`Internal`](keyferry_plugin::contract::ErrorKind::Internal) when the state is another one.
    pub fn this(turn: &Turn<'_>) -> Result<Self, ProviderError> {
        Ok(turn.state::<Option<Self>>()?.unwrap_or_default())
    }

    /// The page after this one; none after the last.
    ///
    /// # Errors
    /// [`Internal`](keyferry_plugin::contract::ErrorKind::Internal) when the answer leads in a circle.
    pub fn next(self, answered: &Answered<'_>) -> Result<Option<Self>, ProviderError> {
        let token = text(&answered.result, "NextToken").map_err(|error| answered.blame(error))?;
        match token.filter(|token| !token.is_empty()) {
            None => Ok(None),
            Some(token) if token == self.token => {
                Err(answered.garbled("the page after this one is the same".to_owned()))
            }
            Some(token) => Ok(Some(Self {
                token: token.to_owned(),
                ..self
            })),
        }
    }

    /// The call for this page.
    pub fn of(self, call: Call) -> Call {
        call.parameter("NextToken", &*self.token).with_state(json!(self))
    }
}

impl Answered<'_> {
    /// A list in the result; an empty one may be null.
    ///
    /// # Errors
    /// [`Internal`](keyferry_plugin::contract::ErrorKind::Internal) when it is something else.
    pub fn items(&self, field: &str) -> Result<&[Value], ProviderError> {
        match &self.result[field] {
            Value::Array(items) => Ok(items),
            Value::Null if self.result.is_object() => Ok(&[]),
            _ => Err(self.garbled(format!("{field} in the provider's answer is not a list"))),
        }
    }
}
