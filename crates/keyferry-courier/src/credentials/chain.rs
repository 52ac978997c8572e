//! The vendor's own chain: the plugin's `credentials` operation, which asks for sources that its manifest lists.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use keyferry_plugin::Step;
use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Document, Effect, Operation, OperationKind, Outcome, Reply,
};
use keyferry_plugin::manifest::{EnvironmentSource, FieldClass, FileFormat, FileSource, Source};
use serde_json::{Map, Value};

use super::document::{Handles, filtered};
use super::object::{WipedValue, expand, parse_json, read};
use super::{Raw, ini, missing};
use crate::enforce::blanking::Blanker;
use crate::enforce::{Refusal, Rule, caps, cleaning, hosts};
use crate::job::{JobError, JobRequest};
use crate::process::Shared;
use crate::recipe::Fields;
use crate::secret::Secret;
use crate::step::{Moment, ask, refused};

/// Runs the plugin's `credentials` operation.
pub(super) fn obtain(shared: &Shared, profile: Option<String>, deadline: Instant) -> Result<Raw, JobError> {
    let manifest = &shared.setup.library.manifest;
    let plugin = &manifest.name;
    if !manifest.operations.contains_key(&OperationKind::Credentials) {
        let message =
            format!("plugin {plugin} knows no chain of its own: name env, file or command in [credentials]");
        return Err(missing(shared, message));
    }
    let operation = Operation::Credentials(keyferry_plugin::contract::Credentials { profile });
    let job = JobRequest::new(operation.clone(), "0".repeat(32));
    let refuse = |refusal: Refusal| refused(shared, refusal, Effect::None);
    let misbehaved = |message: String| JobError::Plugin {
        message,
        effect: Effect::None,
    };
    let mut handles = Handles::default();
    let mut steps = caps::Steps::new(OperationKind::Credentials);
    let (mut state, mut reply) = (Value::Null, None);
    loop {
        steps
            .take()
            .and_then(|()| caps::check_state(&state))
            .map_err(refuse)?;
        if Instant::now() >= deadline {
            return Err(missing(shared, "the chain took too long".to_owned()));
        }
        let step = ask(
            shared,
            &job,
            &operation,
            &Fields::new(),
            Moment::of(None),
            state,
            reply.take(),
        );
        match step.map_err(misbehaved)? {
            Step::Read(step) => {
                let Some(source) = manifest.sources.get(&step.source) else {
                    let name = cleaning::clean(&step.source, 60);
                    return Err(refuse(Refusal::new(
                        Rule::Call,
                        format!("wanted to read `{name}`, which is not a source of its manifest"),
                    )));
                };
                let document = read_source(shared, &step.source, source, &mut handles)
                    .map_err(|message| missing(shared, message))?;
                reply = Some(Reply::Document(document));
                state = step.state;
            }
            Step::Done(step) => {
                let Outcome::Credentials(set) = step.outcome else {
                    return Err(misbehaved(format!(
                        "plugin {plugin} answered credentials with something else: report it to its author"
                    )));
                };
                if step.session.is_some() {
                    return Err(refuse(Refusal::new(
                        Rule::Version,
                        "wanted to keep a session: not in this version",
                    )));
                }
                return resolved(shared, set, &handles).map_err(refuse);
            }
            Step::Fail(step) => {
                // What the plugin saw holds no secret; a vendor's file may still repeat one in a public field.
                let mut blanker = Blanker::default();
                for secret in handles.secrets() {
                    blanker.add_value(secret.expose(), "secret");
                }
                let message = blanker.shown(&step.error.message, cleaning::MAX_MESSAGE);
                return Err(missing(shared, message));
            }
            Step::Http(step) => {
                let region = shared.region(&job);
                let allowed = hosts::Hosts {
                    kind: OperationKind::Credentials,
                    listed: &manifest.hosts,
                    region,
                    endpoint: shared.endpoint.as_ref(),
                    reach: &crate::enforce::reach::Reach::default(),
                };
                hosts::check(&step.request.origin, allowed).map_err(refuse)?;
                return Err(refuse(Refusal::new(
                    Rule::Version,
                    "wanted to send a request to obtain credentials: not in this version",
                )));
            }
            Step::Wait(_) => {
                return Err(refuse(Refusal::new(
                    Rule::Version,
                    "wanted to wait for credentials: not in this version",
                )));
            }
            Step::Run(_) => {
                return Err(refuse(Refusal::new(
                    Rule::Version,
                    "wanted to run a command: not in this version",
                )));
            }
        }
    }
}

