//! What the plugin sees of a source: the fields that the manifest lists, secret ones as handles, commands as `true`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::enforce::cleaning;
use crate::secret::Secret;

/// The secrets of the documents that were read in one operation, by handle, each with its credential field.
#[derive(Default)]
pub(super) struct Handles {
    /// The handle of the first is `handle-1`.
    secrets: Vec<(String, Secret)>,
}

impl Handles {
    /// Keeps a secret of a credential field, and gives what stands for it. `place`: where it was read, in words.
    ///
    /// One of several lines is refused: in a request it could be more than one value.
    pub(super) fn keep(&mut self, secret: Secret, field: &str, place: &str) -> Result<Value, String> {
        let is_line_end = |byte: &u8| b"\r\n".contains(byte);
        let bytes = secret.expose();
        let content = bytes.iter().rposition(|byte| !is_line_end(byte));
        if bytes[..content.unwrap_or(0)].iter().any(is_line_end) {
            return Err(format!(
                "the field `{field}` ({place}) contains a line end: remove it"
            ));
        }
        self.secrets.push((field.to_owned(), secret));
        Ok(json!({ "handle": handle(self.secrets.len()) }))
    }

    /// The credential field and the secret of a handle.
    pub(super) fn get(&self, handle: &str) -> Option<(&str, &Secret)> {
        self.iter()
            .find_map(|(own, field, secret)| (own == handle).then_some((field, secret)))
    }

    pub(super) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// All handles, each with its credential field and its secret.
    pub(super) fn iter(&self) -> impl Iterator<Item = (String, &str, &Secret)> {
        (1..)
            .zip(&self.secrets)
            .map(|(number, (field, secret))| (handle(number), field.as_str(), secret))
    }

    /// Fields and secrets of the handles after the first so many.
    pub(super) fn since(&self, first: usize) -> impl Iterator<Item = (&str, &Secret)> {
        let later = self.secrets.iter().skip(first);
        later.map(|(field, secret)| (field.as_str(), secret))
    }
}

fn handle(number: usize) -> String {
    format!("handle-{number}")
}

/// The fields of a source that the manifest lists. Places are JSON pointers (RFC 6901), in which `*` stands for any one key
/// or index.
#[derive(Clone, Copy)]
pub(super) struct Listed<'a> {
    /// The plugin sees them.
    pub(super) public: &'a [String],
    /// It gets handles for them; each with the credential field that lies there.
    pub(super) secret: &'a BTreeMap<String, String>,
    /// It sees that they are there; each with the source that describes the command's output.
    pub(super) commands: &'a BTreeMap<String, String>,
}

/// A command that a field holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Named {
    /// JSON pointer of the field.
    pub(super) field: String,
    /// The source that describes what the command prints.
    pub(super) output: String,
    /// The command's line.
    pub(super) line: String,
}

/// What the plugin may see of a document, and the commands that it names. `location`: where the document is, for the error
/// when it cannot be used.
pub(super) fn filtered(
    value: &Value,
    listed: Listed<'_>,
    location: &str,
    handles: &mut Handles,
) -> Result<(Value, Vec<Named>), String> {
    let mut filter = Filter {
        public: listed.public.iter().map(|pointer| tokens(pointer)).collect(),
        secret: listed
            .secret
            .iter()
            .map(|(pointer, field)| (tokens(pointer), field.as_str()))
            .collect(),
        commands: listed
            .commands
            .iter()
            .map(|(pointer, output)| (tokens(pointer), output.as_str()))
            .collect(),
        location,
        path: Vec::new(),
        handles,
        named: Vec::new(),
        refused: None,
    };
    let seen = filter.value(value).unwrap_or(Value::Null);
    match filter.refused {
        Some(message) => Err(message),
        None => Ok((seen, filter.named)),
    }
}

