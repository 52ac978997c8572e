//! One file as it is known: what it held last, what is wrong with it, and the version in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Listing;
use super::file::{self, Content, Found, Text};
use super::problem::Problem;
use super::public_half::Outside;
use crate::desired::{FileReport, FileState};

/// Entries by name.
pub(super) type Entries<T> = BTreeMap<String, Arc<Entry<T>>>;

/// What checking a text led to.
pub(super) struct Checked<T> {
    /// The checked value, if nothing is wrong.
    pub(super) good: Option<T>,
    /// Everything that is wrong, in the order of the text.
    pub(super) problems: Vec<Problem>,
    /// The plugin or account that the text names: a change there means checking again.
    pub(super) uses: Option<String>,
    /// Files outside the directory that the text names, as they were read: a change there means checking again.
    pub(super) outside: Vec<Outside>,
}

/// One file as it is known.
#[derive(Debug)]
pub(super) struct Entry<T> {
    path: PathBuf,
    content: Arc<Content>,
    problems: Vec<Problem>,
    uses: Option<String>,
    outside: Vec<Outside>,
    good: Option<Good<T>>,
    present: bool,
}

/// A version in force, and the text that it was read from: what the text depends on may change while the file is broken
/// or gone.
#[derive(Clone, Debug)]
struct Good<T> {
    value: T,
    content: Arc<Content>,
    uses: Option<String>,
    outside: Vec<Outside>,
}

impl<T> Entry<T> {
    /// The version in force.
    pub(super) fn good(&self) -> Option<&T> {
        self.good.as_ref().map(|good| &good.value)
    }

    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// What the text depends on, and what the version in force does.
    pub(super) fn uses(&self) -> impl Iterator<Item = &str> {
        let of_good = self.good.as_ref().and_then(|good| good.uses.as_deref());
        self.uses.as_deref().into_iter().chain(of_good)
    }

    /// Whether a file outside the directory is another than it was for the text, or for the version in force.
    fn has_changed_outside(&self) -> bool {
        let of_good = self.good.iter().flat_map(|good| &good.outside);
        self.outside.iter().chain(of_good).any(Outside::has_changed)
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// How the file fares; `gone` says what it means that it is not there any more.
    pub(super) fn report(&self, gone: &str) -> FileReport {
        if !self.present {
            return FileReport::new(self.path.clone(), FileState::Missing, vec![Problem::whole(gone)]);
        }
        let state = match (self.problems.is_empty(), &self.good) {
            (true, _) => FileState::Loaded,
            (false, Some(_)) => FileState::Kept,
            (false, None) => FileState::Refused,
        };
        FileReport::new(self.path.clone(), state, self.problems.clone())
    }
}

/// Counts and links met on the way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Files that were opened, not only looked at.
    pub(super) opened: usize,
    /// Paths that are symbolic links.
    pub(super) links: Vec<PathBuf>,
}

/// Brings the entries of a folder up to date.
///
/// `check` sees a file's name and text; it is asked about files that changed and those that `again` picks.
pub(super) fn refresh<T: Clone>(
    folder: &Path,
    listing: &Listing,
    previous: &Entries<T>,
    tally: &mut Tally,
    again: impl Fn(&Entry<T>) -> bool,
    mut check: impl FnMut(&str, &Text) -> Checked<T>,
) -> Entries<T> {
    let again = |entry: &Entry<T>| again(entry) || entry.has_changed_outside();
    let nothing = BTreeMap::new();
    let listed = match listing {
        Listing::Files(files) => files,
        Listing::Gone => &nothing,
        Listing::Closed => return previous.clone(),
    };
    let names: BTreeSet<&String> = previous.keys().chain(listed.keys()).collect();
    let mut entries = Entries::new();
    for name in names {
        let before = previous.get(name);
        let found = match listed.get(name) {
            None => Found::Gone,
            Some(is_link) => {
                let path = folder.join(format!("{name}.toml"));
                if *is_link {
                    tally.links.push(path.clone());
                }
                file::content(&path, *is_link, before.map(|entry| &entry.content))
            }
        };
        let (content, changed) = match found {
            Found::Gone => {
                let gone = before.and_then(|before| match again(before) {
                    true => before.missing(|good| good.checked_again(name, &mut check)),
                    false => before.missing(Good::clone),
                });
                entries.extend(gone.map(|entry| (name.clone(), entry)));
                continue;
            }
            Found::Unchanged(content) => (content, false),
            Found::Read(content) => {
                tally.opened += 1;
                let same = before.is_some_and(|before| before.content.text == content.text);
                (content, !same)
            }
        };
        let entry = match before {
            Some(before) if !changed && !again(before) => {
                let same = before.present && Arc::ptr_eq(&before.content, &content);
                if same {
                    Arc::clone(before)
                } else {
                    before.with_content(content)
                }
            }
            _ => Entry::checked(folder, name, content, before, &mut check),
        };
        entries.insert(name.clone(), entry);
    }
    entries
}

impl<T: Clone> Entry<T> {
    fn checked(
        folder: &Path,
        name: &str,
        content: Arc<Content>,
        before: Option<&Arc<Self>>,
        check: &mut impl FnMut(&str, &Text) -> Checked<T>,
    ) -> Arc<Self> {
        let before_good = before.and_then(|before| before.good.as_ref());
        let checked = match &content.text {
            Ok(text) => check(name, text),
            Err(problem) => Checked {
                good: None,
                problems: vec![problem.clone()],
                uses: before.and_then(|before| before.uses.clone()),
                outside: Vec::new(),
            },
        };
        let good = match checked.good {
            Some(value) => Some(Good {
                value,
                content: Arc::clone(&content),
                uses: checked.uses.clone(),
                outside: checked.outside.clone(),
            }),
            None => before_good.map(|good| good.checked_again(name, check)),
        };
        Arc::new(Self {
            path: folder.join(format!("{name}.toml")),
            content,
            problems: checked.problems,
            uses: checked.uses,
            outside: checked.outside,
            good,
            present: true,
        })
    }

    fn with_content(&self, content: Arc<Content>) -> Arc<Self> {
        Arc::new(Self {
            path: self.path.clone(),
            content,
            problems: self.problems.clone(),
            uses: self.uses.clone(),
            outside: self.outside.clone(),
            good: self.good.clone(),
            present: true,
        })
    }

    /// What stays of a file that is gone: its last good version, if it had one.
    fn missing(&self, keep: impl FnOnce(&Good<T>) -> Good<T>) -> Option<Arc<Self>> {
        let good = Some(keep(self.good.as_ref()?));
        Some(Arc::new(Self {
            path: self.path.clone(),
            content: Arc::clone(&self.content),
            problems: self.problems.clone(),
            uses: self.uses.clone(),
            outside: self.outside.clone(),
            good,
            present: false,
        }))
    }
}

impl<T: Clone> Good<T> {
    /// The same text, seen with what it depends on now. If that does not go together any more, what was stays.
    fn checked_again(&self, name: &str, check: &mut impl FnMut(&str, &Text) -> Checked<T>) -> Self {
        let checked = self.content.text.as_ref().ok().map(|text| check(name, text));
        match checked {
            Some(Checked {
                good: Some(value),
                uses,
                outside,
                ..
            }) => Self {
                value,
                content: Arc::clone(&self.content),
                uses,
                outside,
            },
            _ => self.clone(),
        }
    }
}
