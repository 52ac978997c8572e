//! The profiles of `~/.aws/credentials` and `~/.aws/config`.

use keyferry_plugin::contract::{CredentialValue, Document};
use serde_json::{Map, Value};

use super::{CONFIG_FILE, Keys};

/// Both files. Of a field that both have, the one of the credentials file counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profiles<'a> {
    files: &'a [Document],
}

/// What the files say under one name.
#[derive(Clone, Debug)]
pub(super) struct Profile<'a> {
    name: &'a str,
    /// Of the credentials file first.
    sections: Vec<Section<'a>>,
}

/// One section of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    file: &'a Document,
    /// As it stands between the brackets.
    title: &'a str,
    profile: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Profiles<'a> {
    pub(super) fn new(files: &'a [Document]) -> Self {
        Self { files }
    }

    /// The names of all profiles, each once.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self
            .files
            .iter()
            .flat_map(|file| sections(file).map(|section| section.profile))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// The profile of this name; without fields where there is none.
    pub(super) fn profile<'n>(&self, name: &'n str) -> Profile<'n>
    where
        'a: 'n,
    {
        let sections = self
            .files
            .iter()
            .flat_map(|file| sections(file).filter(|section| section.profile == name))
            .collect();
        Profile { name, sections }
    }

    /// Why each file has no keys for this profile.
    pub(super) fn misses(&self, name: &str) -> Vec<String> {
        let miss = |file: &Document| {
            let place = &file.location;
            if !file.found {
                format!("{place}: no such file")
            } else if sections(file).all(|section| section.profile != name) {
                format!("{place}: no profile {name:?}")
            } else {
                format!("{place}: profile {name:?} has no keys")
            }
        };
        self.files.iter().map(miss).collect()
    }

    /// Where both files are.
    pub(super) fn locations(&self) -> String {
        let places: Vec<&str> = self.files.iter().map(|file| file.location.as_str()).collect();
        places.join(" and ")
    }
}

impl<'a> Profile<'a> {
    /// In words.
    pub(super) fn source(&self) -> String {
        let places: Vec<&str> = self
            .sections
            .iter()
            .map(|section| section.file.location.as_str())
            .collect();
        format!("profile {:?} of {}", self.name, places.join(" and "))
    }

    pub(super) fn text(&self, field: &str) -> Option<&'a str> {
        self.sections
            .iter()
            .find_map(|section| text(section.fields, field))
    }

    /// Whether it has keys of its own, complete or not.
    pub(super) fn has_keys(&self) -> bool {
        self.sections.iter().any(|section| {
            ["aws_access_key_id", "aws_secret_access_key"]
                .iter()
                .any(|field| section.fields.get(*field).is_some_and(|value| !value.is_null()))
        })
    }

    /// The keys that this file has under this name.
    ///
    /// # Errors
    /// In words, when there is an id without a secret.
    pub(super) fn keys(&self, source: &str) -> Result<Option<Keys>, String> {
        let mut of_file = self
            .sections
            .iter()
            .filter(|section| section.file.source == source);
        of_file.find_map(|section| section.keys().transpose()).transpose()
    }

    /// The source and the JSON pointer of the profile's command.
    pub(super) fn command(&self) -> Option<(&'a str, String)> {
        let field = "credential_process";
        let section = self
            .sections
            .iter()
            .find(|section| section.fields.get(field) == Some(&Value::Bool(true)))?;
        let title = section.title.replace('~', "~0").replace('/', "~1");
        Some((&section.file.source, format!("/{title}/{field}")))
    }
}

impl Section<'_> {
    fn keys(&self) -> Result<Option<Keys>, String> {
        let Some(id) = text(self.fields, "aws_access_key_id") else {
            return Ok(None);
        };
        let source = format!("profile {:?} of {}", self.profile, self.file.location);
        let secret = handle(self.fields, "aws_secret_access_key")
            .ok_or_else(|| format!("{source} has no aws_secret_access_key"))?;
        let token = ["aws_security_token", "aws_session_token"]
            .iter()
            .find_map(|field| handle(self.fields, field));
        Ok(Some(Keys {
            id: id.to_owned(),
            secret,
            token,
            expires_at: None,
            source,
        }))
    }
}

fn sections(file: &Document) -> impl Iterator<Item = Section<'_>> {
    let members = file.content.as_object();
    members.into_iter().flatten().filter_map(|(title, fields)| {
        let profile = match &*file.source {
            CONFIG_FILE => profile_of_config(title)?,
            _ => title,
        };
        Some(Section {
            file,
            title,
            profile,
            fields: fields.as_object()?,
        })
    })
}

/// In the config file a section is `default`, or `profile NAME` where the name may be in quotes; others are no profiles.
fn profile_of_config(title: &str) -> Option<&str> {
    if title == "default" {
        return Some(title);
    }
    let rest = title.strip_prefix("profile")?;
    let name = rest.trim_start();
    if name.len() == rest.len() {
        return None;
    }
    let quoted = |quote| name.strip_prefix(quote)?.strip_suffix(quote);
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(name))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = fields.get(name)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

fn handle(fields: &Map<String, Value>, name: &str) -> Option<CredentialValue> {
    let handle = fields.get(name)?.get("handle")?.as_str()?;
    Some(CredentialValue::Handle(handle.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_the_config_file_names_its_profile() {
        for (title, expected) in [
            ("default", Some("default")),
            ("profile default", Some("default")),
            ("profile prod", Some("prod")),
            ("profile  \"big team\"", Some("big team")),
            ("profile 'x'", Some("x")),
            ("profile \"", Some("\"")),
            ("profiles", None),
            ("profile", None),
            ("sso-session corp", None),
        ] {
            assert_eq!(profile_of_config(title), expected, "{title}");
        }
    }
}
