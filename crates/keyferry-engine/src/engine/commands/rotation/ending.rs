//! Ending a key, and giving up what holds its earlier generations back.

use std::collections::BTreeSet;

use super::{Refusal, keys};
use crate::config::suggestion;
use crate::engine::Engine;
use crate::ledger::KeyRow;
use crate::plan::explain;
use crate::snapshot::KeyPlan;

impl Engine {
    pub(super) fn retiring(&self, key: &str, accepted_loss: &[String]) -> Result<KeyRow, Refusal> {
        self.known_key(key)?;
        let mut known = self.hosts_of(key);
        known.extend(self.instances_of(key));
        let mut row = self.view.key(key);
        if row.retire_asked_at.is_none() && !row.is_for_command() {
            // What was given up for earlier generations was not said of the whole key.
            row.accepted_loss = None;
        }
        Ok(KeyRow {
            rotate_asked_at: None,
            retire_asked_at: row.retire_asked_at.or(Some(self.clock.now().wall_ms())),
            // Now it is the user who says so: the file's coming back changes nothing.
            retire_at: None,
            accepted_loss: accepted(&row, accepted_loss, &known)?,
            ..row
        })
    }

    pub(super) fn giving_up(&self, key: &str, instances: &[String]) -> Result<KeyRow, Refusal> {
        self.known_key(key)?;
        let known = self.instances_of(key);
        let row = self.view.key(key);
        // Of instances that are not known yet nobody has seen the name.
        if known.is_empty() {
            return Err(Refusal::NoInstances { key: key.to_owned() });
        }
        let instances: Vec<String> = match instances.iter().any(|name| name == ALL) {
            true => known.iter().cloned().collect(),
            false => instances.to_vec(),
        };
        Ok(KeyRow {
            accepted_loss: accepted(&row, &instances, &known)?,
            ..row
        })
    }

    /// The instances that the provider said to name a pair of the key.
    pub(in crate::engine::commands) fn instances_of(&self, key: &str) -> BTreeSet<String> {
        let of_key = self.observed.instances.iter().filter(|((of, _), _)| of == key);
        of_key.flat_map(|(_, (names, _))| names.iter().cloned()).collect()
    }

    /// As if the key were being retired already.
    pub(super) fn explained_end(&self, key: &str, accepted_loss: &[String]) -> Result<Vec<KeyPlan>, Refusal> {
        let mut view = self.view.clone();
        view.apply(keys(vec![self.retiring(key, accepted_loss)?]));
        let (now, names) = (self.clock.now(), [key.to_owned()]);
        Ok(explain(&self.desired, &view, &self.observed, now, &names))
    }
}

/// What a key's row accepts once these names are added, each of which is known or `all`.
fn accepted(row: &KeyRow, names: &[String], known: &BTreeSet<String>) -> Result<Option<String>, Refusal> {
    let before = row.accepted_loss.as_deref().unwrap_or_default();
    let mut accepted: BTreeSet<&str> = before.split_whitespace().collect();
    for name in names {
        if name != ALL && !known.contains(name) {
            return Err(Refusal::UnknownLoss {
                key: row.name.clone(),
                name: name.clone(),
                nearest: suggestion(name, known.iter().map(String::as_str)),
            });
        }
        accepted.insert(name);
    }
    let accepted: Vec<&str> = accepted.into_iter().collect();
    Ok((!accepted.is_empty()).then(|| accepted.join(" ")))
}

/// Everything that would be lost.
const ALL: &str = "all";
