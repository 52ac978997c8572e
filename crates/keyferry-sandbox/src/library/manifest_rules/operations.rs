//! The rules for operations and their calls.

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{Body, Call, OperationRules};

use super::secrets::is_pointer;
use super::{CATALOGUE, Checked, SETTING, is_header, is_line, problem, require};

/// Checks an operation of a manifest with these hosts.
pub(super) fn check(kind: OperationKind, rules: &OperationRules, hosts: &[String]) -> Checked {
    let place = format!("operations.{kind}");
    let needs_calls = !matches!(kind, OperationKind::Credentials | OperationKind::Profiles);
    require(!needs_calls || !rules.calls.is_empty(), &place, || {
        "lists no call".to_owned()
    })?;
    for (i, permission) in rules.permissions.iter().enumerate() {
        require(
            is_line(permission, 120),
            format!("{place}.permissions[{i}]"),
            || "must be one line of 1 to 120 characters".to_owned(),
        )?;
    }
    for (i, call) in rules.calls.iter().enumerate() {
        let place = format!("{place}.calls[{i}]");
        check_call(kind, call, hosts, &place)?;
        let read_first = call.method == "GET" && call.parameters.is_empty();
        // What is looked up before it is bound changes nothing.
        let of_instances = matches!(kind, OperationKind::Attach | OperationKind::Detach) && !read_first;
        let of_one_pair = kind == OperationKind::Delete || of_instances;
        require(!of_one_pair || is_bound(call, names_a_pair), &place, || {
            "does not say where {name} or {id} stands: in the path, or in what is required of the parameters or the body"
                .to_owned()
        })?;
        require(!of_instances || is_bound(call, is_of_instances), place, || {
            "does not say where {instance} or {instances} stands, as all of a value that is required of the parameters or \
             the body"
                .to_owned()
        })?;
    }
    require(
        kind == OperationKind::Attach || rules.instance.is_none(),
        format!("{place}.instance"),
        || "is of attach alone".to_owned(),
    )?;
    Ok(())
}

/// Whether every request of the call says what it is about, as such a template does. One that leaves that out, or that may
/// name something else, could not be compared with what the worker means.
fn is_bound(call: &Call, names: fn(&str) -> bool) -> bool {
    let is_bound = |name: &String| match (&call.body, call.parameters.get(name)) {
        (_, Some(template)) => names(template),
        // Whatever else stands there too may be another pair.
        (Body::Json(values), None) => {
            let mut covering = values
                .iter()
                .filter(|(pointer, _)| covers(pointer, name))
                .peekable();
            covering.peek().is_some() && covering.all(|(_, template)| names(template))
        }
        (Body::None | Body::Form, None) => false,
    };
    names(&call.path) || call.required.iter().any(is_bound)
}

fn names_a_pair(template: &str) -> bool {
    template.contains("{name}") || template.contains("{id}")
}

fn is_of_instances(template: &str) -> bool {
    INSTANCES.contains(&template)
}

fn check_call(kind: OperationKind, call: &Call, hosts: &[String], place: &str) -> Checked {
    let method_known = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"].contains(&call.method.as_str());
    require(method_known, format!("{place}.method"), || {
        format!("{:?} is not a method in upper case", call.method)
    })?;
    check_path(kind, &call.path, hosts, &format!("{place}.path"))?;
    for (name, value) in &call.headers {
        let place = format!("{place}.headers.{name}");
        require(is_header(name), &place, || {
            "is not a header's name in lower case that a plugin may set".to_owned()
        })?;
        require(is_line(value, 200), place, || {
            "its value must be one line of 1 to 200 characters".to_owned()
        })?;
    }
    for (name, template) in &call.parameters {
        let place = format!("{place}.parameters.{name}");
        require(is_parameter(name), &place, || {
            "is not a parameter's name; `*` stands for a number, as in `Tag.*.Key`".to_owned()
        })?;
        check_value(kind, template, place)?;
    }
    let has_none = call.body == Body::None;
    require(
        has_none || !["DELETE", "GET", "HEAD"].contains(&call.method.as_str()),
        format!("{place}.body"),
        || format!("a {} has none", call.method),
    )?;
    if let Body::Json(values) = &call.body {
        for (pointer, template) in values {
            let place = format!("{place}.body.{pointer}");
            require(is_pointer(pointer), &place, || {
                "is not a JSON pointer; `*` stands for an index".to_owned()
            })?;
            check_value(kind, template, place)?;
        }
    }
    for (i, at) in call.secrets.iter().enumerate() {
        let good = match at.split_once(':') {
            Some(("header", header)) => is_header(header),
            Some(("json", pointer)) => is_pointer(pointer) && !pointer.contains('*'),
            Some(("xml", path)) => is_line(path, 400) && path.split('/').all(|element| !element.is_empty()),
            _ => false,
        };
        require(good, format!("{place}.secrets[{i}]"), || {
            format!(
                "{at:?} is neither `json:POINTER` nor `xml:PATH` nor `header:NAME` in lower case, without `*`"
            )
        })?;
    }
    for name in &call.required {
        let listed = match &call.body {
            Body::Json(values) => {
                call.parameters.contains_key(name) || values.keys().any(|pointer| covers(pointer, name))
            }
            Body::None | Body::Form => call.parameters.contains_key(name),
        };
        require(listed, format!("{place}.required"), || {
            format!("{name:?} is not among the parameters, nor in the body")
        })?;
    }
    Ok(())
}

