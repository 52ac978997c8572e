//! Shows a request that is not sent.

use crate::enforce::calls::EvaluatedRequest;
use crate::http;
use crate::job::{JobResult, PreviewedRequest};
use crate::recipe::Fields;

/// The request as it would be sent. Its bearer values were already left out when it was evaluated.
pub(crate) fn result(request: &EvaluatedRequest, fields: &Fields) -> JobResult {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = ("host".to_owned(), request.origin.authority());
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), text(value)));
    let named = |mut text: String| {
        for name in fields.keys() {
            text = text.replace(&format!("%3C{name}%3E"), &format!("<{name}>"));
        }
        text
    };
    JobResult::Preview(PreviewedRequest {
        method: request.method.clone(),
        url: named(http::url(request)),
        headers: std::iter::once(host).chain(headers).collect(),
        body: named(text(&request.body)),
    })
}