/// Puts the secrets in place of their handles. A secret becomes the one field that the manifest says it is, never a public
/// one, and a text never a secret one.
fn resolved(shared: &Shared, set: CredentialSet, handles: &Handles) -> Result<Raw, Refusal> {
    let manifest = &shared.setup.library.manifest;
    let refuse = |message: String| Err(Refusal::new(Rule::CredentialPlace, message));
    let mut fields = BTreeMap::new();
    for (name, value) in set.fields {
        let shown = cleaning::clean(&name, 60);
        let class = manifest.credentials.get(&name).map(|field| field.class);
        let secret = match (class, value) {
            (Some(FieldClass::Public), CredentialValue::Text(text)) => Secret::from_text(&text),
            (Some(FieldClass::HmacKey | FieldClass::Bearer), CredentialValue::Handle(handle)) => {
                match handles.get(&handle) {
                    Some((field, secret)) if field == name => secret.duplicate(),
                    Some((field, _)) => {
                        return refuse(format!("wanted to use the secret of `{field}` as `{shown}`"));
                    }
                    None => return refuse(format!("gave a handle for `{shown}` that it was not given")),
                }
            }
            (Some(FieldClass::Public), CredentialValue::Handle(_)) => {
                return refuse(format!("wanted to use a secret as the public field `{shown}`"));
            }
            (Some(_), CredentialValue::Text(_)) => {
                return refuse(format!("gave a text of its own for the secret field `{shown}`"));
            }
            (Some(_), CredentialValue::Kept) => {
                return refuse(format!("wanted to keep `{shown}`, which was not given"));
            }
            (None, _) => {
                return refuse(format!(
                    "gave `{shown}`, which is not one of its credential fields"
                ));
            }
        };
        fields.insert(name, secret);
    }
    Ok(Raw {
        fields,
        expires_at: set.expires_at,
        source: cleaning::clean(&set.source, 200),
        places: BTreeMap::new(),
    })
}

fn read_source(
    shared: &Shared,
    name: &str,
    source: &Source,
    handles: &mut Handles,
) -> Result<Document, String> {
    match source {
        // The manifest's rules refuse them.
        Source::Command(_) => Err(format!("{name} is a command's output: not in this version")),
        Source::Environment(variables) => read_environment(shared, name, variables, handles),
        Source::File(file) => read_listed_file(shared, name, file, handles),
    }
}

fn read_environment(
    shared: &Shared,
    name: &str,
    variables: &EnvironmentSource,
    handles: &mut Handles,
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
            Some(field) => handles.keep(value.duplicate(), field),
            None => Value::String(text.to_owned()),
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

fn read_listed_file(
    shared: &Shared,
    name: &str,
    file: &FileSource,
    handles: &mut Handles,
) -> Result<Document, String> {
    let home = shared.setup.home.as_deref();
    let named = match &file.path_variable {
        None => None,
        Some(variable) => {
            let value = shared
                .line
                .variables(vec![variable.clone()])?
                .into_iter()
                .find_map(|(_, value)| value);
            let text = value.map(|value| std::str::from_utf8(value.expose()).map(str::to_owned));
            text.transpose()
                .map_err(|_| format!("the variable {variable} is not UTF-8"))?
                .filter(|text| !text.is_empty())
        }
    };
    let path = expand(Path::new(named.as_deref().unwrap_or(&file.path)), home)?;
    let location = path.display().to_string();
    let mut document = Document {
        source: name.to_owned(),
        location: location.clone(),
        found: false,
        content: Value::Null,
    };
    match path.metadata() {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(document);
        }
        Err(error) => return Err(format!("cannot read {location}: {error}")),
        Ok(_) => {}
    }
    keyferry_ownership::check(&path).map_err(|error| format!("the file is not used: {error}"))?;
    let bytes = read(&path).map_err(|error| format!("cannot read {location}: {error}"))?;
    // Files saved by an editor of Windows begin with a mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let value: WipedValue = match file.format {
        FileFormat::Json => parse_json(bytes, &location)?,
        FileFormat::Text | FileFormat::Yaml => {
            return Err(format!("{location} is of a format that is not in this version"));
        }
        FileFormat::Ini => {
            ini::parse(std::str::from_utf8(bytes).map_err(|_| format!("{location} is not UTF-8"))?)
        }
    };
    document.found = true;
    document.content = filtered(&value.0, &file.public, &file.secret, handles);
    Ok(document)
}
