//! `keyferry plugin`: looking at plugins; `install` has those commands that change something.

use std::path::Path;
use std::sync::Arc;

use keyferry_engine::config::{self, Plugins as _};
use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{FieldClass, Manifest, Source};
use keyferry_sandbox::LoadError;
use keyferry_sandbox::library::LibraryFacts;
use serde_json::json;

use crate::catalogue::{Catalogue, Listed};
use crate::cli::PluginDirectories;
use crate::error::Error;
use crate::exit::Exit;
use crate::paths;
use crate::table::{self, Style, Table};
use crate::trust::meaning_for_instance;

pub(crate) mod commands;
mod conformance;
mod install;
mod scaffold;

/// `keyferry plugin list`.
pub(crate) fn list(plugins: &PluginDirectories, config: Option<&Path>, json: bool) -> Result<Exit, Error> {
    let catalogue = open(plugins, config)?;
    let listed = catalogue.list();
    if json {
        let plugins: Vec<serde_json::Value> = listed
            .iter()
            .map(|listed| {
                let mut plugin = json!(listed.status);
                plugin["pin"] = json!(listed.pin);
                plugin
            })
            .collect();
        table::print(&format!("{:#}", json!({"plugins": plugins})))?;
    } else if listed.is_empty() {
        let places: Vec<String> = catalogue
            .directories()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        table::print(&format!("no plugins in {}", places.join(", ")))?;
    } else {
        let style = Style::of_stdout();
        let mut rows = Table::new(&["PLUGIN", "VERSION", "PIN", "LIBRARY"]);
        for Listed { status, pin } in &listed {
            let version = status.version.clone().unwrap_or_else(|| style.bad("unusable"));
            let pin = match *pin {
                "pinned" | "not pinned" => (*pin).to_owned(),
                other => style.bad(other),
            };
            rows.row(vec![status.name.clone(), version, pin, status.path.clone()]);
        }
        table::print(rows.render(style).trim_end())?;
        for Listed { status, .. } in &listed {
            if let Some(error) = &status.error {
                table::print(&format!("\n{}: {}", style.bad(&status.name), error.message))?;
            }
        }
    }
    let good = listed.iter().all(|listed| listed.status.error.is_none());
    Ok(if good { Exit::Fine } else { Exit::Failed })
}

/// `keyferry plugin info`.
pub(crate) fn info(
    name: &str,
    plugins: &PluginDirectories,
    config: Option<&Path>,
    json: bool,
) -> Result<Exit, Error> {
    let catalogue = open(plugins, config)?;
    // Also of one that is not loaded: what it may do is what one has to know to accept it.
    let facts = inspected(&catalogue, name)?;
    if json {
        let text = serde_json::to_string_pretty(&facts.manifest)
            .map_err(|error| Error::Answer(error.to_string()))?;
        table::print(&text)?;
    } else {
        let pin = install::standing(&catalogue, &facts).unwrap_or_else(|error| error.to_string());
        table::print(&described(&facts, &pin))?;
        for change in install::changes(&catalogue, &facts).unwrap_or_default() {
            table::print(&format!("  {change}"))?;
        }
    }
    Ok(Exit::Fine)
}

/// The catalogue as the daemon would see it: `--plugin-dir`, else keyferry.toml's directories, else the built-in ones.
pub(crate) fn open(plugins: &PluginDirectories, config: Option<&Path>) -> Result<Catalogue, Error> {
    let directory = paths::config(config).ok();
    let catalogue = Catalogue::new(&plugins.plugin_dirs, directory.as_deref())?;
    if let Some(directory) = directory {
        // Reading tells the catalogue what keyferry.toml says of plugins; what else is wrong there is `check`'s affair.
        let _ = config::check(&directory, &catalogue);
    }
    Ok(catalogue)
}

/// What the library of a plugin that may be loaded says about itself; of a name that is not there, the nearest that is.
pub(crate) fn facts(catalogue: &Catalogue, name: &str) -> Result<Arc<LibraryFacts>, Error> {
    with_nearest(catalogue, name, catalogue.facts(name))
}

/// The same of any plugin.
fn inspected(catalogue: &Catalogue, name: &str) -> Result<Arc<LibraryFacts>, Error> {
    with_nearest(catalogue, name, catalogue.inspected(name))
}

fn with_nearest(
    catalogue: &Catalogue,
    name: &str,
    facts: Result<Arc<LibraryFacts>, LoadError>,
) -> Result<Arc<LibraryFacts>, Error> {
    facts.map_err(|error| {
        let nearest = match &error {
            LoadError::NotFound { .. } => {
                config::suggestion(name, catalogue.names().iter().map(String::as_str))
            }
            _ => String::new(),
        };
        Error::Plugin(format!("{error}{nearest}"))
    })
}

