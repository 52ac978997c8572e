//! Reads the sources that a manifest lists, as documents for the plugin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyferry_plugin::contract::{Document, Effect};
use keyferry_plugin::manifest::{EnvironmentSource, FileFormat, FileSource, Manifest, Source};
use serde_json::{Map, Value};

use super::document::{Handles, Listed, Named, filtered, texts};
use super::object::{WipedValue, expand, parse_json, read};
use super::{ini, missing, protected, yaml};
use crate::enforce::blanking::Blanker;
use crate::enforce::{Refusal, Rule, captures, cleaning};
use crate::job::JobError;
use crate::process::Shared;
use crate::recipe::{Field, Fields};
use crate::secret::Secret;
use crate::step::refused;

/// What was read in one operation, besides what the plugin sees of it.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) handles: Handles,
    /// Texts of fields that the manifest says are URLs.
    pub(super) urls: Vec<String>,
    /// Commands that fields hold, by their source.
    commands: Vec<(String, Named)>,
    /// So many of the handles' secrets were already told of.
    told: usize,
}

/// Why a source was not read.
pub(super) enum ReadError {
    /// It is there and cannot be used.
    Failed(String),
    /// It is none of the manifest's.
    Refused(Refusal),
}

impl ReadError {
    pub(super) fn told(self, shared: &Shared) -> JobError {
        match self {
            Self::Failed(message) => missing(shared, message),
            Self::Refused(refusal) => refused(shared, refusal, Effect::None),
        }
    }
}

impl Sources {
    /// Reads a source that the manifest lists.
    pub(super) fn read(&mut self, shared: &Shared, name: &str) -> Result<Document, ReadError> {
        let refuse = |what: &str| {
            let name = cleaning::clean(name, 60);
            let message = format!("wanted to read `{name}`, which is {what}");
            Err(ReadError::Refused(Refusal::new(Rule::Call, message)))
        };
        match shared.setup.library.manifest.sources.get(name) {
            None => refuse("not a source of its manifest"),
            Some(Source::Command(_)) => refuse("what a command prints: it is run by the field that names it"),
            Some(Source::Environment(variables)) => self
                .environment(shared, name, variables)
                .map_err(ReadError::Failed),
            Some(Source::File(file)) => self.file(shared, name, file).map_err(ReadError::Failed),
        }
    }

    /// The secrets that were read, as recipes may name them: each is the field that the manifest says it is.
    pub(super) fn values(&self, manifest: &Manifest) -> Fields {
        let values = self.handles.iter().filter_map(|(handle, of, secret)| {
            let field = Field {
                class: manifest.credentials.get(of)?.class,
                of: Some(of.to_owned()),
                value: secret.duplicate(),
            };
            Some((handle, field))
        });
        values.collect()
    }

    /// The secrets that were read since this was asked last, each with its field.
    pub(super) fn new_secrets(&mut self) -> impl Iterator<Item = (&str, &Secret)> {
        let told = std::mem::replace(&mut self.told, self.handles.len());
        self.handles.since(told)
    }

    /// Blanks all secrets that were read.
    pub(super) fn blanker(&self) -> Blanker {
        let mut blanker = Blanker::default();
        for (_, field, secret) in self.handles.iter() {
            blanker.add_value(secret.expose(), field);
        }
        blanker
    }

    /// The command that a field of a source holds, where it was read.
    pub(super) fn command(&self, source: &str, field: &str) -> Option<&Named> {
        // A source that was read again counts as it is now.
        self.commands
            .iter()
            .rev()
            .find_map(|(of, named)| (of == source && named.field == field).then_some(named))
    }

    /// Variables of the worker's environment.
    fn environment(
        &mut self,
        shared: &Shared,
        name: &str,
        variables: &EnvironmentSource,
    ) -> Result<Document, String> {
        let names = variables
            .public
            .iter()
            .chain(variables.secret.keys())
            .cloned()
            .collect();
        let mut content = Map::new();
        for (variable, value) in shared.line.variables(names)? {
            let Some(value) = value else { continue };
            let Ok(text) = std::str::from_utf8(value.expose()) else {
                return Err(format!("the variable {variable} is not UTF-8"));
            };
            let seen = match variables.secret.get(&variable) {
                Some(_) if text.is_empty() => Value::Null,
                Some(field) => {
                    let place = format!("the variable {variable}");
                    self.handles.keep(value.duplicate(), field, &place)?
                }
                None => {
                    if variables.urls.contains(&variable) {
                        self.urls.push(text.to_owned());
                    }
                    Value::String(text.to_owned())
                }
            };
            content.insert(variable, seen);
        }
        Ok(Document {
            source: name.to_owned(),
            location: "environment".to_owned(),
            found: !content.is_empty(),
            content: Value::Object(content),
        })
    }

