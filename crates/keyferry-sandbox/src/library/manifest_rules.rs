//! What a manifest must keep beyond being JSON of the right form, so that the courier can hold a plugin to it.

use std::collections::BTreeMap;
use std::fmt::Display;

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{
    Body, Call, CredentialField, FieldClass, FileFormat, FileSource, Manifest, OperationRules, Source,
};

/// A broken rule.
pub(super) struct Problem {
    /// Where in the manifest.
    pub(super) place: String,
    /// What is wrong.
    pub(super) words: String,
}

type Checked = Result<(), Problem>;

/// Checks everything that a manifest of this plugin must keep.
pub(super) fn check(manifest: &Manifest, plugin: &str) -> Checked {
    require(manifest.name == plugin, "name", || {
        format!(
            "it is {:?}, but the file's name stands for {plugin:?}",
            manifest.name
        )
    })?;
    for (place, text) in [("version", &manifest.version), ("title", &manifest.title)] {
        require(is_line(text, 120), place, || {
            "must be one line of 1 to 120 characters".to_owned()
        })?;
    }
    require(!manifest.hosts.is_empty(), "hosts", || "names no host".to_owned())?;
    for (i, host) in manifest.hosts.iter().enumerate() {
        check_host(host).map_err(|words| problem(format!("hosts[{i}]"), format!("{host:?} {words}")))?;
    }
    for (i, header) in manifest.headers.iter().enumerate() {
        let literal = header.strip_suffix('*').unwrap_or(header);
        require(is_header(literal), format!("headers[{i}]"), || {
            format!(
                "{header:?} is not a header's name in lower case that a plugin may set, with `*` only at its end"
            )
        })?;
    }
    require(!manifest.login, "login", not_yet)?;
    for (kind, rules) in &manifest.operations {
        check_operation(*kind, rules)?;
    }
    check_names(manifest)?;
    check_algorithms(manifest)?;
    for (name, setting) in &manifest.settings {
        let place = format!("settings.{name}");
        require(is_snake_case(name), &place, not_snake_case)?;
        require(is_line(&setting.help, 400), place, || {
            "its help must be one line".to_owned()
        })?;
    }
    for (name, field) in &manifest.credentials {
        check_credential(name, field)?;
    }
    for (name, source) in &manifest.sources {
        check_source(name, source, &manifest.credentials)?;
    }
    Ok(())
}

/// Labels of letters, digits and hyphens; `{region}` may be one of them, but never one of the last two.
fn check_host(host: &str) -> Result<(), &'static str> {
    let labels: Vec<&str> = host.split('.').collect();
    if host.contains('*') {
        return Err("has a wildcard; hosts are named one by one, `{region}` stands for one label");
    }
    let [.., second, top] = labels.as_slice() else {
        return Err("must have at least two labels");
    };
    if second.contains('{') || top.contains('{') {
        return Err("must name its last two labels literally");
    }
    if top.bytes().all(|c| c.is_ascii_digit()) || host.len() > 253 {
        return Err("is not a host's name");
    }
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = |label: &str| {
        let (first, last) = (label.bytes().next(), label.bytes().last());
        label == "{region}"
            || (label.len() <= 63
                && first.is_some_and(letter)
                && last.is_some_and(letter)
                && label.bytes().all(|c| letter(c) || c == b'-'))
    };
    match labels.iter().all(|&label| good(label)) {
        true => Ok(()),
        false => Err(
            "must consist of labels in lower case and `{region}` as a whole label, without scheme, port or path",
        ),
    }
}

fn check_operation(kind: OperationKind, rules: &OperationRules) -> Checked {
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
        check_call(kind, call, &place)?;
        // A delete that leaves out which pair, or that may name another one, could not be compared with its permit.
        let names_a_pair = |template: &str| template.contains("{name}") || template.contains("{id}");
        let in_parameter = call.required.iter().any(|name| {
            let template = call.parameters.get(name);
            template.is_some_and(|template| names_a_pair(template))
        });
        let bound = names_a_pair(&call.path) || in_parameter;
        require(kind != OperationKind::Delete || bound, place, || {
            "does not say where {name} or {id} stands: in the path, or in a required parameter".to_owned()
        })?;
    }
    Ok(())
}