/// What a plugin is and may do, and how it stands to its pin.
fn described(facts: &LibraryFacts, pin: &str) -> String {
    let path = facts.path.display();
    let library = format!("{path} (contract {}.{})", facts.major, facts.minor);
    let manifest: &Manifest = &facts.manifest;
    let style = Style::of_stdout();
    let mut text = format!(
        "{} {}\n{}\n",
        style.heading(&manifest.name),
        manifest.version,
        manifest.title
    );
    let mut line =
        |name: &str, value: String| text.push_str(&format!("\n{:<13} {value}", format!("{name}:")));
    let list = |words: Vec<String>| words.join("\n              ");
    line("library", library);
    line("sha256", facts.sha256.clone());
    line("sends to", list(manifest.hosts.clone()));
    let mut calls = Vec::new();
    for (operation, rules) in &manifest.operations {
        for call in &rules.calls {
            // What tells calls of one path apart: headers, and parameters of one value.
            let headers = call
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}"));
            let fixed = call.required.iter().filter_map(|name| {
                let value = call.parameters.get(name)?;
                (value != "*" && !value.contains('{')).then(|| format!("{name}={value}"))
            });
            let withheld = call.secrets.iter().map(|place| format!("without {place}"));
            let target: Vec<String> = headers.chain(fixed).chain(withheld).collect();
            calls.push(format!(
                "{operation:<12} {} {} {}",
                call.method,
                call.path,
                target.join(", ")
            ));
        }
        if rules.calls.is_empty() {
            calls.push(format!("{operation:<12} sends nothing"));
        }
    }
    line("calls", list(calls));
    // What is to be granted, once each, however many operations need it.
    let mut permissions: Vec<String> = Vec::new();
    for permission in manifest.operations.values().flat_map(|rules| &rules.permissions) {
        if !permissions.contains(permission) {
            permissions.push(permission.clone());
        }
    }
    line("permissions", list(permissions));
    let mut sources = Vec::new();
    for source in manifest.sources.values() {
        match source {
            Source::Environment(environment) => {
                let secret = environment
                    .secret
                    .iter()
                    .map(|(name, field)| format!("{name} (as {field})"));
                let names = environment.public.iter().cloned().chain(secret);
                sources.push(format!("variables {}", names.collect::<Vec<_>>().join(", ")));
            }
            Source::Command(command) => {
                let fields = command
                    .secret
                    .iter()
                    .map(|(pointer, field)| format!("  {pointer} (as {field})"));
                sources.push("what a command of those files prints".to_owned());
                sources.extend(fields);
            }
            Source::File(file) => {
                let other = file
                    .path_variable
                    .as_ref()
                    .map(|name| format!(" (or what ${name} names)"));
                let paths = std::iter::once(&file.path).chain(&file.alternatives);
                let paths: Vec<&str> = paths
                    .filter(|path| !path.is_empty())
                    .map(String::as_str)
                    .collect();
                sources.push(format!(
                    "file {}{}",
                    paths.join(", else "),
                    other.unwrap_or_default()
                ));
                let commands = file.commands.keys();
                sources.extend(commands.map(|field| format!("  {field} (a command, run for its output)")));
                let secret = file.secret.iter();
                sources.extend(secret.map(|(pointer, field)| format!("  {pointer} (as {field})")));
            }
        }
    }
    line("reads", list(sources));
    let credentials = manifest.credentials.iter().map(|(name, field)| {
        let use_of = match field.class {
            FieldClass::Bearer => format!("sent only as {}", field.places.join(", ")),
            FieldClass::HmacKey => "signs, is never sent".to_owned(),
            FieldClass::Public => "public".to_owned(),
        };
        format!(
            "{name} ({use_of}{})",
            if field.optional { ", optional" } else { "" }
        )
    });
    line("credentials", list(credentials.collect()));
    let settings = manifest
        .settings
        .iter()
        .map(|(name, rules)| format!("{name}: {}", rules.help));
    line("settings", list(settings.collect()));
    let names = |algorithms: &[keyferry_plugin::contract::Algorithm]| {
        algorithms
            .iter()
            .map(|algorithm| algorithm.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    line("imports", names(&manifest.algorithms.import));
    line("creates", names(&manifest.algorithms.create));
    if let Some(quota) = &manifest.quota {
        line("limit", format!("{} pairs per {}", quota.pairs, quota.scope));
    }
    let attach = manifest.operations.get(&OperationKind::Attach);
    if let Some(means) = attach.and_then(|rules| rules.instance) {
        // What a person is told before anything is attached.
        line(
            "attaching",
            list(meaning_for_instance(means).map(str::to_owned).to_vec()),
        );
    }
    line("pin", pin.to_owned());
    text
}
