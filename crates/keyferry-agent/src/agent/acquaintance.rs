//! Which keys were let in where, as far as this process has seen it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// For the order of lists alone: a server hears out but a few keys, so those that it is known to ask signatures of come first.
#[derive(Default)]
pub(super) struct Acquaintance {
    /// Names of managed keys by the public blob of the host key, the latest first.
    hosts: Mutex<BTreeMap<Vec<u8>, Vec<String>>>,
}

impl Acquaintance {
    /// A server asked for a signature of this key, and so would let it in.
    pub(super) fn note(&self, host_key: &[u8], name: &str) {
        let mut hosts = self.hosts();
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host_key) {
            hosts.pop_first();
        }
        let names = hosts.entry(host_key.to_vec()).or_default();
        names.retain(|other| other != name);
        names.insert(0, name.to_owned());
        names.truncate(MAX_NAMES);
    }

    /// The names of the keys that were let in there, the latest first.
    pub(super) fn of(&self, host_key: &[u8]) -> Vec<String> {
        self.hosts().get(host_key).cloned().unwrap_or_default()
    }

    /// Held while names are copied, never while somebody is waited for.
    fn hosts(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<String>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than any key has.
const MAX_HOSTS: usize = 16_384;
/// More than servers hear out.
const MAX_NAMES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_comes_first_and_neither_hosts_nor_names_pile_up() {
        let acquaintance = Acquaintance::default();
        for name in ["web", "db", "web"] {
            acquaintance.note(b"host", name);
        }
        assert_eq!(acquaintance.of(b"host"), ["web", "db"]);
        assert!(acquaintance.of(b"other").is_empty());
        for n in 0..100 {
            acquaintance.note(b"host", &n.to_string());
        }
        assert_eq!(acquaintance.of(b"host").len(), MAX_NAMES);
        for n in 0..MAX_HOSTS + 10 {
            acquaintance.note(&n.to_be_bytes(), "web");
        }
        assert_eq!(acquaintance.hosts().len(), MAX_HOSTS);
    }
}
