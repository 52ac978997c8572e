//! The keys as clients see them.

use super::offer::Audience;
use crate::clock::Moment;
use crate::frames::MAX_MESSAGE;
use crate::key::SigningKey;
use crate::message::number;
use crate::private_socket::Signer;
use crate::upstream::Foreign;
use crate::wire::{Reader, put_prefixed, put_string};
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What clients see: made once per change, read by many at a time. While the agent is locked, and of a name that
/// is held, there is nothing in it.
pub(crate) struct Snapshot {
    keys: HashSet<Entry>,
    /// By name, the newest generation first.
    managed: Vec<Arc<Managed>>,
    /// In the order of their coming.
    added: Vec<Arc<Added>>,
    /// In the order of their public blobs; none that is ours as well.
    lent: Vec<Arc<Lent>>,
    list: Arc<[u8]>,
    /// Whether any key is offered to some hosts, so that clients bound to different hosts see different lists.
    has_hosts: bool,
    is_locked: bool,
    pub(super) next_expiry: Option<Moment>,
}

/// One generation of a managed key.
pub(crate) struct Managed {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) comment: String,
    pub(crate) audience: Audience,
}

/// A key that a client added.
pub(crate) struct Added {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) comment: Vec<u8>,
    pub(crate) expires: Option<Moment>,
}

/// A key in another agent.
pub(crate) struct Lent {
    pub(crate) foreign: Arc<Foreign>,
    pub(crate) audience: Audience,
}

impl Snapshot {
    /// Of the keys that are not held back, `managed` in the order of the list.
    pub(super) fn new(managed: Vec<Arc<Managed>>, added: Vec<Arc<Added>>, lent: Vec<Arc<Lent>>) -> Self {
        let mut keys: HashSet<Entry> = managed
            .iter()
            .map(|managed| Entry::Managed(Arc::clone(managed)))
            .chain(added.iter().map(|added| Entry::Added(Arc::clone(added))))
            .collect();
        let lent: Vec<_> = lent
            .into_iter()
            .filter(|lent| keys.insert(Entry::Lent(Arc::clone(lent))))
            .collect();
        let audiences = managed
            .iter()
            .map(|managed| &managed.audience)
            .chain(lent.iter().map(|lent| &lent.audience));
        let mut snapshot = Self {
            has_hosts: audiences
                .into_iter()
                .any(|audience| matches!(audience, Audience::Hosts(_))),
            keys,
            managed,
            added,
            lent,
            list: Arc::default(),
            is_locked: false,
            next_expiry: None,
        };
        let mut list = List::default();
        list.put_managed(
            snapshot
                .managed
                .iter()
                .filter(|managed| managed.audience.is_everyone()),
        );
        list.put_lent(snapshot.lent.iter().filter(|lent| lent.audience.is_everyone()));
        list.put_added(&snapshot.added);
        snapshot.list = list.into_reply();
        snapshot
    }

    /// Of a locked agent.
    pub(super) fn locked() -> Self {
        Self {
            is_locked: true,
            ..Self::default()
        }
    }

    pub(super) fn expiring(self, next_expiry: Option<Moment>) -> Self {
        Self { next_expiry, ..self }
    }

    /// The whole frame that answers a request for the list, if it is the same for a client bound to this host, or to
    /// none, as for everybody.
    pub(crate) fn common_list(&self, host_key: Option<&[u8]>) -> Option<&Arc<[u8]>> {
        (host_key.is_none() || !self.has_hosts).then_some(&self.list)
    }

    /// The frame for a client that is bound to this host. What is known to be let in there comes first, `let_in` being names
    /// of such keys: servers hear out but a few keys. To a host that nothing is offered to by name those of ours that are
    /// offered to others come last: it may be one of those, with another of its host keys.
    pub(crate) fn list_for(&self, host_key: &[u8], let_in: &[String]) -> Arc<[u8]> {
        let mut list = List::default();
        list.put_managed(
            self.managed
                .iter()
                .filter(|managed| managed.audience.has_host(host_key)),
        );
        list.put_lent(self.lent.iter().filter(|lent| lent.audience.has_host(host_key)));
        let others =
            |managed: &&Arc<Managed>| managed.audience.is_everyone() && self.is_shown(managed, host_key);
        let is_let_in = |managed: &&Arc<Managed>| let_in.contains(&managed.name);
        for name in let_in {
            list.put_managed(self.generations(name).iter().filter(others));
        }
        list.put_managed(
            self.managed
                .iter()
                .filter(others)
                .filter(|managed| !is_let_in(managed)),
        );
        list.put_lent(self.lent.iter().filter(|lent| lent.audience.is_everyone()));
        list.put_added(&self.added);
        if !self.knows(host_key) {
            list.put_managed(
                self.managed
                    .iter()
                    .filter(|managed| managed.audience.is_of_hosts()),
            );
        }
        list.into_reply()
    }

    /// A key that is loaded, whether or not it is offered to anybody.
    pub(crate) fn find(&self, public_blob: &[u8]) -> Option<&Entry> {
        self.keys.get(public_blob)
    }

    /// One generation, whatever its offer.
    pub(crate) fn generation(&self, name: &str, generation: u64) -> Option<&Arc<Managed>> {
        self.generations(name)
            .iter()
            .find(|managed| managed.generation == generation)
    }

    /// The keys that clients added.
    pub(crate) fn added(&self) -> &[Arc<Added>] {
        &self.added
    }

