//! The config directory: reading and checking its files.
//!
//! [`read`] goes through `keyferry.toml`, `accounts/` and `keys/` and gives a [`State`] that holds the last good
//! version of every file. What is wrong is reported with its place and never takes away what worked before: a file
//! with an error, a file that vanished and a directory that emptied all stay in force as they were last read.
//! Reading again opens only what changed.
//!
//! Public halves that a file names by path (`also_trust`, `[recovery] identity`) lie anywhere, where nothing is watched:
//! they are read again at every reading, and what names them is checked again when they changed. Lists of hosts in a
//! file of their own are not read here; whoever needs one reads it with [`parse_hosts`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::desired::{
    Account, DaemonSettings, Desired, FileReport, KeyFolder, KeySpec, OnRemove, Standstill,
};

mod account;
mod daemon;
mod destination;
mod directory;
mod entry;
mod file;
mod key;
mod later;
mod plugins;
mod problem;
mod public_half;
mod table;
mod value;
mod warnings;

use account::CheckedAccount;
use directory::Listing;
use entry::{Entries, Tally};
use plugins::{Catalogue, Lookup};

pub use destination::{Destination, MAX_HOSTS, parse_hosts};
pub use file::MAX_FILE_SIZE;
pub use key::check_fingerprint;
pub use plugins::{PluginProblem, Plugins};
pub use problem::{Place, Problem, suggestion};
pub use public_half::public_key;
pub use warnings::warnings;

/// Reads the config directory. `previous` is what the reading before this one gave: without it nothing is in force
/// yet.
pub fn read(dir: &Path, plugins: &dyn Plugins, previous: Option<&State>) -> State {
    let fresh = State::default();
    let before = previous.unwrap_or(&fresh);
    let mut reports = Vec::new();
    let mut tally = Tally::default();

    let root = directory::root(dir, previous.is_some_and(State::has_anything), &mut reports);
    let daemon = entry::refresh(
        dir,
        &root,
        &before.daemon,
        &mut tally,
        |_| false,
        |_, text| daemon::check(text),
    );
    let settings = daemon
        .values()
        .find_map(|entry| entry.good())
        .cloned()
        .unwrap_or_default();

    let settings_refused = daemon
        .values()
        .any(|entry| entry.is_present() && entry.good().is_none());

    plugins.search_in(&settings.plugin_dirs);
    plugins.require_pins(settings.require_pins);
    let mut catalogue = Catalogue::new(plugins);
    let new_plugins: BTreeSet<&str> = before
        .manifests
        .iter()
        .filter(|(name, lookup)| catalogue.look_up(name) != *lookup)
        .map(|(name, _)| name.as_str())
        .collect();
    let folder = dir.join("accounts");
    let accounts = entry::refresh(
        &folder,
        &inside(
            &root,
            &folder,
            "account",
            !before.accounts.is_empty(),
            &mut reports,
        ),
        &before.accounts,
        &mut tally,
        |entry| {
            let is_mended = settings_refused != before.desired.settings_refused && entry.has_problems();
            is_mended || entry.uses().any(|plugin| new_plugins.contains(plugin))
        },
        |name, text| {
            let mut checked = account::check(name, text, &mut catalogue);
            if settings_refused && !checked.problems.is_empty() {
                // What is wrong may be so only because plugins are not looked for where they are.
                let cause = Problem::whole(Standstill::Settings.to_string());
                checked.problems.insert(0, cause);
            }
            checked
        },
    );

    let names_changed = !accounts.keys().eq(before.accounts.keys());
    let is_same = |name: &str| {
        let good =
            |entries: &Entries<CheckedAccount>| entries.get(name).and_then(|entry| entry.good().cloned());
        good(&accounts) == good(&before.accounts)
    };
    let folder = dir.join("keys");
    let listing = inside(&root, &folder, "key", !before.keys.is_empty(), &mut reports);
    let keys = entry::refresh(
        &folder,
        &listing,
        &before.keys,
        &mut tally,
        |entry| (names_changed && entry.has_problems()) || entry.uses().any(|account| !is_same(account)),
        |name, text| key::check(name, text, &accounts),
    );

    if settings_refused {
        // Their manifests were read to check the files. Loading them is another matter while nobody knows what is asked for.
        plugins.require_pins(true);
    }
    let used: BTreeSet<&str> = accounts.values().flat_map(|entry| entry.uses()).collect();
    let mut manifests = catalogue.into_found();
    manifests.retain(|name, _| used.contains(name.as_str()));
    reports.extend(daemon.values().map(|entry| entry.report(GONE_SETTINGS)));
    reports.extend(accounts.values().map(|entry| entry.report(GONE_ACCOUNT)));
    reports.extend(keys.values().map(|entry| entry.report(gone_key(entry.good()))));
    reports.sort_by(|one, other| one.path.cmp(&other.path));
    let desired = Desired {
        daemon: settings,
        accounts: accounts
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), Arc::clone(&entry.good()?.account))))
            .collect(),
        keys: keys
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), in_force(entry)?)))
            .collect(),
        files: reports,
        settings_refused,
        key_folder: match listing {
            Listing::Files(_) => KeyFolder::Listed(folder),
            Listing::Closed | Listing::Gone => KeyFolder::Closed,
        },
    };
    let desired = match *before.desired == desired {
        true => Arc::clone(&before.desired),
        false => Arc::new(desired),
    };
    State {
        daemon,
        accounts,
        keys,
        manifests,
        tally,
        desired,
    }
}

