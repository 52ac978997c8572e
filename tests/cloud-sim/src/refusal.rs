//! What the vendor answers when it does not do what was asked.

/// An error as the vendor reports it: HTTP status, code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The vendor's code, such as `SignatureDoesNotMatch`.
    pub code: String,
    /// Words for a person.
    pub message: String,
    /// After how many milliseconds to try again; each vendor has its own header for it.
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
}