    /// A key that a client added.
    pub(crate) fn find_added(&self, public_blob: &[u8]) -> Option<&Arc<Added>> {
        match self.find(public_blob)? {
            Entry::Added(added) => Some(added),
            Entry::Lent(_) | Entry::Managed(_) => None,
        }
    }

    /// Nothing lists or signs.
    pub(crate) fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// Whether a client bound to this host, or to none, is shown this key.
    pub(crate) fn is_offered(&self, entry: &Entry, host_key: Option<&[u8]>) -> bool {
        match (entry, host_key) {
            (Entry::Added(_), _) => true,
            // Another agent may ask somebody to touch something: not for a host that nobody named.
            (Entry::Lent(lent), _) => {
                lent.audience.is_everyone() || host_key.is_some_and(|host| lent.audience.has_host(host))
            }
            (Entry::Managed(managed), Some(host_key)) if self.has_hosts => self.is_shown(managed, host_key),
            (Entry::Managed(managed), _) => managed.audience.is_everyone(),
        }
    }

    fn is_shown(&self, managed: &Managed, host_key: &[u8]) -> bool {
        managed.audience.has_host(host_key)
            || managed.audience.is_everyone()
                && !self
                    .generations(&managed.name)
                    .iter()
                    .any(|other| other.audience.has_host(host_key))
            || managed.audience.is_of_hosts() && !self.knows(host_key)
    }

    /// Whether anything is offered to this host by name.
    fn knows(&self, host_key: &[u8]) -> bool {
        self.managed
            .iter()
            .any(|managed| managed.audience.has_host(host_key))
            || self.lent.iter().any(|lent| lent.audience.has_host(host_key))
    }

    fn generations(&self, name: &str) -> &[Arc<Managed>] {
        let start = self
            .managed
            .partition_point(|managed| managed.name.as_str() < name);
        let after = &self.managed[start..];
        &after[..after.partition_point(|managed| managed.name == name)]
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new(), Vec::new())
    }
}

/// A key as it is found: by its public blob.
pub(crate) enum Entry {
    Added(Arc<Added>),
    Lent(Arc<Lent>),
    Managed(Arc<Managed>),
}

impl Entry {
    pub(crate) fn signer(&self) -> Signer<'_> {
        match self {
            Self::Added(added) => Signer::Own(&added.key),
            Self::Lent(lent) => Signer::Foreign(&lent.foreign),
            Self::Managed(managed) => Signer::Own(&managed.key),
        }
    }

    fn public_blob(&self) -> &[u8] {
        match self {
            Self::Added(added) => added.key.public_blob(),
            Self::Lent(lent) => &lent.foreign.public_blob,
            Self::Managed(managed) => managed.key.public_blob(),
        }
    }
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        self.public_blob()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.public_blob().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.public_blob() == other.public_blob()
    }
}

impl Eq for Entry {}

/// A list of keys as it is written.
#[derive(Default)]
pub(crate) struct List {
    count: u32,
    entries: Vec<u8>,
}

impl List {
    /// A longer list than clients take would leave them with no key at all; what is not on it still signs.
    pub(crate) fn put(&mut self, public_blob: &[u8], comment: &[u8]) {
        if self.entries.len() + entry_length(public_blob, comment) <= MAX_LIST_LENGTH
            && (self.count as usize) < MAX_LISTED
        {
            put_string(&mut self.entries, public_blob);
            put_string(&mut self.entries, comment);
            self.count += 1;
        }
    }

    fn put_managed<'a>(&mut self, all: impl Iterator<Item = &'a Arc<Managed>>) {
        for managed in all {
            self.put(managed.key.public_blob(), managed.comment.as_bytes());
        }
    }

    fn put_lent<'a>(&mut self, all: impl Iterator<Item = &'a Arc<Lent>>) {
        for lent in all {
            self.put(&lent.foreign.public_blob, lent.foreign.comment.as_bytes());
        }
    }

    fn put_added(&mut self, all: &[Arc<Added>]) {
        for added in all {
            self.put(added.key.public_blob(), &added.comment);
        }
    }

    /// The frame.
    pub(crate) fn into_reply(self) -> Arc<[u8]> {
        let mut reply = Vec::with_capacity(self.entries.len() + 9);
        put_prefixed(&mut reply, |out| {
            out.push(number::IDENTITIES_ANSWER);
            out.extend_from_slice(&self.count.to_be_bytes());
            out.extend_from_slice(&self.entries);
        });
        reply.into()
    }
}

/// Whether a list that was sent has this key.
pub(crate) fn is_listed(list: &[u8], public_blob: &[u8]) -> bool {
    let mut reader = Reader::new(list.get(9..).unwrap_or_default());
    while let (Ok(listed), Ok(_comment)) = (reader.string(), reader.string()) {
        if listed == public_blob {
            return true;
        }
    }
    false
}

/// What one key takes in the list.
pub(super) fn entry_length(public_blob: &[u8], comment: &[u8]) -> usize {
    4 + public_blob.len() + 4 + comment.len()
}

/// OpenSSH's client gives up on a longer list, with all its keys (`MAX_AGENT_IDENTITIES`,
/// `MAX_AGENT_REPLY_LEN`).
pub(super) const MAX_LISTED: usize = 2048;
pub(super) const MAX_LIST_LENGTH: usize = MAX_MESSAGE - 5;
