//! Where lines of keyferry's may stand on a host, and who gets there.

use std::collections::BTreeSet;

use keyferry_hosts::{Host, Identity};

use crate::engine::Engine;
use crate::engine::hosting::path_of;
use crate::ledger::{Placement, PlacementState};

/// A file of lines on a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct FileAt {
    /// The key whose settings say how it is changed; empty: nobody's.
    pub(in crate::engine) key: String,
    /// Its path; none: the usual one.
    pub(in crate::engine) path: Option<String>,
}

impl Engine {
    /// All files where keys of ours stand on a host, or would: that of what was seen to log in first.
    pub(in crate::engine) fn files_at(&self, host: &str) -> Vec<FileAt> {
        let there = |placement: &&Placement| placement.host == host;
        let mut placed: Vec<&Placement> = self.view.placements.values().filter(there).collect();
        placed.sort_by_key(|placement| {
            let is_seen = placement.state == PlacementState::Verified && self.is_in_agent(placement);
            std::cmp::Reverse((is_seen, placement.verified_at, placement.n))
        });
        let recorded = placed.iter().filter_map(|placement| {
            let path = path_of(placement.file.clone()?);
            let key = placement.key.clone();
            Some(FileAt { key, path })
        });
        let trusted = self.view.trusted.values().filter(|row| row.host == host);
        let trusted = trusted.filter_map(|row| {
            let path = path_of(row.file.clone()?);
            let key = row.key.clone();
            Some(FileAt { key, path })
        });
        let recorded = recorded.chain(trusted);
        let mut keys: Vec<&String> = placed.iter().map(|placement| &placement.key).collect();
        let of_host = self.desired.keys.keys();
        keys.extend(of_host.filter(|key| self.hosts_of(key).contains(host)));
        let named = keys.into_iter().map(|key| FileAt {
            key: key.clone(),
            path: self.host(key, host).account.path,
        });
        let named: Vec<FileAt> = named.collect();
        let mut files: Vec<FileAt> = Vec::new();
        let mut known = BTreeSet::new();
        for file in named.into_iter().chain(recorded) {
            let owner = self.host(&file.key, host).account.owner;
            if known.insert((owner, file.path.clone())) {
                files.push(file);
            }
        }
        if files.is_empty() {
            let (key, path) = (String::new(), None);
            files.push(FileAt { key, path });
        }
        files
    }

    /// A host as it is reached for one of its files.
    pub(in crate::engine) fn host_for(&self, file: &FileAt, address: &str) -> Host {
        let mut host = self.host(&file.key, address);
        host.account.path.clone_from(&file.path);
        host
    }

    /// How a host is logged in to that may be no key's: what was seen to log in first, then what the key's file says, else
    /// what the user's own ssh_config has.
    pub(in crate::engine) fn logins_for_revocation(&self, host: &str, key: &str) -> Vec<Identity> {
        let there = self.view.placements.values();
        let seen = there.filter(|placement| {
            placement.host == host
                && placement.state == PlacementState::Verified
                && self.is_in_agent(placement)
        });
        let mut seen: Vec<&Placement> = seen.collect();
        seen.sort_by_key(|placement| std::cmp::Reverse((placement.verified_at, placement.n)));
        let ids = seen.iter().map(|placement| (placement.key.clone(), placement.n));
        let mut logins: Vec<Identity> = ids.filter_map(|id| self.identity(&id)).collect();
        logins.extend(self.recovery_identity_at(host));
        let n = self.observed.loaded.get(key).copied().unwrap_or_default();
        for login in self.logins_for(&(key.to_owned(), n), host) {
            if !logins.contains(&login) {
                logins.push(login);
            }
        }
        if !logins.contains(&Identity::SshConfig) {
            logins.push(Identity::SshConfig);
        }
        logins
    }
}
