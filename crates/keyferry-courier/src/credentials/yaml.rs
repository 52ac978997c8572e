//! YAML 1.2, as OpenStack's `clouds.yaml` is written. Every scalar is a string, whatever it looks like.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::object::WipedValue;

/// Parses the one document of a text. `<<` merges a mapping into another, as YAML 1.1 has it and people write it. The
/// error tells where, and nothing of the content.
pub(super) fn parse(text: &str, source: &str) -> Result<WipedValue, String> {
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree::default();
    let wrong =
        |what: &str, at: &Marker| format!("{source} {what} (line {}, column {})", at.line(), at.col() + 1);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| wrong("is not YAML", error.marker()))?;
        tree.take(event).map_err(|what| wrong(what, &span.start))?;
    }
    Ok(tree.root.take().unwrap_or(WipedValue(Value::Null)))
}

/// A document that is being put together. What it holds is wiped when it is given up.
#[derive(Default)]
struct Tree {
    open: Vec<Node>,
    anchors: HashMap<usize, WipedValue>,
    root: Option<WipedValue>,
    nodes: usize,
    bytes: usize,
    documents: usize,
}

/// A sequence or mapping that has not ended.
struct Node {
    anchor: usize,
    value: WipedValue,
    /// Of a mapping: the key whose value comes next.
    key: Option<Key>,
    /// Mappings that `<<` named.
    merged: Vec<WipedValue>,
}

enum Key {
    /// A plain `<<`; a quoted one is a key like any other.
    Merge,
    Text(String),
}

impl Tree {
    fn take(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("holds a second document");
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                self.count(1, text.len())?;
                let is_merge = style == ScalarStyle::Plain && text == "<<";
                self.add(WipedValue(Value::String(text.into_owned())), anchor, is_merge)
            }
            Event::SequenceStart(anchor, _) => self.begin(Value::Array(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.begin(Value::Object(Map::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut node) = self.open.pop() else {
                    return Err("is not YAML");
                };
                // What a mapping says itself goes before what is merged into it, and of that the first.
                for merged in &mut node.merged {
                    merge(&mut node.value.0, std::mem::take(&mut merged.0));
                }
                self.add(node.value, node.anchor, false)
            }
            Event::Alias(anchor) => {
                let Some(value) = self.anchors.get(&anchor) else {
                    return Err("names an anchor that is not there yet");
                };
                // Looked at before it is copied: some lines of anchors could stand for more than fits into memory, and nest
                // more deeply than what they are written in.
                let ((nodes, bytes), depth) = (size(&value.0), depth(&value.0));
                self.count(nodes, bytes)?;
                if self.open.len() + depth > MAX_DEPTH {
                    return Err("nests too deeply");
                }
                let copy = self.anchors.get(&anchor).map(|value| WipedValue(value.0.clone()));
                self.add(copy.unwrap_or(WipedValue(Value::Null)), 0, false)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, value: Value, anchor: usize) -> Result<(), &'static str> {
        self.count(1, 0)?;
        if self.open.len() == MAX_DEPTH {
            return Err("nests too deeply");
        }
        self.open.push(Node {
            anchor,
            value: WipedValue(value),
            key: None,
            merged: Vec::new(),
        });
        Ok(())
    }

    /// A value has ended: the next key or value of what is open, or the document itself.
    fn add(&mut self, mut value: WipedValue, anchor: usize, is_merge: bool) -> Result<(), &'static str> {
        if anchor != 0 {
            let (nodes, bytes) = size(&value.0);
            self.count(nodes, bytes)?;
            self.anchors.insert(anchor, WipedValue(value.0.clone()));
        }
        let Some(node) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        match (&mut node.value.0, node.key.take()) {
            (Value::Array(items), _) => items.push(std::mem::take(&mut value.0)),
            (Value::Object(_), None) => match std::mem::take(&mut value.0) {
                Value::String(_) if is_merge => node.key = Some(Key::Merge),
                Value::String(key) => node.key = Some(Key::Text(key)),
                other => {
                    drop(WipedValue(other));
                    return Err("has a key that is not a scalar");
                }
            },
            (Value::Object(_), Some(Key::Merge)) => match std::mem::take(&mut value.0) {
                Value::Array(items) => node.merged.extend(items.into_iter().map(WipedValue)),
                other => node.merged.push(WipedValue(other)),
            },
            (Value::Object(members), Some(Key::Text(key))) => {
                let before = members.insert(key, std::mem::take(&mut value.0));
                drop(before.map(WipedValue));
            }
            _ => return Err("is not YAML"),
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, bytes: usize) -> Result<(), &'static str> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
            return Err("stands for more than is read");
        }
        Ok(())
    }
}

