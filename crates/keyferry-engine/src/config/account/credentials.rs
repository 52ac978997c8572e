//! `[credentials]`: references, never values. No message quotes what stands there.

use std::collections::BTreeMap;

use keyferry_plugin::manifest::Manifest;

use super::is_scalar;
use crate::config::later;
use crate::config::problem::{listed, suggestion};
use crate::config::table::{Item, Table, Walk, shown};
use crate::desired::CredentialSource;

impl<'t> Walk<'t> {
    pub(super) fn credential_source(
        &mut self,
        item: &Item<'t>,
        table: &Table<'t>,
        manifest: Option<&Manifest>,
        chain: bool,
    ) -> Option<CredentialSource> {
        self.refuse_credential_values(table, manifest);
        let named: Vec<Item<'t>> = KNOWN.iter().filter_map(|name| table.get(name)).collect();
        let [source] = named.as_slice() else {
            if let [_, second, ..] = named.as_slice() {
                let names = listed(named.iter().map(Item::key));
                self.note(
                    second.key_at(),
                    format!("{names}: one account has one source, keep exactly one of them"),
                );
            } else if table.items().next().is_none() {
                self.note(
                    item.key_at(),
                    "[credentials] is empty: name one of `profile`, `env`, `file` and `command`, or take the table \
                     out for the vendor's own chain",
                );
            }
            return None;
        };
        match source.key() {
            "profile" if !chain => {
                self.note(
                    source.key_at(),
                    "the plugin knows no profiles: name `env`, `file` or `command` instead",
                );
                None
            }
            "profile" => {
                let profile = Some(self.string(source)?.to_owned());
                Some(CredentialSource::Chain { profile })
            }
            "env" => self
                .environment(source, manifest?)
                .map(CredentialSource::Environment),
            "file" => self.path(source).map(CredentialSource::File),
            _ => self.command(source).map(CredentialSource::Command),
        }
    }

    fn refuse_credential_values(&mut self, table: &Table<'t>, manifest: Option<&Manifest>) {
        for item in table.items().filter(|item| !KNOWN.contains(&item.key())) {
            let is_field = manifest.is_some_and(|manifest| manifest.credentials.contains_key(item.key()));
            let message = if is_field && is_scalar(item.value()) {
                format!(
                    "{} must not be written here: these files hold references only, never values; name a variable, \
                     as in `env = {{ {} = \"VARIABLE\" }}`, or use `profile`, `file` or `command`",
                    shown(item.key()),
                    item.key().escape_debug()
                )
            } else {
                later::message(item.key())
                    .or_else(|| later::credential(item.key()))
                    .unwrap_or_else(|| {
                        let known = suggestion(item.key(), KNOWN.iter().copied());
                        format!("unknown key {} in [credentials]{known}", shown(item.key()))
                    })
            };
            self.note(item.key_at(), message);
        }
    }

    fn environment(&mut self, item: &Item<'t>, manifest: &Manifest) -> Option<BTreeMap<String, String>> {
        let table = self.table(item)?;
        let mut variables = BTreeMap::new();
        for field in table.items() {
            if !manifest.credentials.contains_key(field.key()) {
                let known = suggestion(field.key(), manifest.credentials.keys().map(String::as_str));
                self.note(
                    field.key_at(),
                    format!(
                        "unknown credential field {} of plugin `{}`{known}",
                        shown(field.key()),
                        manifest.name
                    ),
                );
                continue;
            }
            let Some(variable) = self.string(&field) else {
                continue;
            };
            if !is_variable(variable) {
                self.note_value(
                    &field,
                    "must be the name of an environment variable, such as `MY_ACCESS_KEY`, never the value itself",
                );
                continue;
            }
            variables.insert(field.key().to_owned(), variable.to_owned());
        }
        let missing = manifest
            .credentials
            .iter()
            .filter(|(name, field)| !field.optional && table.get(name).is_none())
            .map(|(name, _)| name.as_str());
        let missing = listed(missing);
        if !missing.is_empty() {
            self.note(
                item.key_at(),
                format!("`env` lacks {missing}: name a variable for each"),
            );
        }
        Some(variables)
    }
}

/// Whether a word is the name of a variable and does not look like a key that was pasted in its place.
fn is_variable(word: &str) -> bool {
    let is_name = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !word.starts_with(|c: char| c.is_ascii_digit());
    let shouted = !word.bytes().any(|b| b.is_ascii_lowercase());
    let spaced = word.contains('_');
    is_name && (spaced || word.len() < 16 || (shouted && !word.bytes().any(|b| b.is_ascii_digit())))
}

const KNOWN: &[&str] = &["profile", "env", "file", "command"];
