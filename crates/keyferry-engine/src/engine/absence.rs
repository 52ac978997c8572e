//! Keys whose file is gone and said `on_remove = "retire"`: they end a day later.
//!
//! Files also go when another branch is checked out, when links are taken away, and when a home is not mounted. So a key
//! stays where nobody may have meant that: when the folder went too, when many files or all went at about the same time, when
//! git was told to show another branch, and when the file seems to have another name now. And when the time has come, the
//! folder is looked at once more before anything is asked; the rest is [`KeyRow::retire_asked_at`]'s.

use std::collections::{BTreeMap, BTreeSet};

mod checkout;
mod stopped;

use super::{Engine, Finished, Moment, Task};
use crate::config;
use crate::desired::{KeyFolder, KeySpec, OnRemove};
use crate::error::EngineError;
use crate::ledger::{KeyRow, Write};
use crate::snapshot::Timestamp;

/// What is known of key files that are gone, besides the ledger.
#[derive(Debug, Default)]
pub(super) struct Absence {
    gone: BTreeMap<String, Gone>,
    /// When each file was first seen (milliseconds of uptime); [`i64::MIN`]: when the engine began.
    seen: BTreeMap<String, i64>,
    has_begun: bool,
    look: Option<Look>,
    wake_at: Option<u64>,
}

impl Absence {
    /// When to plan again if nothing happens before (milliseconds of uptime).
    pub(super) fn wake_at(&self) -> Option<u64> {
        self.wake_at
    }

    /// Nothing is due.
    pub(super) fn stand_still(&mut self) {
        self.wake_at = None;
    }
}

#[derive(Debug)]
struct Gone {
    /// Milliseconds of uptime; below 0: before this machine was started.
    since: i64,
    /// Why the key does not end by itself.
    stays: Option<Stays>,
}

impl Gone {
    fn is_recent(&self, uptime: i64) -> bool {
        uptime.saturating_sub(self.since) <= AT_ABOUT_THE_SAME_TIME
    }
}

#[derive(Clone, Debug)]
enum Stays {
    /// Another branch was checked out then, or since.
    CheckedOut,
    /// The folder went with the file, or soon after.
    Folder,
    /// The user said so.
    Kept,
    /// So many other files went too.
    Many(usize),
    /// The file seems to be this key's now.
    Renamed(String),
}

/// Which keys have a file.
#[derive(Debug)]
struct Look {
    began_at: u64,
    /// The inner one is none when the folder could not be read.
    found: Option<Option<BTreeSet<String>>>,
}

