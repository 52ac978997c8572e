//! What the engine keeps of the ledger in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Generation, GenerationState, HostRow, KeyRow, ORPHANS, Placement, PlacementState, Write};
use super::trusted::{Purpose, Revocation, RevocationId, RevocationState, Trusted, TrustedId};
use crate::naming;

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
    /// Other people's lines that may stand on hosts, or are to be put there.
    pub trusted: BTreeMap<TrustedId, Trusted>,
    /// What the user wants off hosts, and is not yet.
    pub revocations: BTreeMap<RevocationId, Revocation>,
    /// Names that were asked for and turned out to be somebody else's.
    pub foreign_names: BTreeSet<String>,
    /// By what a pair's name begins with, which is all of it but its number: the keys whose pairs were ever called so.
    pub names: BTreeMap<String, BTreeSet<String>>,
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
            self.note_name(&generation.key, &generation.pair_name);
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
        for row in write.trusted {
            if row.state == PlacementState::Removed {
                self.trusted.remove(&row.id());
            } else {
                self.trusted.insert(row.id(), row);
            }
        }
        for row in write.revocations {
            if row.state == RevocationState::Removed {
                self.revocations.remove(&row.id());
            } else {
                self.revocations.insert(row.id(), row);
            }
        }
        for effect in write.effects {
            self.last_effect = self.last_effect.max(effect.id);
        }
    }

    /// Remembers that a pair of a key had a name; one that was only found is nobody's.
    pub(super) fn note_name(&mut self, key: &str, pair_name: &str) {
        let beginning = naming::without_number(pair_name);
        let is_known = |keys: &BTreeSet<String>| keys.contains(key);
        if key != ORPHANS && !self.names.get(beginning).is_some_and(is_known) {
            let keys = self.names.entry(beginning.to_owned()).or_default();
            keys.insert(key.to_owned());
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

    /// Whether a pair is a copy, and an earlier pair of the same generation is in the same region (again).
    pub fn is_surplus(&self, row: &Generation) -> bool {
        let mut others = self.of_key(&row.key);
        others.any(|other| {
            other.n < row.n
                && other.state == GenerationState::Live
                && other.region == row.region
                && row.copy_of.is_some_and(|n| other.holds(n))
        })
    }

    /// Other people's lines that may stand on hosts of a key.
    pub fn trusted_of<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Trusted> + use<'a> {
        let first = (key.to_owned(), String::new(), String::new());
        let key = key.to_owned();
        self.trusted
            .range(first..)
            .map(|(_, row)| row)
            .take_while(move |row| row.key == key)
    }

    /// Other people's lines that may stand on one host of a key.
    pub fn trusted_at<'a>(&'a self, key: &str, host: &str) -> impl Iterator<Item = &'a Trusted> + use<'a> {
        let first = (key.to_owned(), host.to_owned(), String::new());
        let (key, host) = (key.to_owned(), host.to_owned());
        self.trusted
            .range(first..)
            .map(|(_, row)| row)
            .take_while(move |row| row.key == key && row.host == host)
    }

    /// When the recovery identity was last seen to log in at a host, over a line that still stands there.
    pub fn recovery_verified(&self, host: &str, public_key: &str) -> Option<i64> {
        let rows = self.trusted.values().filter(|row| {
            row.purpose == Purpose::Recovery && row.host == host && row.public_key == public_key
        });
        let verified = rows.filter(|row| row.state == PlacementState::Verified);
        verified.filter_map(|row| row.verified_at).max()
    }

    /// The key's row; one with nothing in it when there is none yet.
    pub fn key(&self, name: &str) -> KeyRow {
        self.keys.get(name).cloned().unwrap_or_else(|| KeyRow {
            name: name.to_owned(),
            ..KeyRow::default()
        })
    }

    /// Whether a key is there for one command.
    pub fn is_for_command(&self, name: &str) -> bool {
        self.keys.get(name).is_some_and(KeyRow::is_for_command)
    }

    /// Whether the user holds a key.
    pub fn is_held(&self, name: &str) -> bool {
        self.keys.get(name).is_some_and(|key| key.held_at.is_some())
    }
}