fn check_path(kind: OperationKind, path: &str, hosts: &[String], place: &str) -> Checked {
    let rest = path.strip_prefix(BASE);
    let below_base = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    require(below_base || path.starts_with('/'), place, || {
        format!("{path:?} is not a path from `/` or {BASE}")
    })?;
    let rest = rest.unwrap_or(path);
    let good_path = !rest.contains("//")
        && !rest.contains(BASE)
        && rest.split('/').all(|part| part != "." && part != "..")
        && rest
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()+,;=:@{}*".contains(&c));
    require(good_path, place, || {
        format!(
            "{path:?} is not a path from `/` of literal text and placeholders; {BASE} is one at its beginning"
        )
    })?;
    let has_urls = hosts.iter().any(|host| host == CATALOGUE || host == SETTING);
    require(!below_base || has_urls, place, || {
        format!("{path:?} begins with {BASE}, and the hosts have neither {CATALOGUE} nor {SETTING}")
    })?;
    let mut others = rest.split('/').filter(|&segment| segment != "*");
    others
        .try_for_each(|segment| check_template(kind, segment))
        .map_err(|words| problem(place.to_owned(), words))
}

fn check_value(kind: OperationKind, template: &str, place: String) -> Checked {
    match template {
        "*" => Ok(()),
        template if is_of_instances(template) => {
            let has_instances = matches!(kind, OperationKind::Attach | OperationKind::Detach);
            require(has_instances, place, || {
                format!("{template:?} has a placeholder that {kind} has no value for")
            })
        }
        template => check_template(kind, template).map_err(|words| problem(place, words)),
    }
}

/// Literal text with placeholders that this operation has. A brace of JSON (`{"`) is literal.
fn check_template(kind: OperationKind, template: &str) -> Result<(), String> {
    use OperationKind as Kind;
    if template.contains('*') {
        return Err(format!(
            "{template:?} has a `*`, which stands for any value only when it is alone"
        ));
    }
    let names: &[Kind] = match () {
        () if template.contains("{public_key}") && kind != Kind::Import => {
            return Err("{public_key} is known to import only".to_owned());
        }
        () if template.contains("{id}") => &[
            Kind::Get,
            Kind::Delete,
            Kind::Attach,
            Kind::Detach,
            Kind::ListInstances,
        ],
        () if template.contains("{name}") => &[
            Kind::Create,
            Kind::Import,
            Kind::Get,
            Kind::Delete,
            Kind::Attach,
            Kind::Detach,
            Kind::ListInstances,
        ],
        () => &Kind::ALL,
    };
    if !names.contains(&kind) {
        return Err(format!(
            "{template:?} has a placeholder that {kind} has no value for"
        ));
    }
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let word = after.split('}').next().unwrap_or_default();
        let looks_like_one = !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        if looks_like_one && after.len() > word.len() && !PLACEHOLDERS.contains(&word) {
            return Err(format!(
                "the placeholder {{{word}}} is not known; there are {{name}}, {{id}}, {{public_key}} and {{region}}"
            ));
        }
        rest = after;
    }
    Ok(())
}

/// A parameter's name; `*` stands for a number between dots.
pub(super) fn is_parameter(name: &str) -> bool {
    !name.is_empty()
        && name.split('.').all(|part| part == "*" || !part.contains('*'))
        && name != "*"
        && name
            .bytes()
            .all(|c| c.is_ascii_graphic() && !b"{}&=#?".contains(&c))
}

/// Whether a pointer, in which `*` stands for an index, takes another one in.
fn covers(pattern: &str, pointer: &str) -> bool {
    let (pattern, pointer) = (pattern.split('/'), pointer.split('/'));
    let is_index = |token: &str| !token.is_empty() && token.bytes().all(|c| c.is_ascii_digit());
    pattern.clone().count() == pointer.clone().count()
        && pattern
            .zip(pointer)
            .all(|(wanted, token)| wanted == token || (wanted == "*" && is_index(token)))
}

/// Stands for the path of the URL that a request goes to.
const BASE: &str = "{base}";
const PLACEHOLDERS: [&str; 4] = ["id", "name", "public_key", "region"];
/// Stand for instances, each as all of a value.
const INSTANCES: [&str; 2] = ["{instance}", "{instances}"];
