//! Making a [`ProviderError`].

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
