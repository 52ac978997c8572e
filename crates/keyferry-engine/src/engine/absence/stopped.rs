//! Key files that went while the daemon was stopped. What stood in them is not known any more, but that one said `on_remove =
//! "retire"` is in the ledger, with the folder that it lay in.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use super::{DELAY, Gone, Stays, signed};
use crate::desired::{KeyFolder, OnRemove};
use crate::engine::{Engine, Moment};
use crate::ledger::KeyRow;

impl Engine {
    /// `DEVICE:INODE` of the folder with the key files, where it was listed.
    pub(super) fn key_folder_id(&self) -> Option<String> {
        let KeyFolder::Listed(folder) = &self.declared.key_folder else {
            return None;
        };
        let facts = folder.metadata().ok()?;
        Some(format!("{}:{}", facts.dev(), facts.ino()))
    }

    /// The rows of keys whose files say something else about their going than is noted.
    pub(super) fn rows_with_folder(&self, folder_id: Option<&String>) -> Vec<KeyRow> {
        let Some(folder_id) = folder_id else {
            return Vec::new();
        };
        let present = self.declared.keys.values().filter(|spec| spec.present);
        let rows = present.filter_map(|spec| {
            let row = self.view.keys.get(&spec.name)?;
            // One for a command that has this name for now has no file.
            if row.is_for_command() {
                return None;
            }
            let retires_in = (spec.on_remove == OnRemove::Retire).then(|| folder_id.clone());
            (row.retires_in != retires_in).then(|| KeyRow {
                retires_in,
                ..row.clone()
            })
        });
        rows.collect()
    }

    /// At the first list of the folder: the rows of keys whose files were there when the daemon ran last, and are gone. They
    /// end a day from now, unless it may be that nobody meant that.
    pub(super) fn gone_while_stopped(
        &mut self,
        files: &BTreeSet<String>,
        folder_id: Option<&String>,
        now: Moment,
    ) -> Vec<KeyRow> {
        let Some(folder_id) = folder_id else {
            return Vec::new();
        };
        let rows = self.view.keys.values().filter(|row| {
            row.retires_in.is_some()
                && row.retire_at.is_none()
                && row.retire_asked_at.is_none()
                && !files.contains(&row.name)
        });
        let rows: Vec<KeyRow> = rows.cloned().collect();
        let others = self.view.keys.keys().filter(|name| files.contains(*name)).count();
        let count = rows.len();
        let since = signed(now.uptime);
        let mut changed = Vec::new();
        for row in rows {
            let name = row.name.clone();
            if self
                .view
                .of_key(&name)
                .all(|generation| generation.state.is_final())
            {
                changed.push(KeyRow {
                    retires_in: None,
                    ..row
                });
                continue;
            }
            let stays = if row.retires_in.as_ref() != Some(folder_id) || others == 0 {
                Some(Stays::Folder)
            } else if count > 1 {
                Some(Stays::Many(count - 1))
            } else if self.is_checked_out_since(self.last_made_at(&name)) {
                Some(Stays::CheckedOut)
            } else {
                self.unmade_like(&name).map(Stays::Renamed)
            };
            changed.push(match &stays {
                Some(_) => KeyRow { retires_in: None, ..row },
                None => {
                    tracing::info!(key = %name, "its file went while keyferry was stopped: it is retired in a day");
                    KeyRow {
                        retire_at: Some(now.wall_ms().saturating_add(DELAY)),
                        ..row
                    }
                }
            });
            self.absence.gone.insert(name, Gone { since, stays });
        }
        changed
    }

    /// When the last generation was asked for (milliseconds since 1970 UTC): that was the first thing that the daemon did which
    /// ran last, and the file was there then.
    fn last_made_at(&self, name: &str) -> i64 {
        let last = self.view.originals(name).next_back();
        last.map_or(i64::MAX, |row| row.requested_at)
    }

    /// A declared key that has no generation yet and is like the last one of this key: its file may be this key's.
    fn unmade_like(&self, name: &str) -> Option<String> {
        let last = self.view.originals(name).next_back()?;
        let mut others = self.declared.keys.values().filter(|other| {
            other.present
                && other.account == last.account
                && other.algorithm == last.algorithm
                && self.view.keys.get(&other.name).is_none_or(|row| row.last_n == 0)
        });
        others.next().map(|other| other.name.clone())
    }
}
