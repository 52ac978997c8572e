//! What keeps `keyferry init` from a config directory that works, said before anything is written where that can be.

use std::collections::BTreeMap;
use std::path::Path;

use keyferry_engine::config;
use keyferry_engine::desired::{FileReport, FileState};

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::table;

/// What is there already, or the folder that the directory will be made in, is not as it must be.
///
/// The files of keys are left to [`as_written`]: an account that is written now may be the one that such a file names.
pub(super) fn before_writing(directory: &Path, catalogue: &Catalogue) -> Result<(), Error> {
    if !directory.exists() {
        let there = directory.ancestors().find(|path| path.symlink_metadata().is_ok());
        let trusted = there.map_or(Ok(()), keyferry_ownership::check);
        return trusted.map_err(|distrust| Error::Refused(format!("{distrust}\n  nothing was written")));
    }
    let keys = directory.join("keys");
    let mut bad = problems(directory, catalogue, |report| {
        report.path.parent() != Some(keys.as_path())
    });
    if bad.is_empty() {
        return Ok(());
    }
    bad.push("mend that first, and start this again: nothing was written".to_owned());
    Err(Error::Refused(bad.join("\n  ")))
}

/// Anything in the directory is not as it must be.
pub(super) fn as_written(directory: &Path, catalogue: &Catalogue) -> Result<(), Error> {
    let bad = problems(directory, catalogue, |_| true);
    match bad.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused(bad.join("\n  "))),
    }
}

/// Says which plugins cannot be used; an error when none can.
pub(super) fn of_plugins(catalogue: &Catalogue) -> Result<(), Error> {
    let plugins = catalogue.statuses();
    if plugins.is_empty() {
        let places = catalogue.directories();
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::Plugin(format!(
            "no plugins in {}\n  name the directory that holds them with --plugin-dir",
            places.join(", ")
        )));
    }
    // One cause, such as an unreadable plugins.lock, may keep all of them from being used.
    let mut causes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in &plugins {
        if let Some(error) = &plugin.error {
            causes.entry(&error.message).or_default().push(&plugin.name);
        }
    }
    let lines: Vec<String> = causes
        .iter()
        .map(|(cause, names)| format!("{} cannot be used: {cause}", names.join(", ")))
        .collect();
    if plugins.iter().all(|plugin| plugin.error.is_some()) {
        return Err(Error::Plugin(lines.join("\n  ")));
    }
    lines.iter().for_each(|line| table::complain(line));
    Ok(())
}

fn problems(directory: &Path, catalogue: &Catalogue, wanted: impl Fn(&FileReport) -> bool) -> Vec<String> {
    config::check(directory, catalogue)
        .into_iter()
        .filter(|report| report.state != FileState::Loaded && wanted(report))
        .flat_map(|report| {
            let path = report.path.display().to_string();
            let further = report.further.into_iter().map(|problem| problem.message);
            let messages: Vec<String> = report.message.into_iter().chain(further).collect();
            messages
                .into_iter()
                .map(move |message| format!("{path}: {message}"))
        })
        .collect()
}
