//! What `env`, `file` or `command` of an account gave, held against the manifest.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Credentials, object};
use crate::enforce::cleaning;
use crate::enforce::reach::Reach;
use crate::process::Shared;
use crate::recipe::{Field, Fields};
use crate::secret::Secret;

/// What a source gave, before it is checked against the manifest.
pub(super) struct Raw {
    pub(super) fields: BTreeMap<String, Secret>,
    /// RFC 3339.
    pub(super) expires_at: Option<String>,
    /// Where from, in words.
    pub(super) source: String,
    /// Where a field is looked for: `the variable X`; for messages.
    pub(super) places: BTreeMap<String, String>,
}

/// Reads the variables that the account names.
pub(super) fn environment(shared: &Shared, fields: &BTreeMap<String, String>) -> Result<Raw, String> {
    let values = shared.line.variables(fields.values().cloned().collect())?;
    let mut raw = Raw {
        fields: BTreeMap::new(),
        expires_at: None,
        source: "environment variables".to_owned(),
        places: fields
            .iter()
            .map(|(field, variable)| (field.clone(), format!("the variable {variable}")))
            .collect(),
    };
    for (field, variable) in fields {
        let value = values
            .iter()
            .find_map(|(name, value)| (name == variable).then_some(value.as_ref()).flatten());
        if let Some(value) = value {
            raw.fields.insert(field.clone(), value.duplicate());
        }
    }
    Ok(raw)
}

/// Checks what a source gave: its fields are the manifest's, and none is missing. Where a login follows, it may be what makes
/// a field; one for which the account names a place must be there.
pub(super) fn complete(raw: Raw, shared: &Shared) -> Result<Credentials, String> {
    let manifest = &shared.setup.library.manifest;
    let Raw {
        mut fields,
        expires_at,
        source,
        places,
    } = raw;
    let known = manifest
        .credentials
        .keys()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let unknown: Vec<&str> = fields
        .keys()
        .map(String::as_str)
        .filter(|name| !manifest.credentials.contains_key(*name))
        .collect();
    if !unknown.is_empty() {
        let plural = if unknown.len() == 1 { "" } else { "s" };
        return Err(format!(
            "{source}: it has {} unknown field{plural}{}; plugin {} has {known}",
            unknown.len(),
            named(&unknown, &fields),
            manifest.name
        ));
    }
    let mut checked = Fields::new();
    for (name, rules) in &manifest.credentials {
        let place = places.get(name).cloned().unwrap_or_else(|| source.clone());
        match fields.remove(name).filter(|value| !value.expose().is_empty()) {
            Some(value) => {
                check_value(name, &place, &value)?;
                let class = rules.class;
                let of = None;
                checked.insert(name.clone(), Field { class, of, value });
            }
            None if rules.optional || (manifest.login && !places.contains_key(name)) => {}
            None => {
                return Err(format!(
                    "the field `{name}` is missing or empty: {place} should hold it"
                ));
            }
        }
    }
    let now = SystemTime::now();
    let expires_at = expires_at
        .map(|text| end(&text, &source, now))
        .transpose()?
        .map(|left| now + left);
    Ok(Credentials {
        fields: checked,
        source,
        attempts: Vec::new(),
        session: Value::Null,
        reach: Reach::of_settings(&shared.setup.account, manifest)?,
        expires_at,
        obtained_at: now,
        renewed_at: None,
        accepted: AtomicBool::new(false),
    })
}

/// Those of these fields that are surely names and no values, in brackets.
fn named(unknown: &[&str], fields: &BTreeMap<String, Secret>) -> String {
    let is_value = |name: &str| fields.values().any(|value| value.expose() == name.as_bytes());
    let names: Vec<String> = unknown
        .iter()
        .filter(|name| object::is_plainly_a_name(name) && !is_value(name))
        .take(MAX_NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" ({})", names.join(", ")),
    }
}

/// Checks that a value is one line of text.
pub(super) fn check_value(name: &str, place: &str, value: &Secret) -> Result<(), String> {
    if value.expose().iter().any(u8::is_ascii_control) {
        return Err(format!(
            "the field `{name}` ({place}) contains a line end or another control character: remove it"
        ));
    }
    if std::str::from_utf8(value.expose()).is_err() {
        return Err(format!("the field `{name}` ({place}) is not UTF-8"));
    }
    Ok(())
}

/// The time that is left at `now` until this one (RFC 3339, or with an offset instead of `Z`).
pub(super) fn end(text: &str, source: &str, now: SystemTime) -> Result<Duration, String> {
    // What is no time may be a secret in the wrong place.
    let end = parse_time(text.trim())
        .ok_or_else(|| format!("{source}: `expires_at` is not a time like 2026-11-22T01:36:49Z"))?;
    let shown = cleaning::clean(text, 40);
    match end.duration_since(now) {
        Ok(left) if !left.is_zero() => Ok(left),
        _ => Err(format!(
            "{source}: they expired at {shown}: obtain new ones there"
        )),
    }
}

fn parse_time(text: &str) -> Option<SystemTime> {
    let (time, offset) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
        Some((time, offset)) if time.contains('T') && offset.starts_with(['+', '-']) => (time, offset),
        _ => return humantime::parse_rfc3339_weak(text).ok(),
    };
    let (hours, minutes) = offset[1..].split_once(':')?;
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.len() == 2);
    let distance = Duration::from_secs(3600 * number(hours)? + 60 * number(minutes)?);
    let local = humantime::parse_rfc3339_weak(time).ok()?;
    match offset.starts_with('+') {
        true => local.checked_sub(distance),
        false => local.checked_add(distance),
    }
}

/// So many unknown fields are named.
const MAX_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_an_offset() {
        let shown =
            |text: &str| parse_time(text).map(|time| humantime::format_rfc3339_seconds(time).to_string());
        for (text, expected) in [
            ("2026-11-22T01:36:49Z", "2026-11-22T01:36:49Z"),
            ("2026-11-22T01:36:49.123456Z", "2026-11-22T01:36:49Z"),
            ("2026-11-22T09:36:49+08:00", "2026-11-22T01:36:49Z"),
            ("2026-11-21T20:06:49-05:30", "2026-11-22T01:36:49Z"),
            ("2026-11-22T01:36:49", "2026-11-22T01:36:49Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-11-22",
            "2026-11-22T01:36:49+8:00",
            "2026-11-22T01:36:49+é1",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
