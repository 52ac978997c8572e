//! Deciding about a grant.

use std::collections::BTreeSet;

use super::super::Refusal;
use super::{Grant, TrustRefusal, new_host};
use crate::config;
use crate::engine::Engine;
use crate::ledger::{HostState, PlacementState, Purpose, Trusted, TrustedId, Write};

impl Engine {
    pub(super) fn granting(&self, grant: &Grant) -> Result<(Write, Vec<TrustedId>), Refusal> {
        let key = grant.key.as_str();
        let hosts_of_key = self.hosts_of(key);
        let Some(spec) = self.desired.keys.get(key) else {
            return Err(Refusal::UnknownKey {
                name: key.to_owned(),
                nearest: config::suggestion(key, self.desired.keys.keys().map(String::as_str)),
            });
        };
        self.lasting_key(key)?;
        if hosts_of_key.is_empty() {
            return Err(Refusal::WithoutHosts { key: key.to_owned() });
        }
        let public_key = config::public_key(&grant.public_key).map_err(TrustRefusal::PublicKey)?;
        let now = self.clock.now().wall_ms();
        // sshd(8) reads whole seconds.
        let until = grant.until.to_ms() / 1_000 * 1_000;
        if until <= now || until > now.saturating_add(LONGEST_GRANT) {
            return Err(TrustRefusal::Time(grant.until).into());
        }
        let blob = keyferry_hosts::public_blob(&public_key);
        if let Some(own) = self.view.generations.values().find(|row| row.blob == blob) {
            return Err(TrustRefusal::OwnKey { key: own.key.clone() }.into());
        }
        let is_recovery = self
            .desired
            .daemon
            .recovery
            .as_ref()
            .is_some_and(|named| named.public_key == public_key);
        let purpose = match is_recovery {
            true => Some(Purpose::Recovery),
            false => spec
                .deploy
                .also_trust
                .contains(&public_key)
                .then_some(Purpose::AlsoTrust),
        };
        if let Some(purpose) = purpose {
            return Err(TrustRefusal::AlreadyTrusted {
                key: key.to_owned(),
                purpose,
            }
            .into());
        }
        let mut hosts = BTreeSet::new();
        for name in &grant.hosts {
            let logins = self.logins(name)?;
            let of_key: Vec<String> = logins
                .into_iter()
                .filter(|host| hosts_of_key.contains(host))
                .collect();
            if of_key.is_empty() {
                return Err(TrustRefusal::NotItsHost {
                    host: name.clone(),
                    key: key.to_owned(),
                }
                .into());
            }
            hosts.extend(of_key);
        }
        if grant.hosts.is_empty() {
            hosts = hosts_of_key;
            hosts.retain(|host| self.state_of(host) != HostState::Forgotten);
        }
        let new = hosts.iter().filter(|host| !self.view.hosts.contains_key(*host));
        let host_rows = new.map(|host| new_host(host, now));
        let host_rows = host_rows.collect();
        let rows = hosts.into_iter().map(|host| Trusted {
            // An earlier grant may stand there.
            file: self
                .view
                .trusted
                .get(&(key.to_owned(), host.clone(), public_key.clone()))
                .and_then(|row| row.file.clone()),
            key: key.to_owned(),
            host,
            public_key: public_key.clone(),
            purpose: Purpose::Grant,
            line: String::new(),
            state: PlacementState::Placing,
            until: Some(until),
            verified_at: None,
            changed_at: now,
            note: None,
        });
        let trusted: Vec<Trusted> = rows.collect();
        let ids = trusted.iter().map(Trusted::id).collect();
        // A key that was declared a moment ago has no row yet, and the lines name one.
        let is_new = !self.view.keys.contains_key(key);
        let write = Write {
            keys: is_new.then(|| self.view.key(key)).into_iter().collect(),
            hosts: host_rows,
            trusted,
            ..Write::default()
        };
        Ok((write, ids))
    }
}

/// Milliseconds.
const LONGEST_GRANT: i64 = 1_000 * 86_400_000;
