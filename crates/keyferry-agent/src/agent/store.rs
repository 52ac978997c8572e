//! Which keys there are, and who holds them back.

use super::offer::{Audience, Offer};
use super::passphrase::Passphrase;
use super::snapshot::{Added, Lent, MAX_LIST_LENGTH, MAX_LISTED, Managed, Snapshot, entry_length};
use super::{LoadError, ManagedKey};
use crate::clock::Moment;
use crate::message::{Addition, Refusal};
use crate::upstream::Foreign;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The keys as they are. Every change is followed by a new [`Snapshot`].
#[derive(Default)]
pub(super) struct Store {
    /// By name, the newest generation first, which is also the order in which they are listed, before the added
    /// ones.
    managed: BTreeMap<(String, Reverse<u64>), Arc<Managed>>,
    /// Names held back, loaded or not.
    held: BTreeSet<String>,
    /// In the order of their coming.
    added: Vec<Arc<Added>>,
    /// By public blob.
    lent: BTreeMap<Vec<u8>, Arc<Lent>>,
    /// There is one while the agent is locked.
    passphrase: Option<Arc<Passphrase>>,
}

impl Store {
    pub(super) fn load(&mut self, key: ManagedKey) -> Result<(), LoadError> {
        let ManagedKey {
            name,
            generation,
            key,
            comment,
            offer,
        } = key;
        if !is_listable(&comment) {
            return Err(LoadError::Comment { name });
        }
        if let Some(other) = self
            .of_pair(key.public_blob())
            .filter(|other| (other.name.as_str(), other.generation) != (&name, generation))
        {
            return Err(LoadError::SamePair {
                other: other.name.clone(),
                other_generation: other.generation,
                name,
                generation,
            });
        }
        self.added
            .retain(|added| added.key.public_blob() != key.public_blob());
        let managed = Managed {
            name: name.clone(),
            generation,
            key: Arc::new(key),
            comment,
            audience: offer.into(),
        };
        self.managed
            .insert((name, Reverse(generation)), Arc::new(managed));
        Ok(())
    }

    pub(super) fn offer(&mut self, name: &str, generation: u64, offer: Offer) -> bool {
        let Some(place) = self.managed.get_mut(&(name.to_owned(), Reverse(generation))) else {
            return false;
        };
        *place = Arc::new(Managed {
            name: place.name.clone(),
            generation,
            key: Arc::clone(&place.key),
            comment: place.comment.clone(),
            audience: Audience::from(offer),
        });
        true
    }

    pub(super) fn unload(&mut self, name: &str, generation: u64) -> bool {
        self.managed
            .remove(&(name.to_owned(), Reverse(generation)))
            .is_some()
    }

    pub(super) fn is_loaded(&self, name: &str, generation: u64) -> bool {
        self.managed.contains_key(&(name.to_owned(), Reverse(generation)))
    }

    pub(super) fn lend(&mut self, foreign: Foreign, offer: Offer) {
        let lent = Lent {
            audience: offer.into(),
            foreign: Arc::new(foreign),
        };
        self.lent.insert(lent.foreign.public_blob.clone(), Arc::new(lent));
    }

    pub(super) fn unlend(&mut self, public_blob: &[u8]) -> bool {
        self.lent.remove(public_blob).is_some()
    }

    pub(super) fn hold(&mut self, name: &str) {
        self.held.insert(name.to_owned());
    }

    pub(super) fn resume(&mut self, name: &str) -> bool {
        self.held.remove(name)
    }

    pub(super) fn is_held(&self, name: &str) -> bool {
        self.held.contains(name)
    }

    /// Adds a client's key, or gives one that it added before a new comment and a new end.
    pub(super) fn add(&mut self, addition: Addition, expires: Option<Moment>) -> Result<(), Refusal> {
        self.require_unlocked()?;
        if self.of_pair(addition.key.public_blob()).is_some() {
            return Err(Refusal::ManagedKey);
        }
        let added = Added {
            key: Arc::new(addition.key),
            comment: addition.comment,
            expires,
        };
        let known = self
            .added
            .iter()
            .position(|other| other.key.public_blob() == added.key.public_blob());
        let (count, length) = self
            .added
            .iter()
            .enumerate()
            .filter(|(place, _)| Some(*place) != known)
            .map(|(_, other)| entry_length(other.key.public_blob(), &other.comment))
            .chain(
                self.managed
                    .values()
                    .map(|managed| entry_length(managed.key.public_blob(), managed.comment.as_bytes())),
            )
            .fold(
                (1, entry_length(added.key.public_blob(), &added.comment)),
                |(count, sum), length| (count + 1, sum + length),
            );
        if count > MAX_LISTED || length > MAX_LIST_LENGTH {
            return Err(Refusal::TooManyKeys);
        }
        let added = Arc::new(added);
        match known {
            Some(place) => self.added[place] = added,
            None => self.added.push(added),
        }
        Ok(())
    }

