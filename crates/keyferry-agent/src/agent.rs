//! The agent: which keys there are, and what clients and the daemon may do to them.

mod acquaintance;
mod lending;
mod offer;
mod passphrase;
pub(crate) mod snapshot;
mod store;

pub use lending::LendError;
pub use offer::Offer;

use crate::clock::Moment;
use crate::key::SigningKey;
use crate::message::{Addition, Refusal};
use crate::pool::Pool;
use crate::upstream::UpstreamError;
use acquaintance::Acquaintance;
use arc_swap::{ArcSwap, Guard};
use passphrase::Passphrase;
use snapshot::Snapshot;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The keys and everything that is done with them. A clone is another handle on the same agent.
///
/// Signing reads an immutable snapshot and waits for nobody. Changes take turns on a lock that is never held
/// across a signature, a check of a key or a hash of a passphrase.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

/// How an agent behaves. The default: added keys stay until they are removed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long a key that a client adds without a lifetime stays, as `ssh-agent -t`. Time spent suspended
    /// counts.
    pub default_lifetime: Option<Duration>,
}

/// A key that the daemon loads: one generation of a name.
#[derive(Debug)]
pub struct ManagedKey {
    /// The name that config and ledger have for it.
    pub name: String,
    /// Which of the name's key pairs this is. Several may be loaded at a time; one that is loaded again is
    /// replaced.
    pub generation: u64,
    /// The key.
    pub key: SigningKey,
    /// What a client shows beside the key, as in `ssh-add -l`.
    pub comment: String,
    /// Which clients it is for.
    pub offer: Offer,
}

/// Something that a client did and that is to outlast this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client took away all keys (`ssh-add -D`). A [`Event::Held`] for each managed key that was loaded
    /// came just before. The client meant every key: the daemon should [`Agent::hold`] those too that it has
    /// not loaded yet.
    AllHeld,
    /// A client took away this managed key. None of its generations lists or signs until [`Agent::resume`].
    Held {
        /// The key's name.
        name: String,
    },
}

/// Why a managed key was not loaded. What was loaded before stays.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The comment holds a NUL or is longer than 1024 bytes; clients refuse a list with such a comment.
    #[error("the comment of key {name} is longer than 1024 bytes or holds a NUL")]
    Comment {
        /// The key that was to be loaded.
        name: String,
    },
    /// The same key pair is loaded as another key or generation. A hold or an offer of the one would not count
    /// for the other.
    #[error(
        "generation {generation} of key {name} is the same key pair as generation {other_generation} of key {other}"
    )]
    SamePair {
        /// The key that was to be loaded.
        name: String,
        /// Its generation.
        generation: u64,
        /// The name that has this pair.
        other: String,
        /// The generation that has it.
        other_generation: u64,
    },
}

impl Agent {
    /// An agent without keys.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(Shared {
                options,
                snapshot: ArcSwap::from_pointee(Snapshot::default()),
                store: Mutex::default(),
                acquaintance: Acquaintance::default(),
                changed: Notify::new(),
                lock_changes: watch::Sender::new(0),
                events: OnceLock::new(),
                forwarding: Semaphore::new(MAX_FORWARDED),
                signing: Pool::new("sign", cores),
                checking: Pool::new("check", 1),
                unlocking: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Loads one generation of a managed key, beside the name's others. A name that is held stays held. A key
    /// that a client had added by hand becomes managed, and loses its constraints.
    ///
    /// # Errors
    /// [`LoadError`]; what was loaded before stays.
    pub fn load(&self, key: ManagedKey) -> Result<(), LoadError> {
        let (name, generation, fingerprint) = (key.name.clone(), key.generation, key.key.fingerprint());
        self.change(|store| store.load(key))?;
        tracing::info!(key = name, generation, fingerprint, "loaded");
        Ok(())
    }

    /// Changes which clients a generation is for. Returns whether it is loaded.
    ///
    /// A client that was told of a key in the last two minutes gets signatures with it, whatever its offer is by
    /// now: no login fails because an offer changed in the midst of it. [`Agent::unload`] and [`Agent::hold`] end
    /// that. So let one generation go only when another has been offered.
    pub fn offer(&self, name: &str, generation: u64, offer: Offer) -> bool {
        self.change(|store| store.offer(name, generation, offer))
    }

    /// Drops one generation. A hold, if any, stays with the name. Returns whether it was loaded.
    pub fn unload(&self, name: &str, generation: u64) -> bool {
        self.change(|store| store.unload(name, generation))
    }