    /// A file.
    fn file(&mut self, shared: &Shared, name: &str, file: &FileSource) -> Result<Document, String> {
        let mut document = Document {
            source: name.to_owned(),
            location: String::new(),
            found: false,
            content: Value::Null,
        };
        let path = match found(shared, file)? {
            Ok(path) => path,
            Err(location) => return Ok(Document { location, ..document }),
        };
        let location = path.display().to_string();
        keyferry_ownership::check(&path).map_err(|error| format!("the file is not used: {error}"))?;
        let bytes = read(&path).map_err(|error| format!("cannot read {location}: {error}"))?;
        // Files saved by an editor of Windows begin with a mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = || std::str::from_utf8(bytes).map_err(|_| format!("{location} is not UTF-8"));
        // Of a plugin that names the file of a key for that of a token, nothing leaves this process.
        if file.format == FileFormat::Text && captures::holds_private_key(bytes) {
            return Err(format!("{location} holds a private key, which is no token"));
        }
        let value = match file.format {
            FileFormat::Ini => ini::parse(text()?, file.inline_comments),
            FileFormat::Json => parse_json(bytes, &location)?,
            FileFormat::Text => WipedValue(Value::String(text()?.trim().to_owned())),
            FileFormat::Yaml => yaml::parse(text()?, &location)?,
        };
        let listed = Listed {
            public: &file.public,
            secret: &file.secret,
            commands: &file.commands,
        };
        let (seen, commands) = filtered(&value.0, listed, &location, &mut self.handles)?;
        let urls = texts(&seen, &file.urls).into_iter().map(str::to_owned);
        self.urls.extend(urls);
        self.commands
            .extend(commands.into_iter().map(|named| (name.to_owned(), named)));
        document.location = location;
        document.found = true;
        document.content = seen;
        Ok(document)
    }

    /// What a command printed: a document of this source.
    pub(super) fn output(
        &mut self,
        shared: &Shared,
        name: &str,
        printed: &[u8],
        location: String,
    ) -> Result<Document, String> {
        let Some(Source::Command(source)) = shared.setup.library.manifest.sources.get(name) else {
            return Err(format!("the manifest does not say what {location} holds"));
        };
        let value = parse_json(printed, &location)?;
        if !value.0.is_object() {
            return Err(format!("{location} does not hold a JSON object"));
        }
        let listed = Listed {
            public: &source.public,
            secret: &source.secret,
            commands: &BTreeMap::new(),
        };
        let (content, _) = filtered(&value.0, listed, &location, &mut self.handles)?;
        Ok(Document {
            source: name.to_owned(),
            location,
            found: true,
            content,
        })
    }
}

/// The path at which a file is, or where it was looked for in vain.
fn found(shared: &Shared, file: &FileSource) -> Result<Result<PathBuf, String>, String> {
    let home = shared.setup.home.as_deref();
    let mut named = None;
    if let Some(variable) = &file.path_variable {
        let value = shared
            .line
            .variables(vec![variable.clone()])?
            .into_iter()
            .find_map(|(_, value)| value);
        named = value
            .as_ref()
            .map(Secret::expose)
            .map(|bytes| std::str::from_utf8(bytes).map(str::to_owned))
            .transpose()
            .map_err(|_| format!("the variable {variable} is not UTF-8"))?
            .filter(|text| !text.is_empty());
    }
    let candidates: Vec<&str> = match (&named, file.path.as_str()) {
        (Some(path), _) => vec![path],
        (None, "") => file.alternatives.iter().map(String::as_str).collect(),
        (None, path) => std::iter::once(path)
            .chain(file.alternatives.iter().map(String::as_str))
            .collect(),
    };
    let mut looked = Vec::new();
    for candidate in candidates {
        let path = expand(Path::new(candidate), home)?;
        match path.metadata() {
            Ok(_) => {
                let variable = file.path_variable.as_deref().filter(|_| named.is_some());
                protected::check(&path, home, variable)?;
                return Ok(Ok(path));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                looked.push(path.display().to_string());
            }
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    Ok(Err(match (looked.as_slice(), &file.path_variable) {
        ([], Some(variable)) => format!("the file that {variable} names, which is not set"),
        _ => looked.join(", "),
    }))
}