    /// Removes a client's key, or holds a managed one, whose name it returns. Whoever is not shown a generation
    /// cannot hold its name by it.
    pub(super) fn remove(&mut self, public_blob: &[u8]) -> Result<Option<String>, Refusal> {
        self.require_unlocked()?;
        if self.remove_added(public_blob).is_ok() {
            return Ok(None);
        }
        let name = self
            .of_pair(public_blob)
            .filter(|managed| !matches!(managed.audience, Audience::Nobody))
            .ok_or(Refusal::UnknownKey)?
            .name
            .clone();
        if self.held.insert(name.clone()) {
            Ok(Some(name))
        } else {
            Err(Refusal::UnknownKey)
        }
    }

    /// Removes a client's key.
    pub(super) fn remove_added(&mut self, public_blob: &[u8]) -> Result<(), Refusal> {
        self.require_unlocked()?;
        let mut added = self.added.iter();
        let place = added.position(|added| added.key.public_blob() == public_blob);
        self.added.remove(place.ok_or(Refusal::UnknownKey)?);
        Ok(())
    }

    /// Removes the clients' keys.
    pub(super) fn remove_all_added(&mut self) -> Result<(), Refusal> {
        self.require_unlocked()?;
        self.added.clear();
        Ok(())
    }

    /// Removes the clients' keys and holds all managed ones; returns the names that were not held before.
    pub(super) fn remove_all(&mut self) -> Result<Vec<String>, Refusal> {
        self.remove_all_added()?;
        Ok(self
            .managed
            .keys()
            .filter(|(name, _)| self.held.insert(name.clone()))
            .map(|(name, _)| name.clone())
            .collect())
    }

    pub(super) fn expire(&mut self, now: Moment) {
        self.added.retain(|added| added.expires.is_none_or(|at| now < at));
    }

    pub(super) fn lock(&mut self, passphrase: Passphrase) -> Result<(), Refusal> {
        if self.passphrase.is_some() {
            return Err(Refusal::AlreadyLocked);
        }
        self.passphrase = Some(Arc::new(passphrase));
        Ok(())
    }

    pub(super) fn unlock(&mut self) {
        self.passphrase = None;
    }

    pub(super) fn is_locked(&self) -> bool {
        self.passphrase.is_some()
    }

    pub(super) fn passphrase(&self) -> Option<Arc<Passphrase>> {
        self.passphrase.clone()
    }

    pub(super) fn require_unlocked(&self) -> Result<(), Refusal> {
        if self.passphrase.is_some() {
            Err(Refusal::Locked)
        } else {
            Ok(())
        }
    }

    /// What lists and signs: nothing while locked, else all but the held.
    pub(super) fn snapshot(&self) -> Snapshot {
        let next_expiry = self.added.iter().filter_map(|added| added.expires).min();
        if self.passphrase.is_some() {
            return Snapshot::locked().expiring(next_expiry);
        }
        let managed = self
            .managed
            .values()
            .filter(|managed| !self.held.contains(&managed.name));
        let lent = self.lent.values().cloned().collect();
        Snapshot::new(managed.cloned().collect(), self.added.clone(), lent).expiring(next_expiry)
    }

    fn of_pair(&self, public_blob: &[u8]) -> Option<&Managed> {
        self.managed
            .values()
            .find(|managed| managed.key.public_blob() == public_blob)
            .map(Arc::as_ref)
    }
}

/// Whether a comment of ours may stand in a list: OpenSSH's client refuses a list in which one has a NUL.
pub(super) fn is_listable(comment: &str) -> bool {
    comment.len() <= MAX_COMMENT && !comment.contains('\0')
}

const MAX_COMMENT: usize = 1024;
