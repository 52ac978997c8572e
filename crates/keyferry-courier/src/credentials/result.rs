//! What a plugin's `credentials` ended with, held against what was read, given and captured on the way.

use keyferry_plugin::contract::{CredentialSet, CredentialValue, Session};
use keyferry_plugin::manifest::{FieldClass, Manifest};
use serde_json::Value;

use super::document::Handles;
use crate::enforce::blanking::Blanker;
use crate::enforce::{Refusal, Rule, cleaning};
use crate::recipe::{Field, Fields};
use crate::secret::Secret;

/// Where fields may come from.
pub(super) struct Held<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) handles: &'a Handles,
    pub(super) given: &'a Fields,
    pub(super) captured: &'a Fields,
}

impl Held<'_> {
    /// The fields that the result names. A secret becomes the one field that the manifest says it is, never a public one,
    /// and a text never a secret one.
    pub(super) fn fields(&self, set: CredentialSet, session: Option<&Session>) -> Result<Fields, Refusal> {
        let mut fields = Fields::new();
        for (name, value) in set.fields {
            let field = self.field(&name, value)?;
            fields.insert(name, field);
        }
        for name in session.into_iter().flat_map(|session| &session.captures) {
            let Some(field) = self.captured.get(name) else {
                let name = cleaning::clean(name, 60);
                return refuse(format!("wanted to keep `{name}`, which it did not capture"));
            };
            fields.entry(name.clone()).or_insert_with(|| copy(field));
        }
        Ok(fields)
    }

    fn field(&self, name: &str, value: CredentialValue) -> Result<Field, Refusal> {
        let shown = cleaning::clean(name, 60);
        let Some(class) = self.manifest.credentials.get(name).map(|field| field.class) else {
            return refuse(format!(
                "gave `{shown}`, which is not one of its credential fields"
            ));
        };
        match (class, value) {
            (_, CredentialValue::Kept) => match self.captured.get(name).or_else(|| self.given.get(name)) {
                Some(field) => Ok(copy(field)),
                None => refuse(format!(
                    "wanted to keep `{shown}`, which was neither given nor captured"
                )),
            },
            (FieldClass::Public, CredentialValue::Text(text)) => Ok(Field {
                class,
                of: None,
                value: Secret::from_text(&text),
            }),
            (FieldClass::HmacKey | FieldClass::Bearer, CredentialValue::Handle(handle)) => {
                match self.handles.get(&handle) {
                    Some((field, secret)) if field == name => Ok(Field {
                        class,
                        of: None,
                        value: secret.duplicate(),
                    }),
                    Some((field, _)) => refuse(format!("wanted to use the secret of `{field}` as `{shown}`")),
                    None => refuse(format!("gave a handle for `{shown}` that it was not given")),
                }
            }
            (FieldClass::Public, CredentialValue::Handle(_)) => {
                refuse(format!("wanted to use a secret as the public field `{shown}`"))
            }
            (_, CredentialValue::Text(_)) => {
                refuse(format!("gave a text of its own for the secret field `{shown}`"))
            }
        }
    }
}

/// The public part of a session as it is given to later operations: small, clean, and without secrets.
pub(super) fn public_part(public: Value, captured: &Fields, blanker: &Blanker) -> Result<Value, Refusal> {
    let refuse = |rule, message: &str| Err(Refusal::new(rule, message));
    // It was parsed from JSON and can be written again.
    let text = serde_json::to_vec(&public).unwrap_or_default();
    if text.len() > MAX_PUBLIC {
        return refuse(
            Rule::Limit,
            &format!("wanted to keep a session whose public part has more than {MAX_PUBLIC} bytes"),
        );
    }
    let of_captures = Blanker::new(captured);
    if of_captures.blank(&text) != text || of_captures.is_seen_below(&text) {
        return refuse(
            Rule::Capture,
            "wanted to keep what it captured in the public part of its session",
        );
    }
    let shown = shown(public, blanker);
    let text = serde_json::to_vec(&shown).unwrap_or_default();
    if blanker.is_seen_below(&text) {
        return refuse(
            Rule::Capture,
            "wanted to keep a secret in the public part of its session, in a form that cannot be blanked",
        );
    }
    Ok(shown)
}

/// All texts of a value without secrets, and cleaned.
pub(super) fn shown(value: Value, blanker: &Blanker) -> Value {
    match value {
        Value::String(text) => Value::String(blanker.shown(&text, MAX_PUBLIC)),
        Value::Array(items) => items.into_iter().map(|item| shown(item, blanker)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (blanker.shown(&name, 200), shown(member, blanker)))
            .collect(),
        scalar => scalar,
    }
}

