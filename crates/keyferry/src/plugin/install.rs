//! `keyferry plugin add`, `remove` and `pin`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use keyferry_sandbox::LibraryFacts;
use keyferry_sandbox::library::{self, Pin};

use super::commands::{AddArguments, PinArguments, RemoveArguments};
use super::{described, open};
use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::exit::Exit;
use crate::{paths, pins, table};

/// `keyferry plugin add`.
pub(super) fn add(arguments: &AddArguments) -> Result<Exit, Error> {
    let catalogue = open(&arguments.place.plugins, arguments.place.config.as_deref())?;
    // What is copied is what was looked at, whatever becomes of the file meanwhile.
    let (facts, content) = library::read(&paths::absolute(&arguments.file)?).map_err(refused)?;
    let folder = folder(&catalogue, arguments.to.as_deref())?;
    let target = folder.join(library::file_name(&facts.name));
    table::print(&described(&facts, &standing(&catalogue, &facts)?))?;
    for change in changes(&catalogue, &facts)? {
        table::print(&format!("  {change}"))?;
    }
    if let Ok(first) = library::find(&catalogue.directories(), &facts.name)
        && comes_before(&catalogue, &first, &folder)
    {
        let (first, folder) = (first.display(), folder.display());
        return Err(Error::Plugin(format!(
            "not installed: a copy in {folder} would not be used, since {first} comes before it\n  remove that one, or \
             replace it with --to"
        )));
    }
    if arguments.dry_run {
        table::print(&format!("\nwould be copied to {}", target.display()))?;
        return Ok(Exit::Fine);
    }

    let failed = |source: io::Error| Error::Plugin(format!("cannot write {}: {source}", target.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(failed)?;
    keyferry_ownership::check(&folder).map_err(|error| Error::Plugin(format!("not installed: {error}")))?;
    pins::replace(&target, &content, 0o644).map_err(failed)?;
    keep(&catalogue, &facts)?;
    table::print(&format!("\ncopied to {}", target.display()))?;
    tell_pinned(&catalogue, &facts.name)
}

/// `keyferry plugin remove`.
pub(super) fn remove(arguments: &RemoveArguments) -> Result<Exit, Error> {
    let name = &arguments.name;
    let catalogue = open(&arguments.place.plugins, arguments.place.config.as_deref())?;
    let folder = match &arguments.from {
        Some(folder) => paths::absolute(folder)?,
        None => paths::user_plugins()?,
    };
    let path = library::find(std::slice::from_ref(&folder), name).ok();
    let pins = catalogue.pin_file()?;
    let pinned = pins.read().map_err(Error::Plugin)?.contains_key(name);
    if path.is_none() && !pinned {
        let elsewhere = library::find(&catalogue.directories(), name).map_or_else(
            |_| String::new(),
            |path| format!("\n  it is at {}: name that directory with --from", path.display()),
        );
        return Err(Error::Plugin(format!(
            "there is no plugin {name:?} in {} and it has no pin{elsewhere}",
            folder.display()
        )));
    }
    if let Some(path) = path {
        fs::remove_file(&path)
            .map_err(|source| Error::Plugin(format!("cannot remove {}: {source}", path.display())))?;
        table::print(&format!("removed {}", path.display()))?;
    }
    if pinned {
        pins.change(|pins| drop(pins.remove(name)))
            .map_err(Error::Plugin)?;
        table::print(&format!("removed its pin from {}", pins.path().display()))?;
    }
    if let Ok(other) = library::find(&catalogue.directories(), name) {
        table::print(&format!(
            "another one is still there and is used now: {}",
            other.display()
        ))?;
    }
    Ok(Exit::Fine)
}

/// `keyferry plugin pin`.
pub(super) fn pin(arguments: &PinArguments) -> Result<Exit, Error> {
    let catalogue = open(&arguments.place.plugins, arguments.place.config.as_deref())?;
    let facts = super::inspected(&catalogue, &arguments.name)?;
    table::print(&described(&facts, &standing(&catalogue, &facts)?))?;
    for change in changes(&catalogue, &facts)? {
        table::print(&format!("  {change}"))?;
    }
    if arguments.dry_run {
        return Ok(Exit::Fine);
    }
    keep(&catalogue, &facts)?;
    table::print("")?;
    tell_pinned(&catalogue, &facts.name)
}

/// How a library stands to its pin, in words.
pub(super) fn standing(catalogue: &Catalogue, facts: &LibraryFacts) -> Result<String, Error> {
    let pins = catalogue.pin_file()?.read().map_err(Error::Plugin)?;
    Ok(match pins.get(&facts.name).map(|pin| pin.differences(facts)) {
        None => "not pinned".to_owned(),
        Some(differences) if differences.is_empty() => "pinned as it is".to_owned(),
        Some(_) => "differs from what was pinned".to_owned(),
    })
}

/// What changed since a library was pinned.
pub(super) fn changes(catalogue: &Catalogue, facts: &LibraryFacts) -> Result<Vec<String>, Error> {
    let pins = catalogue.pin_file()?.read().map_err(Error::Plugin)?;
    let pin = pins.get(&facts.name);
    Ok(pin.map(|pin| pin.differences(facts)).unwrap_or_default())
}

fn keep(catalogue: &Catalogue, facts: &LibraryFacts) -> Result<(), Error> {
    let pin = Pin::of(facts);
    catalogue
        .pin_file()?
        .change(|pins| drop(pins.insert(facts.name.clone(), pin)))
        .map_err(Error::Plugin)
}

fn tell_pinned(catalogue: &Catalogue, name: &str) -> Result<Exit, Error> {
    let path = catalogue.pin_file()?.path().display();
    table::print(&format!(
        "pinned {name} in {path}; a running daemon sees it, and `keyferry resume` has it try failed keys now"
    ))?;
    Ok(Exit::Fine)
}

/// Where a plugin is copied to: a directory where plugins are looked for, else the copy would do nothing.
fn folder(catalogue: &Catalogue, wanted: Option<&Path>) -> Result<PathBuf, Error> {
    let folder = match wanted {
        Some(folder) => paths::absolute(folder)?,
        None => paths::user_plugins()?,
    };
    let directories = catalogue.directories();
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let listed = directories
        .iter()
        .find(|directory| **directory == folder || real(directory) == real(&folder));
    listed.cloned().ok_or_else(|| {
        let places: Vec<String> = directories
            .iter()
            .map(|directory| directory.display().to_string())
            .collect();
        Error::Plugin(format!(
            "not installed: plugins are not looked for in {}\n  name one of these with --to, or add it to plugin_dirs \
             in keyferry.toml: {}",
            folder.display(),
            places.join(", ")
        ))
    })
}

/// Whether this library is in a directory that is searched before `folder`.
fn comes_before(catalogue: &Catalogue, library: &Path, folder: &Path) -> bool {
    let directories = catalogue.directories();
    let position = |wanted: &Path| directories.iter().position(|directory| directory == wanted);
    library.parent().and_then(position) < position(folder)
}

fn refused(error: library::LoadError) -> Error {
    Error::Plugin(format!("not installed: {error}"))
}
