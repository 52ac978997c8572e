//! What a manifest must keep beyond being JSON of the right form, so that the courier can hold a plugin to it.

use std::fmt::Display;

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{METADATA_HOSTS, Manifest, SettingType, Source};
use serde_json::Value;

mod operations;
mod secrets;

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
    for (kind, rules) in &manifest.operations {
        operations::check(*kind, rules, &manifest.hosts)?;
    }
    let logs_in = manifest
        .operations
        .get(&OperationKind::Credentials)
        .is_some_and(|rules| !rules.calls.is_empty());
    require(!manifest.login || logs_in, "login", || {
        "needs the operation credentials, with the calls of a login".to_owned()
    })?;
    check_urls(manifest, logs_in)?;
    check_policy(manifest)?;
    check_names(manifest)?;
    check_algorithms(manifest)?;
    for (name, setting) in &manifest.settings {
        let place = format!("settings.{name}");
        require(is_snake_case(name), &place, not_snake_case)?;
        require(is_line(&setting.help, 400), &place, || {
            "its help must be one line".to_owned()
        })?;
        require(
            setting.permissions.iter().all(|text| is_line(text, 120)),
            place,
            || "its permissions must be lines of 1 to 120 characters".to_owned(),
        )?;
    }
    for (name, field) in &manifest.credentials {
        secrets::check_credential(name, field)?;
    }
    for (name, source) in &manifest.sources {
        secrets::check_source(name, source, manifest)?;
    }
    Ok(())
}

/// Labels of letters, digits and hyphens; `{region}` may be one of them, but never one of the last two. Or what stands for
/// URLs, or a metadata address.
fn check_host(host: &str) -> Result<(), &'static str> {
    if [CATALOGUE, SETTING].contains(&host) || METADATA_HOSTS.contains(&host) {
        return Ok(());
    }
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

/// What stands for URLs among the hosts stands for some, and needs somebody to name them.
fn check_urls(manifest: &Manifest, logs_in: bool) -> Checked {
    let index = |host: &str| manifest.hosts.iter().position(|listed| listed == host);
    if let Some(i) = index(CATALOGUE) {
        require(logs_in, format!("hosts[{i}]"), || {
            format!("{CATALOGUE} needs the operation credentials, with the calls of a login")
        })?;
    }
    for (i, host) in manifest.hosts.iter().enumerate() {
        let is_metadata = METADATA_HOSTS.contains(&host.as_str());
        require(!is_metadata || logs_in, format!("hosts[{i}]"), || {
            format!("{host} is a metadata service, which credentials alone may ask, and it has no calls")
        })?;
    }
    let settings = manifest.settings.iter();
    let named = settings
        .filter(|(_, rules)| rules.kind == SettingType::Url)
        .map(|(name, _)| format!("settings.{name}"));
    let sources = manifest.sources.iter();
    let read = sources
        .filter(|(_, source)| match source {
            Source::Command(_) => false,
            Source::Environment(variables) => !variables.urls.is_empty(),
            Source::File(file) => !file.urls.is_empty(),
        })
        .map(|(name, _)| format!("sources.{name}.urls"));
    let first = named.chain(read).next();
    match (index(SETTING), first) {
        (None, Some(place)) => Err(problem(
            place,
            format!("is a URL to send to, and {SETTING} is not among the hosts"),
        )),
        (Some(i), None) => Err(problem(
            format!("hosts[{i}]"),
            format!("{SETTING} stands for URLs of settings and sources, and none is one of them"),
        )),
        _ => Ok(()),
    }
}

/// A policy has a place for permissions: an element of a list.
fn check_policy(manifest: &Manifest) -> Checked {
    fn has_place(value: &Value) -> bool {
        match value {
            Value::Array(items) => items
                .iter()
                .any(|item| item.as_str() == Some(PERMISSIONS) || has_place(item)),
            Value::Object(members) => members.values().any(has_place),
            _ => false,
        }
    }
    let policy = manifest.policy.as_ref();
    require(policy.is_none_or(has_place), "policy", || {
        format!("has no list with the element {PERMISSIONS:?}")
    })
}

fn check_names(manifest: &Manifest) -> Checked {
    let names = &manifest.names;
    let good_lengths = (1..=names.max_length).contains(&names.min_length) && names.max_length <= 255;
    require(good_lengths, "names", || {
        "lengths must be 1 <= min_length <= max_length <= 255".to_owned()
    })?;
    let good = names
        .punctuation
        .chars()
        .all(|c| c == ' ' || c.is_ascii_punctuation());
    require(good, "names.punctuation", || {
        "must be ASCII punctuation or a space".to_owned()
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

/// Stands for the hosts of URLs that a login named.
const CATALOGUE: &str = "{catalogue}";
/// Stands for the hosts of URLs of settings and sources.
const SETTING: &str = "{setting}";
/// Stands for the permissions in a policy.
const PERMISSIONS: &str = "{permissions}";

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
