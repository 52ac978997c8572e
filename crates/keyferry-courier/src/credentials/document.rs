//! What the plugin sees of a source: the fields that the manifest lists, secret ones as handles.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// The secrets of the documents that were read in one operation, by handle, each with its credential field.
#[derive(Default)]
pub(super) struct Handles {
    secrets: BTreeMap<String, (String, Secret)>,
}

impl Handles {
    /// Keeps a secret of a credential field, and gives what stands for it.
    pub(super) fn keep(&mut self, secret: Secret, field: &str) -> Value {
        let handle = format!("handle-{}", self.secrets.len() + 1);
        self.secrets.insert(handle.clone(), (field.to_owned(), secret));
        json!({ "handle": handle })
    }

    /// The credential field and the secret of a handle.
    pub(super) fn get(&self, handle: &str) -> Option<(&str, &Secret)> {
        self.secrets
            .get(handle)
            .map(|(field, secret)| (field.as_str(), secret))
    }

    /// All secrets.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.values().map(|(_, secret)| secret)
    }
}

/// The listed fields of a document. Places are JSON pointers (RFC 6901), in which `*` stands for any one key or index.
/// Those of `secret` are given with the credential field that lies there.
pub(super) fn filtered(
    value: &Value,
    public: &[String],
    secret: &BTreeMap<String, String>,
    handles: &mut Handles,
) -> Value {
    let tokens = |pointer: &String| -> Vec<String> {
        pointer
            .split('/')
            .skip(1)
            .map(|token| token.replace("~1", "/").replace("~0", "~"))
            .collect()
    };
    let mut filter = Filter {
        public: public.iter().map(tokens).collect(),
        secret: secret
            .iter()
            .map(|(pointer, field)| (tokens(pointer), field.as_str()))
            .collect(),
        path: Vec::new(),
        handles,
    };
    filter.value(value).unwrap_or(Value::Null)
}

struct Filter<'a> {
    public: Vec<Vec<String>>,
    secret: Vec<(Vec<String>, &'a str)>,
    path: Vec<String>,
    handles: &'a mut Handles,
}

impl Filter<'_> {
    fn value(&mut self, value: &Value) -> Option<Value> {
        match value {
            Value::Object(members) => {
                let mut kept = Map::new();
                for (name, member) in members {
                    self.path.push(name.clone());
                    if let Some(member) = self.value(member) {
                        kept.insert(name.clone(), member);
                    }
                    self.path.pop();
                }
                (self.leads_on() || self.path.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(items) => {
                let mut kept = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    self.path.push(index.to_string());
                    // Positions are kept, whatever is left of an item.
                    kept.push(self.value(item).unwrap_or(Value::Null));
                    self.path.pop();
                }
                (self.leads_on() || self.path.is_empty()).then_some(Value::Array(kept))
            }
            scalar => {
                let fields: Vec<&str> = self
                    .secret
                    .iter()
                    .filter(|(place, _)| self.is_at(place))
                    .map(|&(_, field)| field)
                    .collect();
                match (fields.as_slice(), scalar) {
                    ([], _) => self
                        .public
                        .iter()
                        .any(|place| self.is_at(place))
                        .then(|| scalar.clone()),
                    // A secret that is listed as public too stays a secret. One that is listed as two fields is neither.
                    ([field, others @ ..], scalar) if others.iter().all(|other| other == field) => {
                        Some(match scalar {
                            Value::String(text) if !text.is_empty() => {
                                self.handles.keep(Secret::from_text(text), field)
                            }
                            Value::Number(number) => {
                                self.handles.keep(Secret::from_text(&number.to_string()), field)
                            }
                            _ => Value::Null,
                        })
                    }
                    _ => Some(Value::Null),
                }
            }
        }
    }

    fn is_at(&self, place: &[String]) -> bool {
        place.len() == self.path.len() && self.is_on(place)
    }

    /// Whether a listed field may be below.
    fn leads_on(&self) -> bool {
        self.public
            .iter()
            .chain(self.secret.iter().map(|(place, _)| place))
            .any(|place| place.len() > self.path.len() && self.is_on(place))
    }

    fn is_on(&self, place: &[String]) -> bool {
        place
            .iter()
            .zip(&self.path)
            .all(|(wanted, token)| wanted == "*" || wanted == token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(places: &[(&str, &str)]) -> BTreeMap<String, String> {
        places
            .iter()
            .map(|&(place, field)| (place.to_owned(), field.to_owned()))
            .collect()
    }

    #[test]
    fn only_listed_fields_are_seen_and_secrets_are_handles() {
        let document = json!({
            "current": "prod", "secret_note": "sesame",
            "profiles": [
                {"name": "prod", "mode": "AK", "access_key_id": "AKID", "access_key_secret": "sesame", "other": {"deep": "sesame"}},
                {"name": "odd", "access_key_secret": {"nested": "sesame"}, "access_key_id": ["sesame"]},
                "sesame"
            ]
        });
        let list = |pointers: &[&str]| {
            pointers
                .iter()
                .map(|&pointer| pointer.to_owned())
                .collect::<Vec<_>>()
        };
        let mut handles = Handles::default();
        let seen = filtered(
            &document,
            &list(&[
                "/current",
                "/profiles/*/name",
                "/profiles/*/mode",
                "/profiles/*/access_key_id",
            ]),
            &secret(&[("/profiles/*/access_key_secret", "access_key_secret")]),
            &mut handles,
        );
        assert_eq!(
            seen,
            json!({
                "current": "prod",
                "profiles": [
                    {"name": "prod", "mode": "AK", "access_key_id": "AKID", "access_key_secret": {"handle": "handle-1"}},
                    {"name": "odd"},
                    null
                ]
            })
        );
        let (field, secret) = handles.get("handle-1").unwrap();
        assert_eq!((field, secret.expose()), ("access_key_secret", &b"sesame"[..]));
        assert!(handles.get("handle-2").is_none());
    }

    #[test]
    fn a_secret_listed_as_public_too_stays_a_handle() {
        let public = vec!["/a".to_owned()];
        let mut handles = Handles::default();
        assert_eq!(
            filtered(
                &json!({"a": "s"}),
                &public,
                &secret(&[("/a", "token")]),
                &mut handles
            ),
            json!({"a": {"handle": "handle-1"}})
        );
        assert_eq!(
            filtered(&json!("sesame"), &[], &secret(&[]), &mut handles),
            Value::Null
        );
    }

    #[test]
    fn a_secret_listed_as_two_fields_is_neither() {
        let mut handles = Handles::default();
        let twice = secret(&[
            ("/*/a", "token"),
            ("/x/*", "access_key_secret"),
            ("/*/b", "token"),
        ]);
        assert_eq!(
            filtered(
                &json!({"x": {"a": "s"}, "y": {"b": "t"}}),
                &[],
                &twice,
                &mut handles
            ),
            json!({"x": {"a": null}, "y": {"b": {"handle": "handle-1"}}})
        );
    }
}