fn check_call(kind: OperationKind, call: &Call, place: &str) -> Checked {
    let method_known = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"].contains(&call.method.as_str());
    require(method_known, format!("{place}.method"), || {
        format!("{:?} is not a method in upper case", call.method)
    })?;
    let path = call.path.as_str();
    let good_path = path.starts_with('/')
        && !path.contains("//")
        && path.split('/').all(|part| part != "." && part != "..")
        && path
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()+,;=:@{}".contains(&c));
    require(good_path, format!("{place}.path"), || {
        format!("{path:?} is not a path from `/` of literal text and placeholders")
    })?;
    check_template(kind, path).map_err(|words| problem(format!("{place}.path"), words))?;
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
        let good_name = !name.is_empty()
            && name.split('.').all(|part| part == "*" || !part.contains('*'))
            && name != "*"
            && name
                .bytes()
                .all(|c| c.is_ascii_graphic() && !b"{}&=#?".contains(&c));
        require(good_name, &place, || {
            "is not a parameter's name; `*` stands for a number, as in `Tag.*.Key`".to_owned()
        })?;
        if template != "*" {
            check_template(kind, template).map_err(|words| problem(place, words))?;
        }
    }
    require(call.body == Body::None, format!("{place}.body"), not_yet)?;
    for name in &call.required {
        require(
            call.parameters.contains_key(name),
            format!("{place}.required"),
            || format!("{name:?} is not among the parameters"),
        )?;
    }
    Ok(())
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

fn check_names(manifest: &Manifest) -> Checked {
    let names = &manifest.names;
    let good_lengths = (1..=names.max_length).contains(&names.min_length) && names.max_length <= 255;
    require(good_lengths, "names", || {
        "lengths must be 1 <= min_length <= max_length <= 255".to_owned()
    })?;
    let good = names.punctuation.chars().all(|c| c.is_ascii_punctuation());
    require(good, "names.punctuation", || {
        "must be ASCII punctuation".to_owned()
    })?;
    for (i, prefix) in names.forbidden_prefixes.iter().enumerate() {
        let lower = !prefix.is_empty() && *prefix == prefix.to_ascii_lowercase();
        require(lower, format!("names.forbidden_prefixes[{i}]"), || {
            "must be in lower case".to_owned()
        })?;
    }
    Ok(())
}

fn check_algorithms(manifest: &Manifest) -> Checked {
    let lists = [
        (OperationKind::Create, &manifest.algorithms.create),
        (OperationKind::Import, &manifest.algorithms.import),
    ];
    for (kind, list) in lists {
        let place = format!("algorithms.{kind}");
        let has_operation = manifest.operations.contains_key(&kind);
        require(has_operation != list.is_empty(), &place, || match has_operation {
            true => format!("names none, though the plugin has the operation {kind}"),
            false => format!("names some, though the plugin has no operation {kind}"),
        })?;
        let twice = list
            .iter()
            .enumerate()
            .find(|(i, algorithm)| list[..*i].contains(algorithm));
        require(twice.is_none(), place, || "names one twice".to_owned())?;
    }
    Ok(())
}

fn check_credential(name: &str, field: &CredentialField) -> Checked {
    let place = format!("credentials.{name}");
    require(is_snake_case(name), &place, not_snake_case)?;
    require(name != "private_key", &place, || {
        "is the name of a new key's private half".to_owned()
    })?;
    let bearer = field.class == FieldClass::Bearer;
    require(bearer != field.places.is_empty(), &place, || match bearer {
        true => "a bearer must say in which places it may be sent (`places`)".to_owned(),
        false => "only a bearer has places".to_owned(),
    })?;
    for (i, at) in field.places.iter().enumerate() {
        let good = match at.split_once(':') {
            Some(("header", header)) => is_header(header),
            Some(("query", parameter)) => {
                !parameter.is_empty()
                    && parameter
                        .bytes()
                        .all(|c| c.is_ascii_graphic() && !b"*{}&=#?".contains(&c))
            }
            _ => false,
        };
        require(good, format!("{place}.places[{i}]"), || {
            format!("{at:?} is neither `header:NAME` in lower case nor `query:NAME`")
        })?;
    }
    Ok(())
}

