//! What the engine keeps of the ledger in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Generation, GenerationState, HostRow, KeyRow, Placement, PlacementState, Write};

/// The rows that still matter: every key, and every generation that has not ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LedgerView {
    /// Lower-case hex; random, made on the first start. Part of every pair's name.
    pub installation: String,
    /// By name.
    pub keys: BTreeMap<String, KeyRow>,
    /// By key and number.
    pub generations: BTreeMap<(String, u64), Generation>,
    /// By address.
    pub hosts: BTreeMap<String, HostRow>,
    /// What may stand on hosts, by key, generation and host: also of generations that have ended at the provider.
    pub placements: BTreeMap<(String, u64, String), Placement>,
    /// Names that were asked for and turned out to be somebody else's.
    pub foreign_names: BTreeSet<String>,
    /// The greatest effect id so far; 0: none.
    pub last_effect: i64,
}

impl LedgerView {
    /// Does to the view what a write did to the ledger.
    pub fn apply(&mut self, write: Write) {
        for key in write.keys {
            self.keys.insert(key.name.clone(), key);
        }
        for generation in write.generations {
            if generation.state == GenerationState::Foreign {
                self.foreign_names.insert(generation.pair_name.clone());
            }
            if generation.state.is_final() {
                self.generations.remove(&generation.id());
            } else {
                self.generations.insert(generation.id(), generation);
            }
        }
        for host in write.hosts {
            self.hosts.insert(host.address.clone(), host);
        }
        for placement in write.placements {
            if placement.state == PlacementState::Removed {
                self.placements.remove(&placement.id());
            } else {
                self.placements.insert(placement.id(), placement);
            }
        }
        for effect in write.effects {
            self.last_effect = self.last_effect.max(effect.id);
        }
    }

    /// The generations of a key that have not ended, the oldest first.
    pub fn of_key<'a>(&'a self, key: &str) -> impl DoubleEndedIterator<Item = &'a Generation> + use<'a> {
        self.generations
            .range((key.to_owned(), 0)..=(key.to_owned(), u64::MAX))
            .map(|(_, generation)| generation)
    }

    /// As [`Self::of_key`], without copies.
    pub fn originals<'a>(&'a self, key: &str) -> impl DoubleEndedIterator<Item = &'a Generation> + use<'a> {
        self.of_key(key).filter(|generation| generation.copy_of.is_none())
    }

    /// What may stand on hosts of a key, the oldest generation first.
    pub fn placements_of<'a>(
        &'a self,
        key: &str,
    ) -> impl DoubleEndedIterator<Item = &'a Placement> + use<'a> {
        self.placements
            .range((key.to_owned(), 0, String::new())..=(key.to_owned(), u64::MAX, "\u{10ffff}".to_owned()))
            .map(|(_, placement)| placement)
    }

    /// The key's row; one with nothing in it when there is none yet.
    pub fn key(&self, name: &str) -> KeyRow {
        self.keys.get(name).cloned().unwrap_or_else(|| KeyRow {
            name: name.to_owned(),
            ..KeyRow::default()
        })
    }

    /// Whether the user holds a key.
    pub fn is_held(&self, name: &str) -> bool {
        self.keys.get(name).is_some_and(|key| key.held_at.is_some())
    }
}
