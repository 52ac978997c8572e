//! Credentials at the URL of `ALIBABA_CLOUD_CREDENTIALS_URI`: a helper beside the daemon, most often.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, HttpStep, ProviderError};
use keyferry_plugin::recipe::{HttpRequest, origin_and_path};
use serde_json::Value;

use super::role::{Issued, issued};
use crate::{ACCESS_KEY, SECURITY_TOKEN};

/// Whether it is a URL that can be asked.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with what is wrong.
pub(super) fn check(url: &str) -> Result<(), ProviderError> {
    let has_scheme = ["http://", "https://"].iter().any(|scheme| {
        url.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if has_scheme && !url.contains(['?', '#', '@', ' ']) {
        return Ok(());
    }
    Err(ProviderError::new(
        ErrorKind::Unsupported,
        "ALIBABA_CLOUD_CREDENTIALS_URI is not an http or https URL without user, query and fragment: correct it, or name \
         another source in the account's [credentials]",
    ))
}

pub(super) fn send(url: &str) -> HttpStep {
    let (origin, path) = origin_and_path(url);
    let path = if path.is_empty() { "/" } else { path };
    HttpStep::new(HttpRequest::new("GET", origin, path))
        .capturing(ACCESS_KEY.secret, "/AccessKeySecret")
        .capturing(SECURITY_TOKEN, "/SecurityToken")
}

pub(super) fn read(turn: &Turn<'_>, url: &str) -> Result<Issued, ProviderError> {
    let named = |error: ProviderError| ProviderError {
        message: format!("{url} (ALIBABA_CLOUD_CREDENTIALS_URI): {}", error.message),
        ..error
    };
    let response = turn.response(Effect::None).map_err(named)?;
    let response = response.ok_or_else(|| super::internal("an answer is missing"))?;
    if response.status != 200 {
        let words = format!("the answer has status {}", response.status);
        return Err(named(ProviderError::new(ErrorKind::Unavailable, words)));
    }
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    if body["Code"] != "Success" {
        let words = "the answer is no success in the vendor's form";
        return Err(named(ProviderError::new(ErrorKind::Unauthorized, words)));
    }
    issued(turn, &body).map_err(named)
}
