//! Line c: an evaluated request is one of the calls that the manifest lists for the operation in progress, entirely.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_plugin::contract::{Operation, OperationKind, PairReference};
use keyferry_plugin::manifest::{Call, Manifest};
use zeroize::Zeroizing;

use super::hosts::Origin;
use super::{Refusal, Rule, caps, cleaning};
use crate::recipe::percent;
use crate::secret::WipedBuffer;

mod body;

use body::Body;
pub(crate) use body::{CONTENT_TYPE, content_type};
pub(super) use body::{form, values};

/// Name and value, of a query, a form or a header.
pub(crate) type Parameter = (String, Zeroizing<Vec<u8>>);

/// A request whose recipes were evaluated.
pub(crate) struct EvaluatedRequest {
    pub(crate) method: String,
    pub(crate) origin: Origin,
    pub(crate) path: String,
    pub(crate) query: Vec<Parameter>,
    pub(crate) headers: Vec<Parameter>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// What the placeholders of a call stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    name: Option<String>,
    id: Option<String>,
    public_key: Option<String>,
    region: Option<String>,
    /// Of an attach or a detach: those that were asked for.
    instances: Vec<String>,
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
            Operation::Get(pair) | Operation::ListInstances(pair) => subject.is(pair),
            Operation::Attach(attachment) | Operation::Detach(attachment) => {
                subject.is(&attachment.pair);
                subject.instances.clone_from(&attachment.instances);
            }
            Operation::Delete(delete) => {
                subject.name = joined(&delete.pairs, |pair| Some(&pair.name));
                subject.id = joined(&delete.pairs, |pair| pair.id.as_deref());
            }
            _ => {}
        }
        subject
    }

    fn is(&mut self, pair: &PairReference) {
        self.name = Some(pair.name.clone());
        self.id.clone_from(&pair.id);
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
        let is_asked = |instance: &[u8]| self.instances.iter().any(|asked| asked.as_bytes() == instance);
        match template {
            INSTANCE => return is_asked(value),
            INSTANCES => {
                let list: Option<Vec<String>> = serde_json::from_slice(value).ok();
                return list.is_some_and(|list| {
                    !list.is_empty() && list.iter().all(|instance| is_asked(instance.as_bytes()))
                });
            }
            _ => {}
        }
        // A public key alone may be written in base64 once more, as EC2 takes it.
        let in_base64 = || {
            let key = self.public_key.as_ref().filter(|_| template == "{public_key}");
            key.is_some_and(|key| STANDARD.encode(key).as_bytes() == value)
        };
        template == "*"
            || self
                .expand(template, str::to_owned)
                .is_some_and(|text| text.as_bytes() == value)
            || in_base64()
    }
}

/// Checks a request against the calls of an operation; which one it is. `bases`: what `{base}` may stand for at its origin.
pub(crate) fn check<'m>(
    request: &EvaluatedRequest,
    manifest: &'m Manifest,
    kind: OperationKind,
    subject: &Subject,
    bases: &[String],
) -> Result<&'m Call, Refusal> {
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
        match check_call(request, call, manifest, kind, subject, bases) {
            Ok(()) => return Ok(call),
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
    check_unique(&request.query)
}

