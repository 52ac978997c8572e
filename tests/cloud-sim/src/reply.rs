//! From what came of a call to the reply on the wire, spoiled where a fault asks for it.

use hyper::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;

use crate::body::ReplyBody;
use crate::faults::FaultKind;
use crate::refusal::Refusal;
use crate::vendor::{Answer, Asked, Written};

/// The vendor's error.
pub(crate) fn refusal(asked: &Asked<'_>, refusal: &Refusal) -> Response<ReplyBody> {
    whole(asked.service.vendor().write(asked, Err(refusal)))
}

/// A successful answer, spoiled by the fault if it is one that spoils answers.
pub(crate) fn answer(
    asked: &Asked<'_>,
    mut answer: Answer,
    fault: Option<&FaultKind>,
) -> Response<ReplyBody> {
    match fault {
        Some(FaultKind::NoPrivateKey) => remove_private_keys(&mut answer.body),
        Some(FaultKind::WrongFingerprint) => falsify_fingerprints(&mut answer.body),
        _ => {}
    }
    let mut written = asked.service.vendor().write(asked, Ok(&answer));
    match fault {
        Some(FaultKind::Huge { bytes }) => response(&written, ReplyBody::huge(*bytes)),
        Some(FaultKind::Malformed) => {
            written.body.pop();
            whole(written)
        }
        Some(FaultKind::Truncated) => {
            let announced = written.body.len();
            let half = (announced / 2..)
                .find(|at| written.body.is_char_boundary(*at))
                .unwrap_or(announced);
            let part = ReplyBody::cut_short(written.body[..half].to_owned());
            let mut response = response(&written, part);
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(announced));
            response
        }
        _ => whole(written),
    }
}

/// What a proxy on the way shows to people who are to log in to it: no vendor's answer.
pub(crate) fn page_of_a_proxy() -> Response<ReplyBody> {
    whole(Written {
        status: 200,
        content_type: "text/html; charset=utf-8",
        headers: Vec::new(),
        body: PAGE_OF_A_PROXY.to_owned(),
    })
}

fn whole(mut written: Written) -> Response<ReplyBody> {
    let body = ReplyBody::whole(std::mem::take(&mut written.body));
    response(&written, body)
}

fn response(written: &Written, body: ReplyBody) -> Response<ReplyBody> {
    let length = body.length();
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(written.status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(written.content_type));
    for (name, value) in &written.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

const PAGE_OF_A_PROXY: &str = "<!DOCTYPE html>\n<html><head><title>Guest network</title></head>\
    <body><h1>Please log in</h1><form method=\"post\"><input name=\"code\"></form></body></html>\n";

/// The fields, at any depth, in which vendors send private keys.
const PRIVATE_KEYS: [&str; 4] = ["PrivateKeyBody", "PrivateKey", "private_key", "keyMaterial"];

/// The fields, at any depth, in which vendors send fingerprints.
const FINGERPRINTS: [&str; 5] = [
    "FingerPrint",
    "Fingerprint",
    "KeyPairFingerPrint",
    "fingerprint",
    "keyFingerprint",
];

fn remove_private_keys(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(remove_private_keys),
        Value::Object(fields) => {
            fields.retain(|name, _| !PRIVATE_KEYS.contains(&&**name));
            fields.values_mut().for_each(remove_private_keys);
        }
        _ => {}
    }
}

/// Changes the last digit.
fn falsify_fingerprints(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(falsify_fingerprints),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if FINGERPRINTS.contains(&&**name) => {
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
