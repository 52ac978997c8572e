//! Looking for lines that are to go, and noting that they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyferry_hosts::{Reply, Task, Work};
use tokio::sync::{Semaphore, oneshot};

use super::super::Refusal;
use super::{TrustRefusal, new_host};
use crate::engine::Engine;
use crate::engine::hosting::{host_failure, shown};
use crate::ledger::{
    HostState, PlacementState, Purpose, Revocation, RevocationId, RevocationState, Selector, Trusted,
    TrustedId, Write,
};
use crate::snapshot::{Revocable, RevocationPreview};

impl Engine {
    /// Begins to look at hosts for lines that are meant. It changes nothing, here or there.
    pub(super) fn looking(
        &self,
        selector: Selector,
        names: &[String],
    ) -> Result<oneshot::Receiver<RevocationPreview>, Refusal> {
        let own = self.own_lines(&selector)?;
        let retires = match &selector {
            Selector::Key(key) if self.is_own_key(key) => Some(key.clone()),
            _ => None,
        };
        let hosts = match own.is_empty() {
            true => self.hosts_for(&selector, names)?,
            false => BTreeSet::new(),
        };
        let own = own.iter().filter_map(|id| self.view.trusted.get(id));
        let mut preview = RevocationPreview {
            hosts: Vec::new(),
            own: own.map(|row| self.status_of(row)).collect(),
            retires,
        };
        let meant = Arc::new(self.meant(selector));
        let places = Arc::new(Semaphore::new(LOOKED_AT_ONCE));
        let looks: Vec<_> = hosts
            .into_iter()
            .map(|host| {
                let (key, over) = self.logins_for_revocation(&host);
                let is_verified = self.is_verified_at(&host);
                let task = Task {
                    host: self.host(&key, &host),
                    work: Work::Inspect { over },
                };
                let (meant, places) = (Arc::clone(&meant), Arc::clone(&places));
                let ssh = Arc::clone(&self.hosts);
                tokio::spawn(async move {
                    let _place = places.acquire().await;
                    let (marked, error) = match ssh.run(task).await {
                        Ok(Reply::Marked { lines, others }) => {
                            (meant.among(lines, others, is_verified), None)
                        }
                        Ok(_) => Default::default(),
                        Err(error) => (Default::default(), Some(host_failure(&error).status())),
                    };
                    Revocable {
                        host,
                        lines: marked.lines.iter().map(shown).collect(),
                        own: marked.own,
                        has_others: marked.has_others,
                        error,
                    }
                })
            })
            .collect();
        let (done, answer) = oneshot::channel();
        tokio::spawn(async move {
            for look in looks {
                preview.hosts.extend(look.await);
            }
            // Whoever asked may have gone.
            let _ = done.send(preview);
        });
        Ok(answer)
    }

    /// The hosts where lines are looked for.
    fn hosts_for(&self, selector: &Selector, names: &[String]) -> Result<BTreeSet<String>, Refusal> {
        let mut hosts = BTreeSet::new();
        for name in names {
            match self.logins(name) {
                Ok(logins) => hosts.extend(logins),
                // One that this installation never had to do with.
                Err(_) => {
                    keyferry_hosts::check_destination(name).map_err(TrustRefusal::Host)?;
                    hosts.insert(name.clone());
                }
            }
        }
        if names.is_empty() {
            hosts = match selector {
                Selector::Key(key) if self.is_own_key(key) => self.hosts_of(key),
                _ => {
                    let of_keys = self.keys_with_hosts().into_iter().flat_map(|(_, hosts)| hosts);
                    of_keys.chain(self.view.hosts.keys().cloned()).collect()
                }
            };
            hosts.retain(|host| self.state_of(host) != HostState::Forgotten);
        }
        Ok(hosts)
    }

    fn is_own_key(&self, key: &str) -> bool {
        self.desired.keys.contains_key(key) || self.view.of_key(key).next().is_some()
    }