fn copy(field: &Field) -> Field {
    Field {
        class: field.class,
        of: None,
        value: field.value.duplicate(),
    }
}

fn refuse<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::new(Rule::CredentialPlace, message))
}

/// Bytes of the public part of a session, as JSON: it goes with every question to the plugin.
const MAX_PUBLIC: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|&(name, value)| {
                let class = FieldClass::Bearer;
                let value = Secret::from_text(value);
                let of = None;
                (name.to_owned(), Field { class, of, value })
            })
            .collect()
    }

    #[test]
    fn a_public_part_is_small_clean_and_without_secrets() {
        let captured = fields(&[("token", "gAAAAABsesame-token")]);
        let mut blanker = Blanker::new(&captured);
        blanker.add_value(b"password-of-old", "password");
        let part = |public: Value| public_part(public, &captured, &blanker);
        assert_eq!(
            part(json!({"project_id": "p\u{1b}-1", "n": [1, true, null]})),
            Ok(json!({"project_id": "p-1", "n": [1, true, null]}))
        );
        assert_eq!(
            part(json!({"note": "was password-of-old"})),
            Ok(json!({"note": "was <password>"}))
        );
        let hex: String = b"gAAAAABsesame-token"
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        for public in [
            json!({"note": "gAAAAABsesame-token"}),
            json!(["x", {"gAAAAABsesame-token": 1}]),
            json!({ "note": hex }),
        ] {
            assert_eq!(part(public).unwrap_err().rule, Rule::Capture);
        }
        assert_eq!(part(json!("x".repeat(MAX_PUBLIC))).unwrap_err().rule, Rule::Limit);
    }

    fn shown(result: Result<Fields, Refusal>) -> Result<Vec<(String, String)>, String> {
        let text = |field: &Field| String::from_utf8_lossy(field.value.expose()).into_owned();
        result
            .map(|fields| {
                fields
                    .iter()
                    .map(|(name, field)| (name.clone(), text(field)))
                    .collect()
            })
            .map_err(|refusal| refusal.message)
    }

    #[test]
    fn fields_are_those_that_are_named_and_the_captured_ones_come_first() {
        let manifest: Manifest =
            serde_json::from_str(include_str!("../../../../tests/hostile-plugin/manifest.json")).unwrap();
        let mut handles = Handles::default();
        handles
            .keep(Secret::from_text("read-key"), "access_key_secret", "here")
            .unwrap();
        let held = Held {
            manifest: &manifest,
            handles: &handles,
            given: &fields(&[("password", "given-password"), ("security_token", "given-token")]),
            captured: &fields(&[("security_token", "captured-token")]),
        };
        let fields_of = |named: &[(&str, CredentialValue)], captures: &[&str]| {
            let set = CredentialSet {
                fields: named
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone()))
                    .collect(),
                source: String::new(),
                expires_at: None,
                attempts: Vec::new(),
            };
            let session = Session {
                captures: captures.iter().map(|&name| name.to_owned()).collect(),
                public: Value::Null,
                urls: Vec::new(),
                expires_at: None,
            };
            shown(held.fields(set, Some(&session)))
        };
        let (kept, handle) = (
            CredentialValue::Kept,
            CredentialValue::Handle("handle-1".to_owned()),
        );
        let text = CredentialValue::Text("AKID".to_owned());
        let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        // The password is not named, and goes no further.
        assert_eq!(
            fields_of(
                &[
                    ("security_token", kept.clone()),
                    ("access_key_secret", handle.clone()),
                    ("access_key_id", text.clone())
                ],
                &[]
            ),
            Ok(pairs(&[
                ("access_key_id", "AKID"),
                ("access_key_secret", "read-key"),
                ("security_token", "captured-token")
            ]))
        );
        assert_eq!(
            fields_of(&[], &["security_token"]),
            Ok(pairs(&[("security_token", "captured-token")]))
        );
        assert_eq!(
            fields_of(&[("password", kept.clone())], &[]),
            Ok(pairs(&[("password", "given-password")]))
        );
        for (named, captures, expected) in [
            (
                ("access_key_id", kept),
                &[][..],
                "which was neither given nor captured",
            ),
            (
                ("access_key_id", handle.clone()),
                &[],
                "as the public field `access_key_id`",
            ),
            (
                ("password", handle),
                &[],
                "the secret of `access_key_secret` as `password`",
            ),
            (
                ("password", text.clone()),
                &[],
                "a text of its own for the secret field",
            ),
            (
                ("root", text.clone()),
                &[],
                "which is not one of its credential fields",
            ),
            (
                ("access_key_id", text),
                &["password"],
                "wanted to keep `password`, which it did not capture",
            ),
        ] {
            let message = fields_of(&[named], captures).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
