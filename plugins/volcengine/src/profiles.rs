//! What the vendor's own tools would find on this machine.

use keyferry_plugin::contract::{Document, Outcome, Profile, Step};
use keyferry_plugin::{Answer, Turn};
use serde_json::{Value, json};

use crate::config::MODES;
use crate::credentials::{CONFIG, ENVIRONMENT};

/// The profiles of the environment and of the command line's file, that file's own default first.
///
/// # Errors
/// [`Internal`](keyferry_plugin::contract::ErrorKind::Internal) when a step is out of turn.
pub fn profiles(turn: &Turn<'_>) -> Answer {
    let Some(document) = turn.document()? else {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    };
    if document.source == ENVIRONMENT {
        let complete = document.text("/VOLCENGINE_ACCESS_KEY").is_some()
            && document.secret("/VOLCENGINE_SECRET_KEY").is_some();
        return Ok(Step::read(CONFIG, json!(complete)));
    }
    let environment = turn.state::<bool>()?.then(|| Profile {
        source: "environment".to_owned(),
        ..Profile::default()
    });
    let profiles = environment.into_iter().chain(of_config(document)).collect();
    Ok(Step::done(Outcome::Profiles(profiles)))
}

fn of_config(document: &Document) -> Vec<Profile> {
    let current = document.text("/current").unwrap_or("default");
    let profiles = document.content["profiles"].as_object();
    let mut profiles: Vec<Profile> = profiles
        .into_iter()
        .flatten()
        .map(|(name, profile)| {
            let field = |field: &str| {
                profile[field]
                    .as_str()
                    .map(str::trim)
                    .filter(|text| !text.is_empty())
            };
            let mode = field("mode").unwrap_or_default();
            let known =
                ["", "ak", "ststoken", "ramrolearn", "ecsrole"].contains(&&*mode.to_ascii_lowercase());
            Profile {
                name: Some(name.clone()),
                source: format!("profile {name:?} of {}", document.location),
                region: field("region").map(str::to_owned),
                unusable: (!known).then(|| format!("its mode {mode:?} is not in this version, only {MODES}")),
                ..Profile::default()
            }
        })
        .collect();
    profiles.sort_by_key(|profile| profile.name.as_deref() != Some(current));
    profiles
}
