//! Walking a parsed file key by key, so that every problem of it is found at once, with its place.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::entry::Checked;
use super::file::Text;
use super::later;
use super::problem::{Problem, suggestion};
use super::public_half::Outside;

/// One file being checked.
pub(super) struct Walk<'t> {
    text: &'t Text,
    problems: Vec<Problem>,
    outside: Vec<Outside>,
}

impl<'t> Walk<'t> {
    pub(super) fn new(text: &'t Text) -> Self {
        Self {
            text,
            problems: Vec::new(),
            outside: Vec::new(),
        }
    }

    /// Parses the text. With errors in it there is nothing to walk; of each line the first one is noted.
    pub(super) fn parse(&mut self) -> Option<Spanned<DeTable<'t>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text.as_str());
        let mut last_line = 0;
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let line = self.text.place(span.start).line;
            if line != last_line {
                // The message is the parser's own text: it never quotes the file, where a secret may stand.
                let message = match (error.message(), self.text.as_str().get(span.clone())) {
                    ("duplicate key", Some(key)) => format!("{} stands here twice: keep one", shown(key)),
                    (message, _) => format!("not TOML: {message}"),
                };
                self.note(span.start, message);
                last_line = line;
            }
        }
        errors.is_empty().then_some(table)
    }

    /// What it all led to; the problems in the order of the file.
    pub(super) fn finish<T>(mut self, good: Option<T>, uses: Option<String>) -> Checked<T> {
        self.problems.sort_by_key(|problem| problem.place);
        Checked {
            good,
            problems: self.problems,
            uses,
            outside: self.outside,
        }
    }

    pub(super) fn is_fine(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn note(&mut self, offset: usize, message: impl Into<String>) {
        self.problems.push(Problem {
            place: Some(self.text.place(offset)),
            message: message.into(),
        });
    }

    /// Notes a problem with an item's value.
    pub(super) fn note_value(&mut self, item: &Item<'t>, message: impl std::fmt::Display) {
        self.note(item.at(), format!("{}: {message}", item.label()));
    }

    /// Notes every key of a table that is not among the known ones, by what it seems to be.
    pub(super) fn refuse_others(&mut self, table: &Table<'t>, known: &[&str]) {
        for item in table.items().filter(|item| !known.contains(&item.key())) {
            let message = later::message(item.key())
                .or_else(|| later::credential(item.key()))
                .unwrap_or_else(|| {
                    let place = table
                        .title
                        .map(|title| format!(" in [{title}]"))
                        .unwrap_or_default();
                    let known = suggestion(item.key(), known.iter().copied());
                    format!("unknown key {}{place}{known}", shown(item.key()))
                });
            self.note(item.key.span().start, message);
        }
    }

    /// A string of at least one character, without control characters.
    pub(super) fn string(&mut self, item: &Item<'t>) -> Option<&'t str> {
        let DeValue::String(value) = item.value.get_ref() else {
            return self.wrong_type(item, "a string");
        };
        if value.is_empty() {
            self.note_value(item, "is empty: give it a value or take it out");
            return None;
        }
        if value.chars().any(char::is_control) {
            self.note_value(item, "contains a control character: take it out");
            return None;
        }
        Some(value)
    }

    pub(super) fn boolean(&mut self, item: &Item<'t>) -> Option<bool> {
        match item.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type(item, "a boolean"),
        }
    }

    pub(super) fn integer(&mut self, item: &Item<'t>, allowed: RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(value) = item.value.get_ref() else {
            return self.wrong_type(item, "an integer");
        };
        match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) if allowed.contains(&value) => Some(value),
            _ => {
                let (least, greatest) = (allowed.start(), allowed.end());
                self.note_value(
                    item,
                    format!("{value} is out of range: {least} to {greatest} are allowed"),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T>(&mut self, item: &Item<'t>, choices: &[(&str, T)]) -> Option<T>
    where
        T: Copy,
    {
        let value = self.string(item)?;
        let found = choices
            .iter()
            .find(|(name, _)| *name == value)
            .map(|(_, choice)| *choice);
        if found.is_none() {
            let known = suggestion(value, choices.iter().map(|(name, _)| *name));
            self.note_value(item, format!("unknown value {}{known}", shown(value)));
        }
        found
    }

    /// A list of strings, each as an item of its own. Elements that are wrong are noted and left out.
    pub(super) fn strings(&mut self, item: &Item<'t>) -> Option<Vec<(Item<'t>, &'t str)>> {
        let DeValue::Array(values) = item.value.get_ref() else {
            return self.wrong_type(item, "an array of strings");
        };
        let mut strings = Vec::new();
        for value in values.iter() {
            let element = Item { value, ..*item };
            strings.extend(self.string(&element).map(|value| (element, value)));
        }
        Some(strings)
    }

    /// The public half in a file that lies somewhere else.
    pub(super) fn outside(&mut self, item: &Item<'t>, path: PathBuf) -> Option<String> {
        let outside = Outside::read(path);
        let found = outside.found.clone();
        self.outside.push(outside);
        found.map_err(|message| self.note_value(item, message)).ok()
    }

    pub(super) fn table(&mut self, item: &Item<'t>) -> Option<Table<'t>> {
        match item.value.get_ref() {
            DeValue::Table(entries) => Some(Table {
                title: Some(item.key()),
                entries,
            }),
            _ => self.wrong_type(item, "a table"),
        }
    }

    pub(super) fn wrong_type<T>(&mut self, item: &Item<'t>, expected: &str) -> Option<T> {
        let found = match item.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.note_value(item, format!("expected {expected}, found {found}"));
        None
    }
}

/// A table of the file; the root has no title.
#[derive(Clone, Copy)]
pub(super) struct Table<'t> {
    title: Option<&'t str>,
    entries: &'t DeTable<'t>,
}

impl<'t> Table<'t> {
    pub(super) fn root(entries: &'t DeTable<'t>) -> Self {
        Self { title: None, entries }
    }

    pub(super) fn get(&self, key: &str) -> Option<Item<'t>> {
        self.items().find(|item| item.key() == key)
    }

    /// Whether a key seems to be this one, misspelt.
    pub(super) fn misspells(&self, key: &str) -> bool {
        self.items()
            .any(|item| strsim::osa_distance(item.key(), key) <= 2)
    }

    /// The entries in the order of their names.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'t>> + use<'t> {
        let title = self.title;
        self.entries
            .iter()
            .map(move |(key, value)| Item { title, key, value })
    }
}

/// One `key = value`.
#[derive(Clone, Copy)]
pub(super) struct Item<'t> {
    title: Option<&'t str>,
    key: &'t Spanned<DeString<'t>>,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Item<'t> {
    pub(super) fn key(&self) -> &'t str {
        self.key.get_ref()
    }

    pub(super) fn value(&self) -> &'t DeValue<'t> {
        self.value.get_ref()
    }

    /// Where the value stands; a table stands where its name does.
    pub(super) fn at(&self) -> usize {
        match self.value.get_ref() {
            DeValue::Table(_) => self.key_at(),
            _ => self.value.span().start,
        }
    }

    pub(super) fn key_at(&self) -> usize {
        self.key.span().start
    }

    fn label(&self) -> String {
        match self.title {
            Some(title) => shown(&format!("{title}.{}", self.key())),
            None => shown(self.key()),
        }
    }
}

/// A name or word of the file as it stands in a message.
pub(super) fn shown(word: &str) -> String {
    const LONGEST: usize = 80;
    let mut word: String = word.chars().flat_map(char::escape_debug).collect();
    if let Some((cut, _)) = word.char_indices().nth(LONGEST) {
        word.truncate(cut);
        word.push('…');
    }
    format!("`{word}`")
}
