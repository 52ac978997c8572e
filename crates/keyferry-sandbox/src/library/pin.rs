//! What a user accepted of a plugin, to compare with what is there now.

use std::collections::BTreeSet;

use keyferry_plugin::manifest::{Body, Call, Manifest, Source};
use serde::{Deserialize, Serialize};

use super::LibraryFacts;

/// What a user accepted of one plugin. The SHA-256 decides; the rest says in words what a change of it means.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The plugin's version.
    pub version: String,
    /// SHA-256 of the library, in lower-case hex.
    pub sha256: String,
    /// Hosts that it may send to.
    pub hosts: BTreeSet<String>,
    /// Calls that it may make, one line each: operation, method, path, parameters, headers, body.
    pub calls: BTreeSet<String>,
    /// Files that it may read.
    pub files: BTreeSet<String>,
    /// Variables of the environment that it may read.
    pub variables: BTreeSet<String>,
    /// Fields of files whose commands it may have run.
    pub commands: BTreeSet<String>,
}

impl Pin {
    /// What would be accepted with this library.
    pub fn of(facts: &LibraryFacts) -> Self {
        let mut pin = Self {
            version: facts.version.clone(),
            sha256: facts.sha256.clone(),
            hosts: facts.manifest.hosts.iter().cloned().collect(),
            calls: calls(&facts.manifest),
            files: BTreeSet::new(),
            variables: BTreeSet::new(),
            commands: BTreeSet::new(),
        };
        for source in facts.manifest.sources.values() {
            pin.add_source(source);
        }
        pin
    }

    /// What differs in this library, in words; nothing: it is what was accepted.
    pub fn differences(&self, facts: &LibraryFacts) -> Vec<String> {
        let now = Self::of(facts);
        let mut differences = Vec::new();
        if self.version != now.version {
            differences.push(format!("its version was {} and is {}", self.version, now.version));
        }
        if self.sha256 != now.sha256 {
            let (before, after) = (beginning(&self.sha256), beginning(&now.sha256));
            differences.push(format!("its SHA-256 was {before} and is {after}"));
        }
        for (what, before, after) in [
            ("host", &self.hosts, &now.hosts),
            ("call", &self.calls, &now.calls),
            ("file", &self.files, &now.files),
            ("variable", &self.variables, &now.variables),
            ("command of", &self.commands, &now.commands),
        ] {
            let added = after.difference(before).map(|it| format!("added {what} {it}"));
            differences.extend(added);
            let removed = before.difference(after).map(|it| format!("removed {what} {it}"));
            differences.extend(removed);
        }
        differences
    }

    fn add_source(&mut self, source: &Source) {
        match source {
            Source::Environment(environment) => {
                let names = environment.public.iter().chain(environment.secret.keys());
                self.variables.extend(names.cloned());
            }
            Source::File(file) => {
                let paths = std::iter::once(&file.path).chain(&file.alternatives);
                self.files.extend(paths.filter(|path| !path.is_empty()).cloned());
                if let Some(variable) = &file.path_variable {
                    self.files.insert(format!("what ${variable} names"));
                    self.variables.insert(variable.clone());
                }
                let commands = file.commands.keys();
                self.commands
                    .extend(commands.map(|field| format!("{} {field}", file.path)));
            }
            // Its command is a field of a file.
            Source::Command(_) => {}
        }
    }
}

fn calls(manifest: &Manifest) -> BTreeSet<String> {
    let operations = manifest.operations.iter();
    operations
        .flat_map(|(kind, rules)| {
            rules
                .calls
                .iter()
                .map(move |call| format!("{kind} {}", line(call)))
        })
        .collect()
}

/// A call on one line, with everything that it is held to.
fn line(call: &Call) -> String {
    let mut text = format!("{} {}", call.method, call.path);
    for (index, (name, template)) in call.parameters.iter().enumerate() {
        let required = if call.required.contains(name) { "!" } else { "" };
        let between = if index == 0 { '?' } else { '&' };
        text.push_str(&format!("{between}{name}{required}={template}"));
    }
    for (name, value) in &call.headers {
        text.push_str(&format!(" {name}: {value}"));
    }
    match &call.body {
        Body::None => {}
        Body::Form => text.push_str(" (as a form)"),
        Body::Json(fields) => {
            let fields = fields.iter().map(|(pointer, template)| {
                let required = if call.required.contains(pointer) { "!" } else { "" };
                format!("{pointer}{required}={template}")
            });
            text.push_str(&format!(" json {}", fields.collect::<Vec<_>>().join(" ")));
        }
    }
    for place in &call.secrets {
        text.push_str(&format!(" without {place}"));
    }
    text
}

/// As much of a hash as tells two apart for a person.
fn beginning(hash: &str) -> String {
    format!("{}...", hash.chars().take(16).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;

    fn facts(change: impl FnOnce(&mut Value)) -> LibraryFacts {
        let text = include_str!("../../../../tests/hostile-plugin/manifest.json");
        let mut manifest: Value = serde_json::from_str(text).unwrap();
        change(&mut manifest);
        let manifest: Manifest = serde_json::from_value(manifest).unwrap();
        LibraryFacts {
            path: PathBuf::from("/plugins/libkeyferry_hostile.so"),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            major: 1,
            minor: 0,
            manifest,
            device: 1,
            inode: 2,
            size: 3,
            modified: (4, 5),
            sha256: "ab".repeat(32),
        }
    }

    #[test]
    fn the_same_library_differs_in_nothing() {
        let facts = facts(|_| {});
        assert_eq!(Pin::of(&facts).differences(&facts), Vec::<String>::new());
    }

    #[test]
    fn every_part_that_differs_is_named() {
        let pin = Pin::of(&facts(|_| {}));
        let mut now = facts(|manifest| {
            manifest["hosts"] = json!(["evil.example"]);
            manifest["operations"]["list"]["calls"][0]["path"] = json!("/elsewhere");
            manifest["sources"]["stolen"] = json!({"file": {"path": "~/.ssh/config", "format": "json",
                "path_variable": "SSH_CONFIG", "public": ["/a"], "commands": {"/run": "output"}}});
        });
        now.sha256 = "cd".repeat(32);
        now.version = "9.9.9".to_owned();
        let differences = pin.differences(&now);
        for expected in [
            "its version was 0.1.0 and is 9.9.9",
            "its SHA-256 was abababababababab... and is cdcdcdcdcdcdcdcd...",
            "added host evil.example",
            "removed host ",
            "added call list ",
            "removed call list ",
            "added file ~/.ssh/config",
            "added file what $SSH_CONFIG names",
            "added variable SSH_CONFIG",
            "added command of ~/.ssh/config /run",
        ] {
            let found = differences
                .iter()
                .any(|difference| difference.starts_with(expected));
            assert!(found, "{expected}: {differences:#?}");
        }
    }

    #[test]
    fn a_call_is_told_with_everything_that_it_is_held_to() {
        let call: Call = serde_json::from_value(json!({
            "method": "POST", "path": "/{name}", "headers": {"x-action": "Create"},
            "parameters": {"a": "*", "b": "{id}"}, "required": ["b"], "body": {"json": {"/k": "{name}"}},
            "secrets": ["json:/s", "header:x-s"]
        }))
        .unwrap();
        assert_eq!(
            line(&call),
            "POST /{name}?a=*&b!={id} x-action: Create json /k={name} without json:/s without header:x-s"
        );
    }
}
