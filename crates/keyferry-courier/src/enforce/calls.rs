//! Line c: an evaluated request is one of the calls that the manifest lists for the operation in progress, entirely.

use keyferry_plugin::contract::{Operation, OperationKind, PairReference};
use keyferry_plugin::manifest::{Call, Manifest};
use zeroize::Zeroizing;

use super::hosts::Origin;
use super::{Refusal, Rule, caps, cleaning};
use crate::recipe::percent;
use crate::secret::WipedBuffer;

/// A request whose recipes were evaluated.
pub(crate) struct EvaluatedRequest {
    pub(crate) method: String,
    pub(crate) origin: Origin,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, Zeroizing<Vec<u8>>)>,
    pub(crate) headers: Vec<(String, Zeroizing<Vec<u8>>)>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// What the placeholders of a call stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    name: Option<String>,
    id: Option<String>,
    public_key: Option<String>,
    region: Option<String>,
}

impl Subject {
    /// The subject of this operation in this region.
    pub(crate) fn new(operation: &Operation, region: Option<&str>) -> Self {
        let joined = |pairs: &[PairReference], part: fn(&PairReference) -> Option<&str>| {
            let parts: Option<Vec<&str>> = pairs.iter().map(part).collect();
            parts
                .filter(|parts| !parts.is_empty())
                .map(|parts| parts.join("\",\""))
        };
        let mut subject = Self {
            region: region.map(str::to_owned),
            ..Self::default()
        };
        match operation {
            Operation::Create(create) => subject.name = Some(create.name.clone()),
            Operation::Import(import) => {
                subject.name = Some(import.name.clone());
                subject.public_key = Some(import.public_key.clone());
            }
            Operation::Get(pair) => {
                subject.name = Some(pair.name.clone());
                subject.id.clone_from(&pair.id);
            }
            Operation::Delete(delete) => {
                subject.name = joined(&delete.pairs, |pair| Some(&pair.name));
                subject.id = joined(&delete.pairs, |pair| pair.id.as_deref());
            }
            _ => {}
        }
        subject
    }

    /// A template with its placeholders replaced; none where one has no value.
    fn expand(&self, template: &str, encode: fn(&str) -> String) -> Option<String> {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            text.push_str(&rest[..open]);
            rest = &rest[open..];
            match PLACEHOLDERS
                .iter()
                .find(|&&(placeholder, _)| rest.starts_with(placeholder))
            {
                Some(&(placeholder, value)) => {
                    text.push_str(&encode(value(self)?));
                    rest = &rest[placeholder.len()..];
                }
                None => {
                    text.push('{');
                    rest = &rest[1..];
                }
            }
        }
        text.push_str(rest);
        Some(text)
    }

    fn fits(&self, template: &str, value: &[u8]) -> bool {
        template == "*"
            || self
                .expand(template, str::to_owned)
                .is_some_and(|text| text.as_bytes() == value)
    }
}

/// Checks a request against the calls of an operation.
pub(crate) fn check(
    request: &EvaluatedRequest,
    manifest: &Manifest,
    kind: OperationKind,
    subject: &Subject,
) -> Result<(), Refusal> {
    // Of a delete, the calls say which pair it may be of.
    let rule = if kind == OperationKind::Delete {
        Rule::Permit
    } else {
        Rule::Call
    };
    let refuse = |message: String| Err(Refusal::new(rule, message));
    let size = request.path.len()
        + request.body.len()
        + request
            .query
            .iter()
            .chain(&request.headers)
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
    if size > caps::MAX_REQUEST {
        return Err(Refusal::new(
            Rule::Limit,
            format!("made a request of more than {} bytes", caps::MAX_REQUEST),
        ));
    }
    if let Err(wrong) = check_form(request) {
        return refuse(wrong);
    }
    let calls = manifest
        .operations
        .get(&kind)
        .map(|rules| rules.calls.as_slice())
        .unwrap_or_default();
    if calls.is_empty() {
        return refuse(format!(
            "made a request during {kind}, which has no calls in its manifest"
        ));
    }
    // The call that comes closest gives the reason.
    let mut closest = (0, String::new());
    for call in calls {
        match check_call(request, call, manifest, kind, subject) {
            Ok(()) => return Ok(()),
            Err((progress, reason)) if progress >= closest.0 => closest = (progress, reason),
            Err(_) => {}
        }
    }
    refuse(format!(
        "made a request that is no call of {kind} in its manifest: {}",
        closest.1
    ))
}

/// What no call may change: the form of a request, and headers that are the courier's own.
fn check_form(request: &EvaluatedRequest) -> Result<(), String> {
    if !METHODS.contains(&request.method.as_str()) {
        return Err(format!(
            "used the method `{}`",
            cleaning::clean(&request.method, 20)
        ));
    }
    if !is_path(&request.path) {
        return Err(format!("used the path `{}`", cleaning::clean(&request.path, 100)));
    }
    for (index, (name, value)) in request.headers.iter().enumerate() {
        let shown = cleaning::clean(name, 60);
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !is_name {
            return Err(format!(
                "used the header name `{shown}`: a token in lower case is allowed"
            ));
        }
        if OWN_HEADERS.contains(&name.as_str()) || name.starts_with("proxy-") {
            return Err(format!("set the header `{shown}`, which is keyferry's own"));
        }
        if value.iter().any(|&b| !(b' '..=b'~').contains(&b)) {
            return Err(format!(
                "put control or other than ASCII characters into the header `{shown}`"
            ));
        }
        if request.headers[..index].iter().any(|(other, _)| other == name) {
            return Err(format!("set the header `{shown}` twice"));
        }
    }
    for (index, (name, _)) in request.query.iter().enumerate() {
        if request.query[..index].iter().any(|(other, _)| other == name) {
            return Err(format!(
                "sent the parameter `{}` twice",
                cleaning::clean(name, 60)
            ));
        }
    }
    Ok(())
}

