//! What a plugin sees of a source: the fields that its manifest lists, secret ones as handles.

use keyferry_plugin::contract::Document;
use keyferry_plugin::manifest::Source;
use serde_json::{Map, Value, json};

/// A document, and what it names.
pub(crate) struct Seen {
    pub(crate) document: Document,
    /// Handles, each with its credential field.
    pub(crate) handles: Vec<(String, String)>,
    /// URLs that may be sent to.
    pub(crate) urls: Vec<String>,
}

/// The document of a source with this content; `next`: the number of the next handle.
pub(crate) fn seen(name: &str, source: &Source, content: Option<&Value>, next: usize) -> Seen {
    let mut filter = Filter {
        next,
        ..Filter::default()
    };
    let owned = |(place, field): (&String, &String)| (place.clone(), field.clone());
    match source {
        Source::Environment(source) => {
            filter.public = source.public.iter().map(|name| pointer(name)).collect();
            let secret = source.secret.iter();
            filter.secret = secret
                .map(|(name, field)| (pointer(name), field.clone()))
                .collect();
            filter.urls = source.urls.iter().map(|name| pointer(name)).collect();
        }
        Source::File(source) => {
            filter.public.clone_from(&source.public);
            filter.secret = source.secret.iter().map(owned).collect();
            filter.urls.clone_from(&source.urls);
            filter.commands = source.commands.keys().cloned().collect();
        }
        Source::Command(source) => {
            filter.public.clone_from(&source.public);
            filter.secret = source.secret.iter().map(owned).collect();
        }
    }
    let content = content.map(|content| filter.see(content, "").unwrap_or(Value::Null));
    Seen {
        document: Document {
            source: name.to_owned(),
            location: format!("{name} of the case"),
            found: content.is_some(),
            content: content.unwrap_or_default(),
        },
        handles: filter.handles,
        urls: filter.named,
    }
}

fn pointer(name: &str) -> String {
    format!("/{name}")
}

#[derive(Default)]
struct Filter {
    public: Vec<String>,
    secret: Vec<(String, String)>,
    urls: Vec<String>,
    commands: Vec<String>,
    next: usize,
    handles: Vec<(String, String)>,
    named: Vec<String>,
}

impl Filter {
    fn see(&mut self, value: &Value, at: &str) -> Option<Value> {
        let lies = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, at));
        if let Some((_, field)) = self.secret.iter().find(|(pattern, _)| fits(pattern, at)) {
            let text = value.as_str()?.trim();
            if text.is_empty() {
                return None;
            }
            let handle = format!("handle-{}", self.next);
            self.next += 1;
            self.handles.push((handle.clone(), field.clone()));
            return Some(json!({ "handle": handle }));
        }
        if lies(&self.commands) {
            return Some(Value::Bool(true));
        }
        match value {
            Value::Object(members) => {
                let mut seen = Map::new();
                for (name, member) in members {
                    let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                    if let Some(member) = self.see(member, &place) {
                        seen.insert(name.clone(), member);
                    }
                }
                Some(Value::Object(seen))
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let seen = items.map(|(index, item)| self.see(item, &format!("{at}/{index}")));
                Some(seen.map(Option::unwrap_or_default).collect())
            }
            leaf if lies(&self.public) => {
                if lies(&self.urls) {
                    self.named.extend(leaf.as_str().map(str::to_owned));
                }
                Some(leaf.clone())
            }
            _ => None,
        }
    }
}

/// Whether a place is one of a pattern's, in which `*` stands for any one key or index.
fn fits(pattern: &str, place: &str) -> bool {
    let (pattern, place) = (pattern.split('/'), place.split('/'));
    pattern.clone().count() == place.clone().count()
        && pattern
            .zip(place)
            .all(|(pattern, part)| pattern == "*" || pattern == part)
}