/// Puts in the members that are not there.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(members), Value::Object(more)) = (into, from) {
        for (key, value) in more {
            let value = WipedValue(value);
            members.entry(key).or_insert_with(|| value.0.clone());
        }
    }
}

/// Values and bytes of text.
fn size(value: &Value) -> (usize, usize) {
    let sum = |sizes: &mut dyn Iterator<Item = (usize, usize)>| {
        sizes.fold((1, 0), |(nodes, bytes): (usize, usize), (more, longer)| {
            (nodes + more, bytes + longer)
        })
    };
    match value {
        Value::String(text) => (1, text.len()),
        Value::Array(items) => sum(&mut items.iter().map(size)),
        Value::Object(members) => sum(&mut members.iter().map(|(key, member)| {
            let (nodes, bytes) = size(member);
            (nodes + 1, bytes + key.len())
        })),
        Value::Null | Value::Bool(_) | Value::Number(_) => (1, 0),
    }
}

/// How many sequences and mappings stand within each other.
fn depth(value: &Value) -> usize {
    let below = |depths: &mut dyn Iterator<Item = usize>| 1 + depths.max().unwrap_or(0);
    match value {
        Value::Array(items) => below(&mut items.iter().map(depth)),
        Value::Object(members) => below(&mut members.values().map(depth)),
        _ => 0,
    }
}

/// Sequences and mappings within each other, with those that aliases stand for.
const MAX_DEPTH: usize = 64;
/// Scalars, sequences and mappings, with those that aliases stand for.
const MAX_NODES: usize = 50_000;
/// Bytes of text, with those that aliases stand for.
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(parse(text, "x").map(|value| value.0.clone()), Ok(expected));
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = parse(text, "clouds.yaml").err().unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("sesame"), "{error}");
    }

    #[test]
    fn a_scalar_is_a_string_whatever_it_looks_like() {
        check(
            "clouds:\n  dev:\n    auth: {auth_url: http://127.0.0.1/v3, password: 0123, user: on, id: ~, none: }\n    \
             regions: [a, 1.0, \"q: x\", 'it''s']\n",
            json!({"clouds": {"dev": {
                "auth": {"auth_url": "http://127.0.0.1/v3", "password": "0123", "user": "on", "id": "~", "none": ""},
                "regions": ["a", "1.0", "q: x", "it's"],
            }}}),
        );
        check("", Value::Null);
        check("---\na: |\n  one\n  two\n...\n", json!({"a": "one\ntwo\n"}));
        check("a: 1\na: 2\n", json!({"a": "2"}));
    }

    #[test]
    fn aliases_and_merges() {
        check(
            "base: &base {user: me, password: sesame}\na: {<<: *base, user: you}\nb: {<<: [{x: 1}, *base], \"<<\": q}\nc: *base\n",
            json!({
                "base": {"user": "me", "password": "sesame"},
                "a": {"user": "you", "password": "sesame"},
                "b": {"x": "1", "user": "me", "password": "sesame", "<<": "q"},
                "c": {"user": "me", "password": "sesame"},
            }),
        );
    }

    #[test]
    fn anchors_do_not_explode() {
        let mut text = "a0: &a0 [sesame, sesame]\n".to_owned();
        for level in 1..40 {
            let before = level - 1;
            text.push_str(&format!("a{level}: &a{level} [*a{before}, *a{before}]\n"));
        }
        check_error(&text, "stands for more than is read (line 1");
        let long = "sesame".repeat(20_000);
        let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 100].join(", "));
        check_error(&text, "stands for more than is read");
        check_error("a: &a [sesame, *a]\n", "anchor");
        let mut text = "a0: &a0 [sesame]\n".to_owned();
        for level in 1..80 {
            text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        check_error(&text, "nests too deeply (line 64");
    }

    #[test]
    fn errors_tell_where_and_nothing_of_the_content() {
        check_error("a: sesame\n b: [sesame", "is not YAML (line 2, column ");
        check_error("a: *sesame\n", "clouds.yaml is not YAML (line 1");
        check_error("? [sesame]\n: b\n", "has a key that is not a scalar");
        check_error("a: 1\n---\nb: sesame\n", "holds a second document (line 2");
        check_error(&"[".repeat(200), "nests too deeply");
        check_error(&"[".repeat(100_000), "clouds.yaml ");
        check_error(
            &format!("[{}]", "a, ".repeat(60_000)),
            "stands for more than is read",
        );
    }
}