/// Whether it is a path from the root (RFC 3986 §3.3) that leads nowhere else.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b))
        && !path.split('/').any(|segment| {
            matches!(
                segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
                "." | ".."
            )
        })
}

/// Whether the request is this call; else how far it was, and what is wrong.
fn check_call(
    request: &EvaluatedRequest,
    call: &Call,
    manifest: &Manifest,
    kind: OperationKind,
    subject: &Subject,
) -> Result<(), (usize, String)> {
    let at = |progress: usize| move |reason: String| (progress, reason);
    let named = |text: &str| format!("`{}`", cleaning::clean(text, 100));
    if request.method != call.method {
        return Err(at(1)(format!("its method is {}", named(&request.method))));
    }
    let path = subject.expand(&call.path, percent_text);
    if call.path != "*" && path.as_deref() != Some(&request.path) {
        return Err(at(2)(format!("its path is {}", named(&request.path))));
    }
    for (name, template) in &call.headers {
        let value = request
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value);
        match value {
            None => return Err(at(3)(format!("it has no header {}", named(name)))),
            Some(value) if !subject.fits(template, value) => {
                // The value may be a secret's.
                return Err(at(3)(format!(
                    "its header {} has another value than the call allows",
                    named(name)
                )));
            }
            Some(_) => {}
        }
    }
    for (name, _) in &request.headers {
        let is_own = call.headers.keys().any(|own| own.eq_ignore_ascii_case(name));
        let is_listed = manifest
            .headers
            .iter()
            .any(|listed| match listed.strip_suffix('*') {
                Some(start) => name
                    .get(..start.len())
                    .is_some_and(|beginning| beginning.eq_ignore_ascii_case(start)),
                None => listed.eq_ignore_ascii_case(name),
            });
        if !is_own && !is_listed {
            return Err(at(4)(format!("the header {} is not listed", named(name))));
        }
    }
    // A required parameter with a fixed value (`Action`) tells calls apart: look at it before the others.
    for name in &call.required {
        if !request.query.iter().any(|(parameter, _)| parameter == name) {
            return Err(at(5)(format!("the parameter {} is missing", named(name))));
        }
    }
    for (index, (name, value)) in request.query.iter().enumerate() {
        let mut listed = call
            .parameters
            .iter()
            .filter(|(pattern, _)| is_named(pattern, name))
            .peekable();
        if listed.peek().is_none() {
            return Err(at(6 + index)(format!(
                "the parameter {} is not listed",
                named(name)
            )));
        }
        if !listed.any(|(_, template)| subject.fits(template, value)) {
            return Err(at(6 + index)(format!(
                "the parameter {} has another value than the call allows",
                named(name)
            )));
        }
    }
    if !request.body.is_empty() {
        return Err(at(usize::MAX - 1)(
            "it has a body, and a manifest lists none in this version".to_owned(),
        ));
    }
    check_subject(request, call, kind).map_err(at(usize::MAX))
}

/// A request that makes or deletes a pair says which one, where the call has a place for it.
fn check_subject(request: &EvaluatedRequest, call: &Call, kind: OperationKind) -> Result<(), String> {
    let mentions = |placeholder: &str| {
        call.path.contains(placeholder)
            || call
                .parameters
                .values()
                .chain(call.headers.values())
                .any(|template| template.contains(placeholder))
    };
    let binds = |placeholder: &str| {
        let by_parameter = |(pattern, template): (&String, &String)| {
            template.contains(placeholder) && request.query.iter().any(|(name, _)| is_named(pattern, name))
        };
        call.path.contains(placeholder)
            || call
                .headers
                .values()
                .any(|template| template.contains(placeholder))
            || call.parameters.iter().any(by_parameter)
    };
    let missing = match kind {
        OperationKind::Create | OperationKind::Import => ["{name}", "{public_key}"]
            .into_iter()
            .find(|&placeholder| mentions(placeholder) && !binds(placeholder)),
        OperationKind::Delete => (!binds("{name}") && !binds("{id}")).then_some("{name}"),
        _ => None,
    };
    match missing {
        Some(placeholder) => Err(format!("it does not say which pair it is about ({placeholder})")),
        None => Ok(()),
    }
}

/// Whether a parameter has this name; `*` stands for a number.
fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let Some(rest) = name.strip_prefix(before) else {
                return false;
            };
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (1..=9).contains(&digits) && is_named(after, &rest[digits..])
        }
    }
}

fn percent_text(text: &str) -> String {
    let mut out = WipedBuffer::default();
    percent(text.as_bytes(), &mut out);
    String::from_utf8_lossy(&out.into_bytes()).into_owned()
}

type Value = fn(&Subject) -> Option<&str>;
const PLACEHOLDERS: [(&str, Value); 4] = [
    ("{name}", |subject| subject.name.as_deref()),
    ("{id}", |subject| subject.id.as_deref()),
    ("{public_key}", |subject| subject.public_key.as_deref()),
    ("{region}", |subject| subject.region.as_deref()),
];
const METHODS: [&str; 5] = ["DELETE", "GET", "PATCH", "POST", "PUT"];
/// Headers that frame a message or belong to a connection (RFC 9110 §7.6.1, RFC 9112), or change what a reply is made of.
const OWN_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "accept-encoding",
];

#[cfg(test)]
mod tests;