fn check_unique(parameters: &[Parameter]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match parameters.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(format!(
            "sent the parameter `{}` twice",
            cleaning::clean(name, 60)
        )),
        None => Ok(()),
    }
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
    bases: &[String],
) -> Result<(), (usize, String)> {
    let at = |progress: usize| move |reason: String| (progress, reason);
    let named = |text: &str| format!("`{}`", cleaning::clean(text, 100));
    if request.method != call.method {
        return Err(at(1)(format!("its method is {}", named(&request.method))));
    }
    if !is_path_of(call, &request.path, subject, bases) {
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
    let body = Body::of(call, request).map_err(at(5))?;
    let parameters = body.parameters().unwrap_or(&request.query);
    // A required parameter with a fixed value (`Action`) tells calls apart: look at it before the others.
    for name in &call.required {
        let is_there = match call.parameters.contains_key(name) {
            true => parameters.iter().any(|(parameter, _)| is_named(name, parameter)),
            false => body.has(name),
        };
        if !is_there {
            return Err(at(5)(match call.parameters.contains_key(name) {
                true => format!("the parameter {} is missing", named(name)),
                false => format!("the body has no {}", named(name)),
            }));
        }
    }
    for (index, (name, value)) in parameters.iter().enumerate() {
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
    body.check_values(call, subject)
        .map_err(|(index, reason)| at(6 + parameters.len() + index)(reason))?;
    check_subject(call, kind, parameters, &body).map_err(at(usize::MAX))
}

/// Whether the path is the call's: segment by segment, after what `{base}` stands for.
fn is_path_of(call: &Call, path: &str, subject: &Subject, bases: &[String]) -> bool {
    let is_below = |base: &str, template: &str| {
        let Some(rest) = path.strip_prefix(base) else {
            return false;
        };
        // A URL without a path is that of the root.
        let rest = if base.is_empty() && template.is_empty() && rest == "/" {
            ""
        } else {
            rest
        };
        let (mut segments, mut wanted) = (rest.split('/'), template.split('/'));
        loop {
            match (segments.next(), wanted.next()) {
                (None, None) => return true,
                (Some(segment), Some("*")) if is_one_segment(segment) => {}
                (Some(segment), Some(template))
                    if subject.expand(template, percent_text).as_deref() == Some(segment) => {}
                _ => return false,
            }
        }
    };
    match call.path.strip_prefix(BASE) {
        Some(template) => bases.iter().any(|base| is_below(base, template)),
        None => is_below("", &call.path),
    }
}

/// Whether a server that undoes escapes early still sees one segment, and not that of another place.
fn is_one_segment(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    !segment.is_empty() && !["%2f", "%5c", "%25"].iter().any(|escape| lower.contains(escape))
}

/// A request that is about a pair says which one, where the call has a place for it.
fn check_subject(
    call: &Call,
    kind: OperationKind,
    parameters: &[Parameter],
    body: &Body,
) -> Result<(), String> {
    let mentions = |placeholder: &str| {
        call.path.contains(placeholder)
            || call
                .parameters
                .values()
                .chain(call.headers.values())
                .chain(body::templates(call).values())
                .any(|template| template.contains(placeholder))
    };
    let binds = |placeholder: &str| {
        let by_parameter = |(pattern, template): (&String, &String)| {
            template.contains(placeholder) && parameters.iter().any(|(name, _)| is_named(pattern, name))
        };
        let by_value =
            |(pointer, template): (&String, &String)| template.contains(placeholder) && body.has(pointer);
        call.path.contains(placeholder)
            || call
                .headers
                .values()
                .any(|template| template.contains(placeholder))
            || call.parameters.iter().any(by_parameter)
            || body::templates(call).iter().any(by_value)
    };
    let unbound = || (!binds("{name}") && !binds("{id}")).then_some("{name}");
    let missing = match kind {
        OperationKind::Create | OperationKind::Import => ["{name}", "{public_key}"]
            .into_iter()
            .find(|&placeholder| mentions(placeholder) && !binds(placeholder)),
        OperationKind::Delete => unbound(),
        // What is looked up before it is bound changes nothing.
        OperationKind::Attach | OperationKind::Detach
            if call.method != "GET" || !call.parameters.is_empty() =>
        {
            if unbound().is_none() && !binds(INSTANCE) && !binds(INSTANCES) {
                return Err("it does not say which instances it is about".to_owned());
            }
            unbound()
        }
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

/// Stands for the path of the URL whose origin a request goes to.
const BASE: &str = "{base}";
/// Stand alone: for one of the instances, and for a JSON list of some.
const INSTANCE: &str = "{instance}";
const INSTANCES: &str = "{instances}";
type Value = fn(&Subject) -> Option<&str>;
const PLACEHOLDERS: [(&str, Value); 4] = [
    ("{name}", |subject| subject.name.as_deref()),
    ("{id}", |subject| subject.id.as_deref()),
    ("{public_key}", |subject| subject.public_key.as_deref()),
    ("{region}", |subject| subject.region.as_deref()),
];
const METHODS: [&str; 6] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
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
