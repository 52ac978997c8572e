//! Which keys there are, who holds them back, and the snapshot of them that clients see.

use super::passphrase::Passphrase;
use super::{LoadError, ManagedKey};
use crate::clock::Moment;
use crate::frames::MAX_MESSAGE;
use crate::key::SigningKey;
use crate::message::{Addition, Refusal, number};
use crate::wire::{put_prefixed, put_string};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The keys as they are. Every change is followed by a new [`Snapshot`].
#[derive(Default)]
pub(super) struct Store {
    /// By name, which is also the order in which they are listed, before the added ones.
    managed: BTreeMap<String, Managed>,
    /// Names held back, loaded or not.
    held: BTreeSet<String>,
    /// In the order of their coming.
    added: Vec<Added>,
    /// There is one while the agent is locked.
    passphrase: Option<Arc<Passphrase>>,
}

struct Managed {
    key: Arc<SigningKey>,
    comment: String,
}

struct Added {
    key: Arc<SigningKey>,
    comment: Vec<u8>,
    expires: Option<Moment>,
}

impl Store {
    pub(super) fn load(&mut self, key: ManagedKey) -> Result<(), LoadError> {
        let ManagedKey {
            name,
            key,
            comment,
            generation: _,
        } = key;
        if comment.contains('\0') || comment.len() > MAX_MANAGED_COMMENT {
            return Err(LoadError::Comment { name });
        }
        if let Some(other) = self
            .managed_name(key.public_blob())
            .filter(|other| *other != name)
        {
            return Err(LoadError::SamePair {
                name,
                other: other.to_owned(),
            });
        }
        self.added
            .retain(|added| added.key.public_blob() != key.public_blob());
        self.managed.insert(
            name,
            Managed {
                key: Arc::new(key),
                comment,
            },
        );
        Ok(())
    }

    pub(super) fn unload(&mut self, name: &str) -> bool {
        self.managed.remove(name).is_some()
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
        if self.managed_name(addition.key.public_blob()).is_some() {
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
            .map(|(_, other)| entry_length(&other.key, &other.comment))
            .chain(
                self.managed
                    .values()
                    .map(|managed| entry_length(&managed.key, managed.comment.as_bytes())),
            )
            .fold(
                (1, entry_length(&added.key, &added.comment)),
                |(count, sum), length| (count + 1, sum + length),
            );
        if count > MAX_LISTED || length > MAX_LIST_LENGTH {
            return Err(Refusal::TooManyKeys);
        }
        match known {
            Some(place) => self.added[place] = added,
            None => self.added.push(added),
        }
        Ok(())
    }

    /// Removes a client's key, or holds a managed one, whose name it returns.
    pub(super) fn remove(&mut self, public_blob: &[u8]) -> Result<Option<String>, Refusal> {
        self.require_unlocked()?;
        if let Some(place) = self
            .added
            .iter()
            .position(|added| added.key.public_blob() == public_blob)
        {
            self.added.remove(place);
            return Ok(None);
        }
        let name = self
            .managed_name(public_blob)
            .ok_or(Refusal::UnknownKey)?
            .to_owned();
        if self.held.insert(name.clone()) {
            Ok(Some(name))
        } else {
            Err(Refusal::UnknownKey)
        }
    }

    /// Removes the clients' keys and holds all managed ones; returns the names that were not held before.
    pub(super) fn remove_all(&mut self) -> Result<Vec<String>, Refusal> {
        self.require_unlocked()?;
        self.added.clear();
        Ok(self
            .managed
            .keys()
            .filter(|name| self.held.insert((*name).clone()))
            .cloned()
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
        let mut snapshot = Snapshot {
            keys: HashSet::new(),
            list: Box::default(),
            next_expiry: self.added.iter().filter_map(|added| added.expires).min(),
        };
        let managed = self.managed.iter().filter(|(name, _)| !self.held.contains(*name));
        let entries = managed
            .map(|(_, managed)| (&managed.key, managed.comment.as_bytes()))
            .chain(self.added.iter().map(|added| (&added.key, &added.comment[..])))
            .filter(|_| self.passphrase.is_none());

        let mut count = 0_u32;
        let mut list = Vec::new();
        for (key, comment) in entries {
            snapshot.keys.insert(ByPublicBlob(Arc::clone(key)));
            // A longer list would leave the client with no key at all; what is not on it still signs.
            if list.len() + entry_length(key, comment) <= MAX_LIST_LENGTH && (count as usize) < MAX_LISTED {
                put_string(&mut list, key.public_blob());
                put_string(&mut list, comment);
                count += 1;
            }
        }
        let mut reply = Vec::with_capacity(list.len() + 9);
        put_prefixed(&mut reply, |out| {
            out.push(number::IDENTITIES_ANSWER);
            out.extend_from_slice(&count.to_be_bytes());
            out.extend_from_slice(&list);
        });
        snapshot.list = reply.into_boxed_slice();
        snapshot
    }

    fn managed_name(&self, public_blob: &[u8]) -> Option<&str> {
        let mut managed = self.managed.iter();
        managed
            .find(|(_, managed)| managed.key.public_blob() == public_blob)
            .map(|(name, _)| name.as_str())
    }
}

/// What clients see: made once per change, read by many at a time.
pub(crate) struct Snapshot {
    keys: HashSet<ByPublicBlob>,
    list: Box<[u8]>,
    pub(super) next_expiry: Option<Moment>,
}

impl Snapshot {
    /// The whole frame that answers a request for the list.
    pub(crate) fn list(&self) -> &[u8] {
        &self.list
    }

    pub(crate) fn find(&self, public_blob: &[u8]) -> Option<&Arc<SigningKey>> {
        self.keys.get(public_blob).map(|entry| &entry.0)
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Store::default().snapshot()
    }
}

/// A key as it is found: by its public blob.
struct ByPublicBlob(Arc<SigningKey>);

impl Borrow<[u8]> for ByPublicBlob {
    fn borrow(&self) -> &[u8] {
        self.0.public_blob()
    }
}

impl Hash for ByPublicBlob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.public_blob().hash(state);
    }
}

impl PartialEq for ByPublicBlob {
    fn eq(&self, other: &Self) -> bool {
        self.0.public_blob() == other.0.public_blob()
    }
}

impl Eq for ByPublicBlob {}

/// What one key takes in the list.
fn entry_length(key: &SigningKey, comment: &[u8]) -> usize {
    4 + key.public_blob().len() + 4 + comment.len()
}

/// OpenSSH's client gives up on a longer list, with all its keys (`MAX_AGENT_IDENTITIES`,
/// `MAX_AGENT_REPLY_LEN`).
const MAX_LISTED: usize = 2048;
const MAX_LIST_LENGTH: usize = MAX_MESSAGE - 5;

const MAX_MANAGED_COMMENT: usize = 1024;
