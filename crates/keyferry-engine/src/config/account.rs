//! `accounts/NAME.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{Manifest, SettingType};
use serde_json::Value;
use toml::de::DeValue;

use super::entry::Checked;
use super::file::Text;
use super::later;
use super::plugins::{Catalogue, PluginProblem};
use super::problem::suggestion;
use super::table::{Item, Table, Walk, shown};
use super::value::{Origin, canonical_url};
use crate::desired::{Account, CredentialSource};

mod credentials;

/// An account together with the manifest that it was checked against.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedAccount {
    pub(super) account: Arc<Account>,
    pub(super) manifest: Arc<Manifest>,
}

/// Checks an account file. It depends on the manifest of the plugin that it names.
pub(super) fn check(name: &str, text: &Text, catalogue: &mut Catalogue<'_>) -> Checked<CheckedAccount> {
    let mut walk = Walk::new(text);
    let mut uses = None;
    let parsed = walk.parse();
    let good = parsed.as_ref().and_then(|parsed| {
        let root = Table::root(parsed.get_ref());
        walk.refuse_others(&root, KNOWN);
        let plugin = match root.get("plugin") {
            Some(item) => walk.string(&item).map(|plugin| (item, plugin)),
            None if root.misspells("plugin") => None,
            None => {
                let known = suggestion("", catalogue.names().iter().map(String::as_str));
                walk.note(0, format!("names no plugin: add `plugin = \"...\"`{known}"));
                None
            }
        };
        uses = plugin.map(|(_, plugin)| plugin.to_owned());
        let manifest = plugin.and_then(|(item, plugin)| walk.plugin(&item, plugin, catalogue));
        let region = root
            .get("region")
            .and_then(|item| walk.region(&item, manifest.as_deref()));
        let insecure_http = root
            .get("insecure_http")
            .and_then(|item| walk.boolean(&item))
            .unwrap_or(false);
        let endpoint = root
            .get("endpoint")
            .and_then(|item| walk.endpoint(&item, insecure_http));
        let max_concurrent = root
            .get("max_concurrent")
            .and_then(|item| walk.max_concurrent(&item));
        let max_per_second = root
            .get("max_per_second")
            .and_then(|item| walk.max_per_second(&item));
        let check_every = root.get("check_every").and_then(|item| walk.check_every(&item));
        let max_pairs = root
            .get("max_pairs")
            .and_then(|item| walk.integer(&item, 1..=1_000_000))
            .and_then(|value| u32::try_from(value).ok());
        let settings = walk.settings(&root, manifest.as_deref(), insecure_http);
        let credentials = walk.credentials(&root, manifest.as_deref());
        let manifest = manifest.filter(|_| walk.is_fine())?;
        let account = Arc::new(Account {
            name: name.to_owned(),
            plugin: manifest.name.clone(),
            region,
            endpoint,
            insecure_http,
            place: place(&manifest, &settings),
            settings,
            credentials: credentials?,
            max_concurrent,
            max_per_second,
            check_every,
            max_pairs,
        });
        Some(CheckedAccount { account, manifest })
    });
    walk.finish(good, uses)
}

impl<'t> Walk<'t> {
    fn plugin(
        &mut self,
        item: &Item<'t>,
        plugin: &str,
        catalogue: &mut Catalogue<'_>,
    ) -> Option<Arc<Manifest>> {
        let problem = match catalogue.look_up(plugin) {
            Ok(manifest) => return Some(Arc::clone(manifest)),
            Err(problem) => problem.to_string(),
        };
        let known = match catalogue.look_up(plugin) {
            Err(PluginProblem::Missing { .. }) => {
                suggestion(plugin, catalogue.names().iter().map(String::as_str))
            }
            _ => String::new(),
        };
        self.note_value(item, format!("{} {problem}{known}", shown(plugin)));
        None
    }

    fn endpoint(&mut self, item: &Item<'t>, insecure_http: bool) -> Option<String> {
        let value = self.string(item)?;
        match Origin::parse(value, &["https", "http"]) {
            Ok(origin) if origin.is_open_to_others() && !insecure_http => self.refuse_plain_http(item),
            Ok(_) => Some(value.to_owned()),
            Err(message) => {
                self.note_value(item, message);
                None
            }
        }
    }

    fn settings(
        &mut self,
        root: &Table<'t>,
        manifest: Option<&Manifest>,
        insecure_http: bool,
    ) -> BTreeMap<String, Value> {
        let mut settings = BTreeMap::new();
        let Some(table) = root.get("settings").and_then(|item| self.table(&item)) else {
            return settings;
        };
        // Without the plugin nobody knows which settings there are.
        let Some(manifest) = manifest else {
            return settings;
        };
        for item in table.items() {
            let Some(rules) = manifest.settings.get(item.key()) else {
                let message = later::credential(item.key()).unwrap_or_else(|| {
                    let known = suggestion(item.key(), manifest.settings.keys().map(String::as_str));
                    format!(
                        "unknown setting {} of plugin `{}`{known}",
                        shown(item.key()),
                        manifest.name
                    )
                });
                self.note(item.key_at(), message);
                continue;
            };
            let value = match rules.kind {
                SettingType::Boolean => self.boolean(&item).map(Value::from),
                SettingType::Integer => self.integer(&item, i64::MIN..=i64::MAX).map(Value::from),
                SettingType::Map => self.map(&item),
                SettingType::String => self.string(&item).map(Value::from),
                SettingType::Url => self.url(&item, insecure_http).map(Value::from),
            };
            settings.extend(value.map(|value| (item.key().to_owned(), value)));
        }
        settings
    }

    /// A table of strings: tags.
    fn map(&mut self, item: &Item<'t>) -> Option<Value> {
        let entries = self.table(item)?;
        let strings = entries
            .items()
            .filter_map(|entry| Some((entry.key().to_owned(), Value::from(self.string(&entry)?))));
        Some(Value::Object(strings.collect()))
    }

    /// Where the credentials come from. Without `[credentials]` it is the vendor's own chain.
    fn credentials(&mut self, root: &Table<'t>, manifest: Option<&Manifest>) -> Option<CredentialSource> {
        let chain =
            manifest.is_none_or(|manifest| manifest.operations.contains_key(&OperationKind::Credentials));
        let Some(item) = root.get("credentials") else {
            if !chain {
                self.note(
                    0,
                    "the plugin knows no place to look for credentials: add [credentials] with `env`, `file` or `command`",
                );
                return None;
            }
            return Some(CredentialSource::Chain { profile: None });
        };
        let table = self.table(&item)?;
        self.credential_source(&item, &table, manifest, chain)
    }
}

/// See [`Account::place`].
fn place(manifest: &Manifest, settings: &BTreeMap<String, Value>) -> String {
    let urls = settings.iter().filter_map(|(name, value)| {
        let is_url = manifest.settings.get(name)?.kind == SettingType::Url;
        let url = value.as_str().filter(|_| is_url)?;
        Some(format!("{name}={}", canonical_url(url)))
    });
    urls.collect::<Vec<_>>().join(" ")
}

/// Whether a value is one that TOML writes on one line.
fn is_scalar(value: &DeValue<'_>) -> bool {
    !matches!(value, DeValue::Array(_) | DeValue::Table(_))
}

const KNOWN: &[&str] = &[
    "check_every",
    "credentials",
    "endpoint",
    "insecure_http",
    "max_concurrent",
    "max_pairs",
    "max_per_second",
    "plugin",
    "region",
    "settings",
];