/// The texts at these places of what the plugin sees.
pub(super) fn texts<'a>(seen: &'a Value, places: &[String]) -> Vec<&'a str> {
    fn below<'a>(value: &'a Value, path: &[String], found: &mut Vec<&'a str>) {
        match (path.split_first(), value) {
            (None, Value::String(text)) => found.push(text),
            (Some((token, rest)), Value::Object(members)) => members
                .iter()
                .filter(|(name, _)| token == "*" || token == *name)
                .for_each(|(_, member)| below(member, rest, found)),
            (Some((token, rest)), Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter(|(index, _)| token == "*" || *token == index.to_string())
                .for_each(|(_, item)| below(item, rest, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for place in places {
        below(seen, &tokens(place), &mut found);
    }
    found
}

fn tokens(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}

struct Filter<'a> {
    public: Vec<Vec<String>>,
    secret: Vec<(Vec<String>, &'a str)>,
    commands: Vec<(Vec<String>, &'a str)>,
    location: &'a str,
    path: Vec<String>,
    handles: &'a mut Handles,
    named: Vec<Named>,
    /// Why the document cannot be used.
    refused: Option<String>,
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
                let here = |listed: &[(Vec<String>, &'_ str)]| -> Vec<String> {
                    let here = listed.iter().filter(|(place, _)| self.is_at(place));
                    here.map(|&(_, meaning)| meaning.to_owned()).collect()
                };
                let (fields, outputs) = (here(&self.secret), here(&self.commands));
                match (fields.as_slice(), scalar) {
                    ([], Value::String(line)) if !outputs.is_empty() => Some(match outputs.as_slice() {
                        [output] if !line.trim().is_empty() => {
                            self.named.push(Named {
                                field: self.pointer(),
                                output: output.clone(),
                                line: line.clone(),
                            });
                            Value::Bool(true)
                        }
                        _ => Value::Null,
                    }),
                    // A command that is listed as a secret too is neither.
                    _ if !outputs.is_empty() => Some(Value::Null),
                    ([], _) => self
                        .public
                        .iter()
                        .any(|place| self.is_at(place))
                        .then(|| scalar.clone()),
                    // A secret that is listed as public too stays a secret. One that is listed as two fields is neither.
                    ([field, others @ ..], scalar) if others.iter().all(|other| other == field) => {
                        Some(match scalar {
                            Value::String(text) if !text.is_empty() => {
                                self.keep(Secret::from_text(text), field)
                            }
                            Value::Number(number) => self.keep(Secret::from_text(&number.to_string()), field),
                            _ => Value::Null,
                        })
                    }
                    _ => Some(Value::Null),
                }
            }
        }
    }

    /// Keeps the secret that is here.
    fn keep(&mut self, secret: Secret, field: &str) -> Value {
        let place = match self.path.is_empty() {
            true => self.location.to_owned(),
            false => format!("{} in {}", cleaning::clean(&self.pointer(), 100), self.location),
        };
        self.handles
            .keep(secret, field, &place)
            .unwrap_or_else(|message| {
                self.refused.get_or_insert(message);
                Value::Null
            })
    }

    /// Where it is, as a JSON pointer.
    fn pointer(&self) -> String {
        let escaped = |token: &String| format!("/{}", token.replace('~', "~0").replace('/', "~1"));
        self.path.iter().map(escaped).collect()
    }

    fn is_at(&self, place: &[String]) -> bool {
        place.len() == self.path.len() && self.is_on(place)
    }

    /// Whether a listed field may be below.
    fn leads_on(&self) -> bool {
        self.public
            .iter()
            .chain(self.secret.iter().chain(&self.commands).map(|(place, _)| place))
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

    fn listed(places: &[(&str, &str)]) -> BTreeMap<String, String> {
        places
            .iter()
            .map(|&(place, field)| (place.to_owned(), field.to_owned()))
            .collect()
    }

    fn see(
        document: &Value,
        public: &[String],
        secret: &BTreeMap<String, String>,
        commands: &BTreeMap<String, String>,
        handles: &mut Handles,
    ) -> (Value, Vec<Named>) {
        let listed = Listed {
            public,
            secret,
            commands,
        };
        filtered(document, listed, "here", handles).unwrap()
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
        let public = list(&[
            "/current",
            "/profiles/*/name",
            "/profiles/*/mode",
            "/profiles/*/access_key_id",
        ]);
        let secret = listed(&[("/profiles/*/access_key_secret", "access_key_secret")]);
        let (seen, commands) = see(&document, &public, &secret, &listed(&[]), &mut handles);
        assert_eq!(commands, []);
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
        let secret = listed(&[("/a", "token")]);
        let (seen, _) = see(&json!({"a": "s"}), &public, &secret, &listed(&[]), &mut handles);
        assert_eq!(seen, json!({"a": {"handle": "handle-1"}}));
        let nothing = listed(&[]);
        let (seen, _) = see(&json!("sesame"), &[], &nothing, &nothing, &mut handles);
        assert_eq!(seen, Value::Null);
    }

    #[test]
    fn a_secret_listed_as_two_fields_is_neither() {
        let mut handles = Handles::default();
        let twice = listed(&[
            ("/*/a", "token"),
            ("/x/*", "access_key_secret"),
            ("/*/b", "token"),
        ]);
        let document = json!({"x": {"a": "s"}, "y": {"b": "t"}});
        let (seen, _) = see(&document, &[], &twice, &listed(&[]), &mut handles);
        assert_eq!(
            seen,
            json!({"x": {"a": null}, "y": {"b": {"handle": "handle-1"}}})
        );
    }

    #[test]
    fn a_whole_text_is_one_secret() {
        let mut handles = Handles::default();
        let secret = listed(&[("", "token")]);
        let (seen, _) = see(&json!("sesame"), &[], &secret, &listed(&[]), &mut handles);
        assert_eq!(seen, json!({"handle": "handle-1"}));
    }

    #[test]
    fn a_command_is_seen_to_be_there() {
        let document =
            json!({"p/1": {"run": "tool --x", "key": "sesame"}, "q": {"run": " "}, "r": {"run": 7}});
        let commands = listed(&[("/*/run", "printed")]);
        let mut handles = Handles::default();
        let public = vec!["/*/run".to_owned()];
        let (seen, named) = see(&document, &public, &listed(&[]), &commands, &mut handles);
        assert_eq!(
            seen,
            json!({"p/1": {"run": true}, "q": {"run": null}, "r": {"run": null}})
        );
        let expected = Named {
            field: "/p~11/run".to_owned(),
            output: "printed".to_owned(),
            line: "tool --x".to_owned(),
        };
        assert_eq!(named, [expected]);
        let secret = listed(&[("/*/run", "token")]);
        let (seen, named) = see(&document, &public, &secret, &commands, &mut handles);
        assert_eq!((&seen["p/1"], named.len()), (&json!({"run": null}), 0));
    }

    #[test]
    fn texts_of_places() {
        let seen = json!({"a": {"url": "x", "n": 1}, "b": {"url": "y"}, "c": [{"url": "z"}]});
        let places = ["/*/url".to_owned(), "/c/0/url".to_owned(), "/a/n".to_owned()];
        assert_eq!(texts(&seen, &places), ["x", "y", "z"]);
    }
}
