//! What the plugin sees of a source: the fields that the manifest lists, secret ones as handles.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// The secrets of the documents that were read in one operation, by handle.
#[derive(Default)]
pub(super) struct Handles {
    secrets: BTreeMap<String, Secret>,
}

impl Handles {
    /// Keeps a secret, and gives what stands for it.
    pub(super) fn keep(&mut self, secret: Secret) -> Value {
        let handle = format!("handle-{}", self.secrets.len() + 1);
        self.secrets.insert(handle.clone(), secret);
        json!({ "handle": handle })
    }

    /// The secret of a handle.
    pub(super) fn get(&self, handle: &str) -> Option<&Secret> {
        self.secrets.get(handle)
    }

    /// All secrets.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.values()
    }
}

/// The listed fields of a document. Places are JSON pointers (RFC 6901), in which `*` stands for any one key or index.
pub(super) fn filtered(value: &Value, public: &[String], secret: &[String], handles: &mut Handles) -> Value {
    let split = |pointers: &[String]| -> Vec<Vec<String>> {
        let tokens = |pointer: &String| {
            pointer
                .split('/')
                .skip(1)
                .map(|token| token.replace("~1", "/").replace("~0", "~"))
                .collect()
        };
        pointers.iter().map(tokens).collect()
    };
    let mut filter = Filter {
        public: split(public),
        secret: split(secret),
        path: Vec::new(),
        handles,
    };
    filter.value(value).unwrap_or(Value::Null)
}

struct Filter<'a> {
    public: Vec<Vec<String>>,
    secret: Vec<Vec<String>>,
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
            // A secret that is listed as public too stays a secret.
            scalar if self.is_listed(&self.secret) => Some(match scalar {
                Value::String(text) if !text.is_empty() => self.handles.keep(Secret::from_text(text)),
                Value::Number(number) => self.handles.keep(Secret::from_text(&number.to_string())),
                _ => Value::Null,
            }),
            scalar => self.is_listed(&self.public).then(|| scalar.clone()),
        }
    }

    fn is_listed(&self, places: &[Vec<String>]) -> bool {
        places
            .iter()
            .any(|place| place.len() == self.path.len() && self.is_on(place))
    }

    /// Whether a listed field may be below.
    fn leads_on(&self) -> bool {
        self.public
            .iter()
            .chain(&self.secret)
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
            &list(&["/profiles/*/access_key_secret"]),
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
        assert_eq!(handles.get("handle-1").unwrap().expose(), b"sesame");
        assert!(handles.get("handle-2").is_none());
    }

    #[test]
    fn a_secret_listed_as_public_too_stays_a_handle() {
        let both = vec!["/a".to_owned()];
        let mut handles = Handles::default();
        assert_eq!(
            filtered(&json!({"a": "s"}), &both, &both, &mut handles),
            json!({"a": {"handle": "handle-1"}})
        );
        assert_eq!(filtered(&json!("sesame"), &[], &[], &mut handles), Value::Null);
    }
}