fn check_source(name: &str, source: &Source, credentials: &BTreeMap<String, CredentialField>) -> Checked {
    let place = format!("sources.{name}");
    require(is_snake_case(name), &place, not_snake_case)?;
    let (public, secret) = match source {
        Source::Environment(variables) => {
            require(variables.urls.is_empty(), format!("{place}.urls"), not_yet)?;
            (&variables.public, &variables.secret)
        }
        Source::File(file) => {
            check_file(file, &place)?;
            (&file.public, &file.secret)
        }
        Source::Command(_) => return Err(problem(place, not_yet())),
    };
    require(!(public.is_empty() && secret.is_empty()), &place, || {
        "names nothing to read".to_owned()
    })?;
    let mut seen = BTreeMap::new();
    for item in public.iter().chain(secret.keys()) {
        let (good, form) = match source {
            Source::Environment(_) => (is_variable(item), "a variable's name in upper case"),
            Source::File(_) | Source::Command(_) => {
                (item.starts_with('/') && is_line(item, 400), "a JSON pointer")
            }
        };
        require(good, &place, || format!("{item:?} is not {form}"))?;
        require(seen.insert(item, ()).is_none(), &place, || {
            format!("{item:?} stands there twice")
        })?;
    }
    for (item, field) in secret {
        let class = credentials.get(field).map(|field| field.class);
        require(class.is_some(), &place, || {
            format!("{item:?} is said to be {field:?}, which is not among the credentials")
        })?;
        require(class != Some(FieldClass::Public), &place, || {
            format!("{item:?} is said to be {field:?}, which is public: list it under `public`")
        })?;
    }
    Ok(())
}

fn check_file(file: &FileSource, place: &str) -> Checked {
    for (part, unused) in [
        ("alternatives", file.alternatives.is_empty()),
        ("urls", file.urls.is_empty()),
        ("commands", file.commands.is_empty()),
        (
            "format",
            matches!(file.format, FileFormat::Ini | FileFormat::Json),
        ),
    ] {
        require(unused, format!("{place}.{part}"), not_yet)?;
    }
    let relative = file
        .path
        .strip_prefix("~/")
        .or_else(|| file.path.strip_prefix('/'));
    let good = relative.is_some_and(|path| {
        path.split('/').all(|part| !["", ".", ".."].contains(&part)) && !path.contains(char::is_control)
    });
    require(good, format!("{place}.path"), || {
        format!("{:?} is not a path from `/` or `~/` without `..`", file.path)
    })?;
    let variable = file.path_variable.as_deref();
    require(
        variable.is_none_or(is_variable),
        format!("{place}.path_variable"),
        || "is not a variable's name in upper case".to_owned(),
    )
}

/// A header that a plugin may name: a token in lower case (RFC 9110 §5.1) that does not steer the connection itself.
fn is_header(name: &str) -> bool {
    let token = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"!#$%&'+-.^_`|~".contains(&c);
    !name.is_empty()
        && name.bytes().all(token)
        && !OF_THE_CONNECTION.contains(&name)
        && !name.starts_with("proxy-")
}

fn is_snake_case(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

fn not_snake_case() -> String {
    "its name must be lower-case letters, digits and `_`".to_owned()
}

fn not_yet() -> String {
    "not in this version".to_owned()
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_')
}

/// Not empty, at most `longest` characters, none of them a control character.
fn is_line(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.contains(char::is_control)
}

fn require<W: FnOnce() -> String>(good: bool, place: impl Display, words: W) -> Checked {
    match good {
        true => Ok(()),
        false => Err(problem(place.to_string(), words())),
    }
}

fn problem(place: String, words: String) -> Problem {
    Problem { place, words }
}

const PLACEHOLDERS: [&str; 4] = ["id", "name", "public_key", "region"];

/// Headers that the courier alone sets.
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
