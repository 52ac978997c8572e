//! The files that `keyferry init` would write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keyferry_engine::config;

use super::found::Offer;
use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::new_file;

/// A config directory to be. Files that are there already stay as they are.
pub(super) struct Draft {
    directory: PathBuf,
    /// Path and text of what is to be written.
    files: Vec<(PathBuf, String)>,
    /// What is there already.
    kept: Vec<PathBuf>,
    accounts: Vec<(String, String)>,
    names: BTreeSet<String>,
}

impl Draft {
    pub(super) fn new(directory: &Path) -> Self {
        let mut draft = Self {
            directory: directory.to_owned(),
            files: Vec::new(),
            kept: Vec::new(),
            accounts: Vec::new(),
            names: BTreeSet::new(),
        };
        draft.add("keyferry.toml", SETTINGS.to_owned());
        draft
    }

    /// One more account; or why its file would be refused, and then it is none.
    pub(super) fn account(
        &mut self,
        offer: &Offer,
        region: Option<&str>,
        catalogue: &Catalogue,
    ) -> Result<(), String> {
        let name = self.name(offer.plugin(), offer.profile.name.as_deref());
        let mut text = format!(
            "# {}\nplugin = {}\n",
            offer.profile.source,
            quoted(offer.plugin())
        );
        if let Some(region) = region {
            text.push_str(&format!("region = {}\n", quoted(region)));
        }
        if !offer.profile.settings.is_empty() {
            text.push_str("\n[settings]\n");
            for (setting, value) in &offer.profile.settings {
                // JSON's scalars are TOML's; tables are written inline.
                text.push_str(&format!("{} = {}\n", key(setting), inline(value)));
            }
        }
        if let Some(profile) = &offer.profile.name {
            text.push_str(&format!("\n[credentials]\nprofile = {}\n", quoted(profile)));
        }
        let file = format!("accounts/{name}.toml");
        if !self.is_there(&file)
            && let Err(problems) = config::check_account(&name, &text, catalogue)
        {
            self.names.remove(&name);
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            return Err(messages.join("; "));
        }
        self.add(&file, text);
        self.accounts.push((name, offer.plugin().to_owned()));
        Ok(())
    }

    /// A first key, of the first account.
    pub(super) fn first_key(&mut self, catalogue: &Catalogue) {
        let Some((account, plugin)) = self.accounts.first().cloned() else {
            return;
        };
        let imports = catalogue
            .facts(&plugin)
            .is_ok_and(|facts| !facts.manifest.algorithms.import.is_empty());
        let mut text = format!(
            "# A key: made here, its public half registered with the account, its private half in the agent alone.\n\
             account = {}\n",
            quoted(&account)
        );
        if !imports {
            text.push_str("generated_by = \"provider\"\n");
        }
        self.add("keys/first.toml", text);
    }

    pub(super) fn has_no_account(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether all of it is there already.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Every file with its text.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for path in &self.kept {
            text.push_str(&format!(
                "{} is there already and stays as it is\n",
                path.display()
            ));
        }
        for (path, content) in &self.files {
            text.push_str(&format!("\n{}\n", path.display()));
            for line in content.lines() {
                text.push_str(format!("    {line}").trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// Writes what is not there. Directories are made for the user alone.
    pub(super) fn write(&self) -> Result<(), Error> {
        for (path, text) in &self.files {
            new_file::write(path, text)?;
        }
        Ok(())
    }

    fn is_there(&self, file: &str) -> bool {
        self.directory.join(file).symlink_metadata().is_ok()
    }

    fn add(&mut self, file: &str, text: String) {
        let path = self.directory.join(file);
        if self.is_there(file) {
            self.kept.push(path);
        } else {
            self.files.push((path, text));
        }
    }

    /// A name for an account that no other has: `[a-z0-9][a-z0-9-]{0,47}`.
    fn name(&mut self, plugin: &str, profile: Option<&str>) -> String {
        let whole = match profile {
            Some(profile) => format!("{plugin}-{profile}"),
            None => plugin.to_owned(),
        };
        let fitted: String = whole
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .take(MAX_NAME - 3)
            .collect();
        let fitted = fitted.trim_matches('-').to_owned();
        let mut name = fitted.clone();
        let mut n = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{fitted}-{n}");
            n += 1;
        }
        name
    }
}

/// As a TOML basic string. What JSON escapes, TOML escapes alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// A key of TOML, quoted where it is not a bare one: the name is the plugin's word.
fn key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

fn inline(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), inline(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Array(items) => {
            let items = items.iter().map(inline);
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

const MAX_NAME: usize = 48;
const SETTINGS: &str = "# keyferry's own settings; all of them have good defaults. The example in the project's config/ names them.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let mut draft = Draft::new(Path::new("/nowhere"));
        assert_eq!(draft.name("aws-ec2", None), "aws-ec2");
        assert_eq!(
            draft.name("aws-ec2", Some("Prod_EU.west")),
            "aws-ec2-prod-eu-west"
        );
        assert_eq!(
            draft.name("aws-ec2", Some("prod eu/west")),
            "aws-ec2-prod-eu-west-2"
        );
        let long = draft.name("openstack-nova", Some(&"x".repeat(90)));
        assert!(long.len() <= MAX_NAME, "{long}");
        let again = draft.name("openstack-nova", Some(&"x".repeat(91)));
        assert!(again.len() <= MAX_NAME && again != long, "{again}");
    }

    #[test]
    fn texts_are_toml() {
        let value = serde_json::json!({"team": "we \"b\"\\", "n": 7, "on": true, "of": [{"x": "\u{7f}"}]});
        let odd = "c = 1 # \"\n[d]";
        let text = format!(
            "a = {}\nb = {}\n{} = 1\n{} = 2",
            quoted("x\ty\u{7f}é\"\n"),
            inline(&value),
            key("auth_url"),
            key(odd)
        );
        let read: toml::Table = text.parse().expect("TOML");
        assert_eq!(read["b"]["of"][0]["x"].as_str(), Some("\u{7f}"));
        assert_eq!(read["auth_url"].as_integer(), Some(1));
        assert_eq!(read[odd].as_integer(), Some(2));
        assert_eq!(read["a"].as_str(), Some("x\ty\u{7f}é\"\n"));
        assert_eq!(read["b"]["team"].as_str(), Some("we \"b\"\\"));
    }
}