    /// Whether this generation is loaded, held or not.
    pub(crate) fn is_loaded(&self, name: &str, generation: u64) -> bool {
        self.store().is_loaded(name, generation)
    }

    /// Keeps every generation of this name, now or whenever it is loaded, from listing and signing. Sends no
    /// [`Event`].
    pub fn hold(&self, name: &str) {
        self.change(|store| store.hold(name));
    }

    /// Ends a hold. Returns whether there was one.
    pub fn resume(&self, name: &str) -> bool {
        self.change(|store| store.resume(name))
    }

    /// Whether this name is held.
    #[must_use]
    pub fn is_held(&self, name: &str) -> bool {
        self.store().is_held(name)
    }

    /// What clients do to managed keys from now on, in order. There is one such stream: `None` from the
    /// second call on.
    #[must_use]
    pub fn events(&self) -> Option<mpsc::UnboundedReceiver<Event>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.events.set(sender).is_ok().then_some(receiver)
    }

    /// How often the agent was locked or unlocked so far: odd while it is locked. It is so before the first signature is
    /// refused for a lock, and no earlier than the first one is made after it.
    #[must_use]
    pub fn lock_changes(&self) -> watch::Receiver<u64> {
        self.shared.lock_changes.subscribe()
    }

    /// The public halves, as SSH writes them (RFC 4253 section 6.6), of the keys that clients added and that list and sign
    /// at this moment.
    #[must_use]
    pub fn added(&self) -> Vec<Vec<u8>> {
        let snapshot = self.snapshot();
        let added = snapshot.added().iter();
        added.map(|added| added.key.public_blob().to_vec()).collect()
    }

    /// Of the keys of [`Agent::added`], those that go by themselves, and how long they stay still.
    #[must_use]
    pub fn lifetimes_of_added(&self) -> Vec<(Vec<u8>, Duration)> {
        let (snapshot, now) = (self.snapshot(), Moment::now());
        let added = snapshot.added().iter();
        added
            .filter_map(|added| Some((added.key.public_blob().to_vec(), added.expires?.since(now))))
            .collect()
    }

    /// The keys that list and sign at this moment.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        let snapshot = self.shared.snapshot.load();
        if snapshot.next_expiry.is_none_or(|at| Moment::now() < at) {
            return snapshot;
        }
        drop(snapshot);
        self.change(|store| store.expire(Moment::now()));
        self.shared.snapshot.load()
    }

    /// A private socket made this key's signature for a login: the server would let it in.
    pub(crate) fn is_let_in(&self, host_key: &[u8], name: &str) {
        self.shared.acquaintance.note(host_key, name);
    }

    /// The names of the keys that are known to be let in there.
    pub(crate) fn let_in_at(&self, host_key: &[u8]) -> Vec<String> {
        self.shared.acquaintance.of(host_key)
    }

    /// Leave to wait for another agent, if not too many do.
    pub(crate) fn forward(&self) -> Result<SemaphorePermit<'_>, UpstreamError> {
        let forwarding = &self.shared.forwarding;
        forwarding.try_acquire().map_err(|_| UpstreamError::Busy)
    }

    /// Where signatures are made that take long.
    pub(crate) fn signing(&self) -> &Pool {
        &self.shared.signing
    }

    /// Adds a key for a client.
    pub(crate) async fn add(&self, body: Zeroizing<Vec<u8>>, constrained: bool) -> Result<(), Refusal> {
        let addition = self
            .shared
            .checking
            .run(move || Addition::parse(&body, constrained))
            .await??;
        let lifetime = addition.lifetime.or(self.shared.options.default_lifetime);
        let expires = lifetime.map(|lifetime| Moment::now().after(lifetime));
        let fingerprint = addition.key.fingerprint();
        self.change(|store| store.add(addition, expires))?;
        tracing::info!(fingerprint, ?lifetime, "added by a client");
        Ok(())
    }

    /// Removes a key that a client added, or holds a managed one.
    pub(crate) fn remove(&self, public_blob: &[u8]) -> Result<(), Refusal> {
        self.change(|store| {
            if let Some(name) = store.remove(public_blob)? {
                self.tell_held(name);
            }
            Ok(())
        })
    }

    /// Removes all keys that clients added, and holds all managed ones.
    pub(crate) fn remove_all(&self) -> Result<(), Refusal> {
        self.change(|store| {
            for name in store.remove_all()? {
                self.tell_held(name);
            }
            self.tell(Event::AllHeld);
            Ok(())
        })
    }

    /// Removes a key that a client added. Managed keys stay.
    pub(crate) fn remove_added(&self, public_blob: &[u8]) -> Result<(), Refusal> {
        self.change(|store| store.remove_added(public_blob))
    }

    /// Removes all keys that clients added. Managed keys stay.
    pub(crate) fn remove_all_added(&self) -> Result<(), Refusal> {
        self.change(Store::remove_all_added)
    }

    /// Makes the agent list and sign nothing until it is unlocked. Loading goes on.
    pub(crate) async fn lock(&self, passphrase: Zeroizing<Vec<u8>>) -> Result<(), Refusal> {
        self.store().require_unlocked()?;
        let passphrase = self
            .shared
            .checking
            .run(move || Passphrase::new(&passphrase))
            .await??;
        self.change(|store| store.lock(passphrase))?;
        tracing::info!("locked by a client");
        Ok(())
    }

    /// Unlocks the agent. Attempts take turns, and every wrong one makes the next wait longer, up to ten
    /// seconds, as in OpenSSH; other requests are answered meanwhile.
    pub(crate) async fn unlock(&self, attempt: Zeroizing<Vec<u8>>) -> Result<(), Refusal> {
        let mut guesses = self.shared.unlocking.lock().await;
        // The client may have gone during an earlier wait; the wait holds for whoever comes next.
        tokio::time::sleep_until(guesses.not_before).await;
        let passphrase = self.store().passphrase().ok_or(Refusal::NotLocked)?;
        if self
            .shared
            .checking
            .run(move || passphrase.matches(&attempt))
            .await?
        {
            self.change(Store::unlock);
            *guesses = Guesses::default();
            tracing::info!("unlocked by a client");
            return Ok(());
        }
        guesses.wrong = (guesses.wrong + 1).min(MAX_GUESSES_COUNTED);
        guesses.not_before = Instant::now() + WAIT_PER_GUESS * guesses.wrong;
        tracing::warn!(
            wrong = guesses.wrong,
            "a client tried to unlock with a wrong passphrase"
        );
        tokio::time::sleep_until(guesses.not_before).await;
        Err(Refusal::WrongPassphrase)
    }

    /// Removes keys as their lifetimes end. Sleeps until the next one does, and for ever while there is none.
    pub(crate) async fn expire_keys(&self) {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let Some(next) = self.snapshot().next_expiry else {
                changed.await;
                continue;
            };
            tokio::select! {
                () = next.reached() => {}
                () = changed => {}
            }
        }
    }

    fn tell_held(&self, name: String) {
        tracing::info!(key = name, "held by a client, until it is resumed");
        self.tell(Event::Held { name });
    }

    fn tell(&self, event: Event) {
        if let Some(events) = self.shared.events.get() {
            // Whoever took the stream may be gone, at a stop.
            let _ = events.send(event);
        }
    }

    /// Changes the store and publishes what lists and signs from now on.
    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store();
        let outcome = change(&mut store);
        let is_locked = store.is_locked();
        if is_locked {
            self.tell_lock(is_locked);
        }
        self.shared.snapshot.store(Arc::new(store.snapshot()));
        if !is_locked {
            self.tell_lock(is_locked);
        }
        drop(store);
        self.shared.changed.notify_waiters();
        outcome
    }

    fn tell_lock(&self, is_locked: bool) {
        self.shared.lock_changes.send_if_modified(|changes| {
            let is_other = (*changes % 2 == 1) != is_locked;
            *changes += u64::from(is_other);
            is_other
        });
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

struct Shared {
    options: Options,
    snapshot: ArcSwap<Snapshot>,
    store: Mutex<Store>,
    /// Which keys were let in where.
    acquaintance: Acquaintance,
    /// The snapshot is another; wakes [`Agent::expire_keys`].
    changed: Notify,
    /// See [`Agent::lock_changes`]; it follows the store.
    lock_changes: watch::Sender<u64>,
    /// Set once somebody listens; without a listener events are not kept.
    events: OnceLock<mpsc::UnboundedSender<Event>>,
    /// Requests that wait for other agents: should two agents ask each other, this ends it.
    forwarding: Semaphore,
    signing: Pool,
    /// Reads added keys and hashes passphrases, one at a time, so that neither slows signing.
    checking: Pool,
    unlocking: tokio::sync::Mutex<Guesses>,
}

/// Wrong passphrases since the agent was locked or last unlocked.
struct Guesses {
    wrong: u32,
    not_before: Instant,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            wrong: 0,
            not_before: Instant::now(),
        }
    }
}

const MAX_FORWARDED: usize = 32;
const WAIT_PER_GUESS: Duration = Duration::from_millis(100);
const MAX_GUESSES_COUNTED: u32 = 100;

#[cfg(test)]
mod tests;
