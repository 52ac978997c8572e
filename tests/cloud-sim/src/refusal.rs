//! What the vendor answers when it does not do what was asked.

use serde_json::{Value, json};

use crate::Service;

/// An error as the vendor reports it: HTTP status, code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The vendor's code, such as `SignatureDoesNotMatch`.
    pub code: String,
    /// Words for a person.
    pub message: String,
    /// The `x-acs-retry-after` header in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// An error without a time to retry after.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// A parameter that must be there is not, or is empty.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new(
            400,
            "MissingParameter",
            format!("The mandatory parameter \"{parameter}\" is not supplied."),
        )
    }

    /// `InvalidParameter.<parameter>`, as ENS documents it.
    pub(crate) fn invalid(parameter: &str) -> Self {
        Self::new(
            400,
            format!("InvalidParameter.{parameter}"),
            format!("The parameter \"{parameter}\" is not valid."),
        )
    }

    /// The body, the same for every error of every service.
    pub(crate) fn body(&self, service: Service, request_id: &str, host: &str) -> Value {
        json!({
            "RequestId": request_id,
            "HostId": host,
            "Code": self.code,
            "Message": self.message,
            "Recommend": format!(
                "https://api.aliyun.com/troubleshoot?q={}&product={}&requestId={request_id}",
                self.code,
                service.product(),
            ),
        })
    }
}
