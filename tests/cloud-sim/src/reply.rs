//! Replies in the vendor's shape.

use hyper::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::Service;
use crate::body::ReplyBody;
use crate::faults::FaultKind;
use crate::inventory::new_request_id;
use crate::refusal::Refusal;
use crate::wire::Request;

/// What every reply to one request has in common.
pub(crate) struct ReplyForm {
    service: Service,
    request_id: String,
    host: String,
    /// V1 answers in XML unless the client asks for JSON.
    xml: bool,
}

impl ReplyForm {
    pub(crate) fn of(service: Service, request: &Request) -> Self {
        let is_v1 = request.header("authorization").is_none();
        let asks_for_json = || {
            let parameters = request.parameters().unwrap_or_default();
            parameters
                .iter()
                .any(|(name, value)| name == "Format" && value.eq_ignore_ascii_case("json"))
        };
        Self {
            service,
            request_id: new_request_id(),
            host: request.header("host").unwrap_or_default(),
            xml: is_v1 && !asks_for_json(),
        }
    }

    pub(crate) fn refusal(&self, refusal: &Refusal) -> Response<ReplyBody> {
        let body = refusal.body(self.service, &self.request_id, &self.host);
        let mut response = self.response(refusal.status, ReplyBody::whole(self.text("Error", &body)));
        if let Some(milliseconds) = refusal.retry_after_ms {
            response
                .headers_mut()
                .insert("x-acs-retry-after", HeaderValue::from(milliseconds));
        }
        response
    }

    /// A successful answer, spoiled by the fault if it is one that spoils answers.
    pub(crate) fn answer(
        &self,
        action: &str,
        mut value: Value,
        fault: Option<&FaultKind>,
    ) -> Response<ReplyBody> {
        value["RequestId"] = json!(self.request_id);
        match fault {
            Some(FaultKind::NoPrivateKey) => {
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("PrivateKeyBody");
                }
            }
            Some(FaultKind::WrongFingerprint) => falsify_fingerprints(&mut value),
            _ => {}
        }
        let mut text = self.text(&format!("{action}Response"), &value);
        match fault {
            Some(FaultKind::Huge { bytes }) => self.response(200, ReplyBody::huge(*bytes)),
            Some(FaultKind::Malformed) => {
                text.pop();
                self.response(200, ReplyBody::whole(text))
            }
            Some(FaultKind::Truncated) => {
                let announced = text.len();
                let half = (announced / 2..)
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(announced);
                text.truncate(half);
                let mut response = self.response(200, ReplyBody::cut_short(text));
                response
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from(announced));
                response
            }
            _ => self.response(200, ReplyBody::whole(text)),
        }
    }

    fn text(&self, root: &str, value: &Value) -> String {
        if self.xml {
            let mut text = String::from("<?xml version='1.0' encoding='UTF-8'?>");
            write_xml(&mut text, root, value);
            text
        } else {
            value.to_string()
        }
    }

    fn response(&self, status: u16, body: ReplyBody) -> Response<ReplyBody> {
        let kind = if self.xml {
            "text/xml;charset=utf-8"
        } else {
            "application/json;charset=utf-8"
        };
        let length = body.length();
        let mut response = Response::new(body);
        *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert("x-acs-request-id", id);
        }
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

/// Changes the last digit of every `KeyPairFingerPrint`, at any depth.
fn falsify_fingerprints(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(falsify_fingerprints),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "KeyPairFingerPrint" => {
                        let last = text.pop();
                        text.push(if last == Some('0') { '1' } else { '0' });
                    }
                    other => falsify_fingerprints(other),
                }
            }
        }
        _ => {}
    }
}

/// An array becomes as many elements of its own name.
fn write_xml(text: &mut String, name: &str, value: &Value) {
    if let Value::Array(items) = value {
        items.iter().for_each(|item| write_xml(text, name, item));
        return;
    }
    text.push_str(&format!("<{name}>"));
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, field)| write_xml(text, name, field)),
        Value::String(words) => {
            text.push_str(
                &words
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;"),
            );
        }
        other => text.push_str(&other.to_string()),
    }
    text.push_str(&format!("</{name}>"));
}