impl Engine {
    /// Schedules the end of keys whose file is gone, calls it off, and asks for it when it is due.
    pub(super) async fn end_absent_keys(&mut self) -> Result<(), EngineError> {
        self.absence.stand_still();
        let now = self.clock.now();
        let files = self.key_files();
        let is_first = !self.absence.has_begun;
        self.notice_absent_files(&files, now);
        let folder_id = self.key_folder_id();
        let mut first = Vec::new();
        if is_first && folder_id.is_some() {
            first = self.gone_while_stopped(&files, folder_id.as_ref(), now);
        }
        let scheduled = self.view.keys.values().filter(|row| row.retire_at.is_some());
        let mut names: BTreeSet<String> = scheduled.map(|row| row.name.clone()).collect();
        names.extend(self.absence.gone.keys().cloned());
        // One for a command ends with that, whatever file has its name.
        names.retain(|name| !self.view.is_for_command(name));
        let mut called_off = Vec::new();
        let mut keys = self.rows_with_folder(folder_id.as_ref());
        names.retain(|name| first.iter().all(|row| row.name != *name));
        keys.extend(first);
        for name in names {
            let before = self.view.key(&name);
            let row = self.row_of_absent_key(before.clone(), &files, now);
            if row != before {
                if before.retire_asked_at.is_some() && row.retire_asked_at.is_none() {
                    called_off.push(name);
                }
                keys.push(row);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let write = Write {
            keys,
            ..Write::default()
        };
        if self.record(write).await?.is_err() {
            self.wake_for_absent_keys(now.uptime.saturating_add(LOOK_PAUSE));
            return Ok(());
        }
        for key in called_off {
            self.want_again(&key).await?;
        }
        Ok(())
    }

    /// The user wants a key to stay although its file is gone. What is noted of that follows when it is planned again.
    pub(super) fn keep_without_file(&mut self, key: &str) {
        if let Some(gone) = self.absence.gone.get_mut(key) {
            gone.stays = Some(Stays::Kept);
        }
    }

    pub(super) fn key_files_listed(&mut self, finished: Finished) {
        if let Some(look) = &mut self.absence.look {
            look.found = Some(match finished {
                Finished::KeyFilesListed(found) => found,
                _ => None,
            });
        }
    }

    /// What becomes of a key whose file is gone, and how to stop that; none: nothing but what becomes of any.
    pub(super) fn absence_remark(&self, name: &str) -> Option<(String, String)> {
        let row = self.view.key(name);
        let stop = || format!("put the file back, or keyferry resume {name}, to keep the key");
        let end =
            |when: String| format!("put the file back; or keyferry retire {name}{when}, if that is to end");
        if let Some(at) = row.retire_at {
            let message = match (row.retire_asked_at, &self.declared.key_folder) {
                (Some(_), _) => format!("keys/{name}.toml is missing, so the key is being retired"),
                (None, KeyFolder::Listed(_)) => format!(
                    "keys/{name}.toml is missing, and `on_remove` in it was \"retire\": at {} the key is taken off its \
                     hosts and its pair deleted",
                    Timestamp::from_ms(at)
                ),
                (None, _) => format!(
                    "keys/{name}.toml is missing, and `on_remove` in it was \"retire\": the key is retired after {}, \
                     when the folder can be read again and the file is not there",
                    Timestamp::from_ms(at)
                ),
            };
            return Some((message, stop()));
        }
        let spec = self.declared.keys.get(name);
        if row.retire_asked_at.is_some() || spec.is_some_and(|spec| spec.on_remove != OnRemove::Retire) {
            return None;
        }
        match self.absence.gone.get(name)?.stays.as_ref()? {
            Stays::CheckedOut => Some((
                format!(
                    "keys/{name}.toml is missing, and git shows another branch since, which may not have it: the key is not \
                     retired by itself"
                ),
                end(String::new()),
            )),
            Stays::Folder => Some((
                format!("keys/{name}.toml went with its folder, so the key is not retired by itself"),
                end(String::new()),
            )),
            Stays::Kept => None,
            Stays::Many(others) => Some((
                format!(
                    "keys/{name}.toml went at about the same time as {others} other key file{}, so the key is not retired by \
                     itself",
                    if *others == 1 { "" } else { "s" }
                ),
                end(String::new()),
            )),
            Stays::Renamed(new) => Some((
                format!(
                    "keys/{name}.toml seems to be keys/{new}.toml now: that is another key, so {name} is not retired by \
                     itself"
                ),
                end(format!(" once {new} is verified")),
            )),
        }
    }

    /// The names of keys that have a file, whatever is in it.
    fn key_files(&self) -> BTreeSet<String> {
        let present = self.declared.keys.values().filter(|spec| spec.present);
        let mut files: BTreeSet<String> = present.map(|spec| spec.name.clone()).collect();
        if let KeyFolder::Listed(folder) = &self.declared.key_folder {
            let reports = self.declared.files.iter();
            let there = reports
                .filter(|report| report.state != crate::desired::FileState::Missing)
                .filter(|report| report.path.parent() == Some(folder));
            let names = there.filter_map(|report| report.path.file_name()?.to_str()?.strip_suffix(".toml"));
            files.extend(names.filter(|name| config::is_name(name)).map(str::to_owned));
        }
        files
    }

    fn notice_absent_files(&mut self, files: &BTreeSet<String>, now: Moment) {
        let uptime = signed(now.uptime);
        let is_closed = self.declared.key_folder == KeyFolder::Closed;
        let absence = &mut self.absence;
        let first_seen = match absence.has_begun {
            true => uptime,
            false => i64::MIN,
        };
        absence.has_begun |= !is_closed;
        for name in files {
            absence.seen.entry(name.clone()).or_insert(first_seen);
        }
        absence.gone.retain(|name, _| !files.contains(name));
        for (name, _) in self.declared.keys.iter().filter(|(_, spec)| !spec.present) {
            let since = uptime;
            absence
                .gone
                .entry(name.clone())
                .or_insert(Gone { since, stays: None });
        }
        // Those that went before the daemon was started.
        for row in self
            .view
            .keys
            .values()
            .filter(|row| row.retire_asked_at.is_none())
        {
            let Some(at) = row.retire_at.filter(|_| !files.contains(&row.name)) else {
                continue;
            };
            let age = now.wall_ms().saturating_sub(at.saturating_sub(DELAY)).max(0);
            let since = uptime.saturating_sub(age);
            absence
                .gone
                .entry(row.name.clone())
                .or_insert(Gone { since, stays: None });
        }
        let gone = absence.gone.values_mut();
        let recent: Vec<&mut Gone> = gone.filter(|gone| gone.is_recent(uptime)).collect();
        let count = recent.len();
        let stays = match is_closed {
            true => Stays::Folder,
            false if count >= MANY && count * 3 > count + files.len() => Stays::Many(count - 1),
            false if count > 1 && files.is_empty() => Stays::Many(count - 1),
            false => return,
        };
        for gone in recent {
            gone.stays.get_or_insert_with(|| stays.clone());
        }
    }

    /// The row as it is to be.
    fn row_of_absent_key(&mut self, row: KeyRow, files: &BTreeSet<String>, now: Moment) -> KeyRow {
        let uptime = signed(now.uptime);
        if files.contains(&row.name) {
            // What the file's going began, its coming back ends.
            let has_begun = row.retire_at.is_some() && row.retire_asked_at.is_some();
            return KeyRow {
                retire_asked_at: row.retire_asked_at.filter(|_| !has_begun),
                accepted_loss: row.accepted_loss.filter(|_| !has_begun),
                retire_at: None,
                ..row
            };
        }
        let Some(gone) = self.absence.gone.get(&row.name) else {
            return row;
        };
        if row.retire_asked_at.is_some() {
            return row;
        }
        let since = gone.since;
        if gone.stays.is_some() {
            return KeyRow {
                retire_at: None,
                retires_in: None,
                ..row
            };
        }
        let since_wall = now.wall_ms().saturating_sub(uptime.saturating_sub(since));
        let stays = match self.new_name(&row.name, since, since_wall) {
            Some(new) => Some(Stays::Renamed(new)),
            None => self
                .is_checked_out_since(since_wall.saturating_sub(AT_ABOUT_THE_SAME_TIME))
                .then_some(Stays::CheckedOut),
        };
        if stays.is_some() {
            if let Some(gone) = self.absence.gone.get_mut(&row.name) {
                gone.stays = stays;
            }
            return KeyRow {
                retire_at: None,
                retires_in: None,
                ..row
            };
        }
        let Some(retire_at) = row.retire_at else {
            if !self.is_to_end(&row.name) {
                return row;
            }
            tracing::info!(key = %row.name, "its file is gone: it is retired in a day");
            self.wake_for_absent_keys(now.uptime.saturating_add(LONGEST_WAIT));
            return KeyRow {
                retire_at: Some(since_wall.saturating_add(DELAY)),
                ..row
            };
        };
        // The wall clock may have been set meanwhile; the machine's own goes on.
        let wait = retire_at.saturating_sub(now.wall_ms());
        let due_at = since.saturating_add(DELAY).max(uptime.saturating_add(wait));
        if due_at > uptime {
            let at = u64::try_from(due_at).unwrap_or_default();
            self.wake_for_absent_keys(at.min(now.uptime.saturating_add(LONGEST_WAIT)));
            return row;
        }
        if !self.is_seen_absent(files, due_at, now) {
            return row;
        }
        tracing::info!(key = %row.name, "its file stayed away: it is retired");
        KeyRow {
            retire_asked_at: Some(now.wall_ms()),
            rotate_asked_at: None,
            // What was given up for earlier generations was not said of the whole key.
            accepted_loss: None,
            ..row
        }
    }

    /// Whether the file of a key said that the key ends with it, and there is something to end.
    fn is_to_end(&self, name: &str) -> bool {
        let spec = self.declared.keys.get(name);
        let is_asked = spec.is_some_and(|spec| spec.on_remove == OnRemove::Retire);
        is_asked
            && matches!(self.declared.key_folder, KeyFolder::Listed(_))
            && self.view.of_key(name).any(|row| !row.state.is_final())
    }

    /// A key that came up when this one's file went, and is like it otherwise.
    fn new_name(&self, name: &str, since: i64, since_wall: i64) -> Option<String> {
        let spec = self.declared.keys.get(name);
        let last = self.view.originals(name).next_back();
        let is_alike = |other: &KeySpec| match (spec, last) {
            (Some(spec), _) => {
                spec.account == other.account
                    && spec.hosts == other.hosts
                    && spec.algorithm == other.algorithm
            }
            // After a restart nobody knows what the file said.
            (None, Some(row)) => row.account == other.account && row.algorithm == other.algorithm,
            (None, None) => false,
        };
        let is_near = |at: i64, moment: i64| at.abs_diff(moment) <= AT_ABOUT_THE_SAME_TIME.unsigned_abs();
        let is_new = |other: &str| {
            let first = self.view.originals(other).min_by_key(|row| row.requested_at);
            let seen_at = self.absence.seen.get(other);
            match first.map(|row| (row.n, row.requested_at)) {
                Some((_, at)) if at < since_wall.saturating_sub(AT_ABOUT_THE_SAME_TIME) => false,
                // After a restart every key has another generation.
                Some((1, at)) if is_near(at, since_wall) => true,
                _ => seen_at.is_some_and(|at| is_near(*at, since)),
            }
        };
        let others = self.declared.keys.values().filter(|other| other.present);
        let mut alike = others.filter(|other| other.name != name && is_alike(other));
        alike
            .find(|other| is_new(&other.name))
            .map(|other| other.name.clone())
    }

    /// Whether a look at the folder that began after `due_at` (milliseconds of uptime), and not long ago, found the files
    /// that are known and no other. Begins one where there was none: the machine may have slept, and nobody reported since
    /// what is mounted.
    fn is_seen_absent(&mut self, files: &BTreeSet<String>, due_at: i64, now: Moment) -> bool {
        let KeyFolder::Listed(folder) = &self.declared.key_folder else {
            return false;
        };
        if let Some(look) = &self.absence.look {
            let Some(found) = &look.found else {
                return false;
            };
            let is_fresh = now.uptime.saturating_sub(look.began_at) <= LOOK_AGE;
            if is_fresh && signed(look.began_at) >= due_at && found.as_ref() == Some(files) {
                return true;
            }
            let next = look.began_at.saturating_add(LOOK_PAUSE);
            if now.uptime < next {
                self.wake_for_absent_keys(next);
                return false;
            }
        }
        let folder = folder.clone();
        let task = self
            .tasks
            .spawn_blocking(move || Finished::KeyFilesListed(config::key_files(&folder)));
        self.running.insert(task.id(), Task::ListKeyFiles);
        self.absence.look = Some(Look {
            began_at: now.uptime,
            found: None,
        });
        false
    }

    fn wake_for_absent_keys(&mut self, at: u64) {
        let earliest = self.absence.wake_at.map_or(at, |known| known.min(at));
        self.absence.wake_at = Some(earliest);
    }
}

fn signed(uptime: u64) -> i64 {
    i64::try_from(uptime).unwrap_or(i64::MAX)
}

/// A key ends so long after its file went (milliseconds).
const DELAY: i64 = 24 * 3_600_000;

/// Files that went or came within that (milliseconds) may have done so together.
const AT_ABOUT_THE_SAME_TIME: i64 = 3_600_000;

/// So many files that go together, if they are more than a third of all, were hardly removed one by one.
const MANY: usize = 3;

/// What a look at the folder found holds so long (milliseconds).
const LOOK_AGE: u64 = 60_000;

/// A look that did not find what was expected is repeated after that (milliseconds), and so is what the disk refused.
const LOOK_PAUSE: u64 = 600_000;

/// The wall clock may be set meanwhile (milliseconds).
const LONGEST_WAIT: u64 = 3_600_000;
