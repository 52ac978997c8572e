//! What OpenStack services answer when they refuse: `{"FAULT": {"code", "message"}}`, and Keystone
//! `{"error": {"code", "message", "title"}}`.

use keyferry_plugin::contract::{ProviderError, Response};
use keyferry_plugin::error::vendor_message;
use serde_json::Value;

/// The fault of a refusal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fault {
    /// Its name (`conflictingRequest`), of Keystone the title (`Unauthorized`); none where the answer is not in the services' form.
    pub code: Option<String>,
    /// The service's own words, as ours are; empty: none.
    pub words: String,
}

/// Reads the fault of a response.
pub fn fault(response: &Response) -> Fault {
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let Some((name, fault)) = body.as_object().and_then(|body| body.iter().next()) else {
        return Fault::default();
    };
    let text = |field| fault.get(field).and_then(Value::as_str);
    let Some(message) = text("message") else {
        return Fault::default();
    };
    Fault {
        code: Some(text("title").unwrap_or(name).to_owned()),
        words: vendor_message(message),
    }
}

/// Gives an error about a response its code, its request id and how long it asks us to wait.
pub fn annotate(error: ProviderError, response: &Response) -> ProviderError {
    let request_id = response
        .header("x-openstack-request-id")
        .filter(|id| !id.is_empty());
    ProviderError {
        code: fault(response).code.or(error.code),
        request_id: request_id.map(str::to_owned),
        retry_after_ms: response.retry_after_ms(),
        ..error
    }
}