/// Reads a config directory for the first time and says how each file fares: `keyferry check`.
pub fn check(dir: &Path, plugins: &dyn Plugins) -> Vec<FileReport> {
    read(dir, plugins, None).desired.files.clone()
}

/// Reads and checks one account file, wherever it is; the account is named as the file is.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_account(path: &Path, plugins: &dyn Plugins) -> Result<Account, Vec<Problem>> {
    let text = file::read_text(path).map_err(|problem| vec![problem])?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    checked_account(&name, &text, plugins)
}

/// Checks the text of an account file that is not written yet.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_account(name: &str, text: &str, plugins: &dyn Plugins) -> Result<Account, Vec<Problem>> {
    let text = file::Text::from_bytes(text.into()).map_err(|problem| vec![problem])?;
    checked_account(name, &text, plugins)
}

fn checked_account(name: &str, text: &file::Text, plugins: &dyn Plugins) -> Result<Account, Vec<Problem>> {
    let checked = account::check(name, text, &mut Catalogue::new(plugins));
    match checked.good {
        Some(good) => Ok(Account::clone(&good.account)),
        None => Err(checked.problems),
    }
}

/// What is known of the config directory: the versions in force, and enough to read only what changed.
#[derive(Debug, Default)]
pub struct State {
    daemon: Entries<DaemonSettings>,
    accounts: Entries<CheckedAccount>,
    keys: Entries<Arc<KeySpec>>,
    manifests: BTreeMap<String, Lookup>,
    tally: Tally,
    desired: Arc<Desired>,
}

impl State {
    /// What the files ask for. The same value as before while nothing changed.
    pub fn desired(&self) -> Arc<Desired> {
        Arc::clone(&self.desired)
    }

    /// How many files the reading opened; the others were only looked at.
    pub fn opened(&self) -> usize {
        self.tally.opened
    }

    /// The files that are symbolic links.
    pub(crate) fn links(&self) -> &[PathBuf] {
        &self.tally.links
    }

    fn has_anything(&self) -> bool {
        !(self.daemon.is_empty() && self.accounts.is_empty() && self.keys.is_empty())
    }
}

/// The names of the keys that have a file in a folder now; none: it cannot be listed, or believed.
pub(crate) fn key_files(folder: &Path) -> Option<BTreeSet<String>> {
    match directory::entries(folder, "key", true, &mut Vec::new()) {
        Listing::Files(files) => Some(files.into_keys().collect()),
        Listing::Closed | Listing::Gone => None,
    }
}

/// Lists a folder of the config directory, unless the directory itself is gone or closed.
fn inside(root: &Listing, folder: &Path, kind: &str, known: bool, reports: &mut Vec<FileReport>) -> Listing {
    match root {
        Listing::Files(_) => directory::entries(folder, kind, known, reports),
        Listing::Gone => Listing::Gone,
        Listing::Closed => Listing::Closed,
    }
}

fn in_force(entry: &entry::Entry<Arc<KeySpec>>) -> Option<Arc<KeySpec>> {
    let good = entry.good()?;
    if entry.is_present() {
        return Some(Arc::clone(good));
    }
    Some(Arc::new(KeySpec {
        present: false,
        ..KeySpec::clone(good)
    }))
}

/// What it means that a key's file is not there any more.
fn gone_key(good: Option<&Arc<KeySpec>>) -> &'static str {
    match good.map(|spec| spec.on_remove) {
        Some(OnRemove::Retire) => {
            "the file is gone, and `on_remove` in it was \"retire\": after a while the key is taken off its hosts and its \
             pair is deleted, unless many files went; put the file back to keep it"
        }
        Some(OnRemove::Keep) | None => {
            "the file is gone: a key that is loaded stays so until the daemon ends; put it back to keep the key longer"
        }
    }
}

/// Whether a name will do for a key or an account.
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
}

/// In characters.
pub(crate) const LONGEST_NAME: usize = 48;

/// What [`is_name`] asks for, in words.
pub const NAME_RULE: &str = "lower-case letters, digits and `-`, at most 48, not beginning with `-`";
const GONE_SETTINGS: &str =
    "the file is gone: its settings stay in force until the daemon ends; put it back to change them";
const GONE_ACCOUNT: &str =
    "the file is gone: the account stays in force until the daemon ends; put it back to change it";

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