    /// The lines of our own that a selector means: those of a granted key.
    fn own_lines(&self, selector: &Selector) -> Result<Vec<TrustedId>, Refusal> {
        let named = match selector {
            Selector::Machine(machine) if self.is_own_machine(machine) => {
                let machine = machine.clone();
                return Err(TrustRefusal::OwnMachine { machine }.into());
            }
            Selector::Grant(named) => named,
            Selector::Key(_) | Selector::Machine(_) | Selector::Owner(_) => return Ok(Vec::new()),
        };
        let rows = self.view.trusted.values();
        let rows: Vec<&Trusted> = rows.filter(|row| row.fingerprint() == *named).collect();
        for row in &rows {
            let recovery = self.desired.daemon.recovery.as_ref();
            let is_recovery = recovery.is_some_and(|recovery| recovery.public_key == row.public_key);
            let spec = self.desired.keys.get(&row.key).filter(|spec| spec.present);
            let is_also = spec.is_some_and(|spec| spec.deploy.also_trust.contains(&row.public_key));
            let (purpose, file) = match (is_recovery, is_also) {
                (true, _) => (Purpose::Recovery, "keyferry.toml".to_owned()),
                (false, true) => (Purpose::AlsoTrust, format!("keys/{}.toml", row.key)),
                (false, false) => continue,
            };
            return Err(TrustRefusal::StillWanted {
                fingerprint: named.clone(),
                purpose,
                file,
            }
            .into());
        }
        Ok(rows.into_iter().map(Trusted::id).collect())
    }

    #[expect(clippy::type_complexity, reason = "a write, and what it is about")]
    pub(super) fn revoking_of(
        &self,
        selector: Selector,
        names: &[String],
        accepted_loss: &[String],
    ) -> Result<(Write, (Vec<RevocationId>, Vec<TrustedId>)), Refusal> {
        let now = self.clock.now().wall_ms();
        let accepts = |host: &str| {
            let is_named = |name: &String| name == "all" || name == host;
            accepted_loss.iter().any(is_named)
                || accepted_loss
                    .iter()
                    .any(|name| self.logins(name).is_ok_and(|logins| logins.contains(host)))
        };
        let own = self.own_lines(&selector)?;
        let rows = own.iter().filter_map(|id| self.view.trusted.get(id));
        // A way back in goes only when the user names the host.
        let may_go = |row: &&Trusted| row.purpose != Purpose::Recovery || accepts(&row.host);
        let trusted: Vec<Trusted> = rows
            .filter(may_go)
            .map(|row| Trusted {
                state: PlacementState::Removing,
                changed_at: now,
                ..row.clone()
            })
            .collect();
        let hosts = match own.is_empty() {
            true => self.hosts_for(&selector, names)?,
            false => BTreeSet::new(),
        };
        if let (Selector::Grant(fingerprint), true, true) =
            (&selector, own.is_empty(), names.is_empty() && hosts.is_empty())
        {
            let fingerprint = fingerprint.clone();
            return Err(TrustRefusal::NoSuchLine { fingerprint }.into());
        }
        let revocations = hosts.into_iter().map(|host| Revocation {
            accepts_loss: accepts(&host),
            host,
            selector: selector.clone(),
            state: RevocationState::Asked,
            lines: String::new(),
            asked_at: now,
            changed_at: now,
            note: None,
        });
        let revocations: Vec<Revocation> = revocations.collect();
        let ids = revocations.iter().map(Revocation::id).collect();
        // So that a host can be given up that nobody has had to do with, and one is looked at that was given up.
        let rows = revocations
            .iter()
            .filter_map(|row| match self.view.hosts.get(&row.host) {
                Some(known) => (known.state == HostState::Forgotten).then(|| self.opened(known)),
                None => Some(new_host(&row.host, now)),
            });
        let write = Write {
            hosts: rows.collect(),
            trusted,
            revocations,
            ..Write::default()
        };
        Ok((write, (ids, own)))
    }
}

const LOOKED_AT_ONCE: usize = 16;
