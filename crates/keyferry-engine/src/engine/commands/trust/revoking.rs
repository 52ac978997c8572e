//! Looking for lines that are to go, and noting that they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keyferry_hosts::{Reply, Task, Work};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::Refusal;
use super::{TrustRefusal, new_host};
use crate::config::suggestion;
use crate::engine::Engine;
use crate::engine::hosting::{host_failure, shown};
use crate::ledger::{
    HostState, PlacementState, Purpose, Revocation, RevocationId, RevocationState, Selector, Trusted,
    TrustedId, Write,
};
use crate::snapshot::{Revocable, RevocationPreview, StatusError};

impl Engine {
    /// Begins to look at hosts for lines that are meant. It changes nothing, here or there.
    pub(super) fn looking(
        &self,
        selector: Selector,
        names: &[String],
        accepted_loss: &[String],
    ) -> Result<oneshot::Receiver<RevocationPreview>, Refusal> {
        let (own, hosts) = self.own_and_hosts(&selector, names)?;
        let retires = match &selector {
            Selector::Key(key) if self.is_own_key(key) => Some(key.clone()),
            _ => None,
        };
        let own: Vec<&Trusted> = own.iter().filter_map(|id| self.view.trusted.get(id)).collect();
        let of_retired = self.checked_losses(&hosts, &own, retires.as_deref(), accepted_loss)?;
        let mut preview = RevocationPreview {
            hosts: Vec::new(),
            own: own.into_iter().map(|row| self.status_of(row)).collect(),
            retires,
            of_retired,
        };
        let meant = Arc::new(self.meant(selector));
        let places = Arc::new(Semaphore::new(LOOKED_AT_ONCE));
        let looks: Vec<(String, JoinHandle<Revocable>)> = hosts
            .into_iter()
            .map(|host| {
                let accepted = self.accepts(&host, accepted_loss);
                let is_verified = self.is_verified_at(&host);
                let files = self.files_at(&host);
                let tasks = files.iter().map(|file| Task {
                    host: self.host_for(file, &host),
                    work: Work::Inspect {
                        over: self.logins_for_revocation(&host, &file.key),
                    },
                });
                let tasks: Vec<Task> = tasks.collect();
                let (meant, places) = (Arc::clone(&meant), Arc::clone(&places));
                let ssh = Arc::clone(&self.hosts);
                let name = host.clone();
                let look = tokio::spawn(async move {
                    let _place = places.acquire().await;
                    let mut seen = Revocable {
                        host,
                        lines: Vec::new(),
                        own: 0,
                        has_others: true,
                        accepted,
                        error: None,
                    };
                    for task in tasks {
                        match timeout(LOOK_TIME, ssh.run(task)).await {
                            Ok(Ok(Reply::Marked { lines, others })) => {
                                let marked = meant.among(lines, others, is_verified);
                                // A file where nothing goes keeps letting in whom it does.
                                seen.has_others &= marked.has_others || marked.lines.is_empty();
                                seen.lines.extend(marked.lines.iter().map(shown));
                                seen.own += marked.own;
                            }
                            Ok(Ok(_)) => {}
                            Ok(Err(error)) => {
                                seen.error.get_or_insert(host_failure(&error).status());
                            }
                            Err(_) => {
                                seen.error.get_or_insert(not_seen("it did not answer in time"));
                            }
                        }
                    }
                    seen.has_others &= !seen.lines.is_empty() || seen.error.is_none();
                    seen
                });
                (name, look)
            })
            .collect();
        let (done, answer) = oneshot::channel();
        tokio::spawn(async move {
            preview.hosts = gathered(looks, Instant::now() + LOOKING_TIME).await;
            // Whoever asked may have gone.
            let _ = done.send(preview);
        });
        Ok(answer)
    }

    /// The lines of our own that are meant, and the hosts where others are looked for: on hosts that are named, on those alone.
    fn own_and_hosts(
        &self,
        selector: &Selector,
        names: &[String],
    ) -> Result<(Vec<TrustedId>, BTreeSet<String>), Refusal> {
        let mut own = self.own_lines(selector)?;
        if names.is_empty() && !own.is_empty() {
            return Ok((own, BTreeSet::new()));
        }
        let mut hosts = self.hosts_for(selector, names)?;
        own.retain(|(_, host, _)| hosts.contains(host));
        for (_, host, _) in &own {
            hosts.remove(host);
        }
        Ok((own, hosts))
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

    /// Whether the user accepted that a host lets in nobody.
    fn accepts(&self, host: &str, accepted_loss: &[String]) -> bool {
        let mut names = accepted_loss.iter();
        names.any(|name| {
            name == ALL || name == host || self.logins(name).is_ok_and(|logins| logins.contains(host))
        })
    }

    /// Refuses names that stand for nothing that could be lost, and gives those that belong to the key that ends.
    fn checked_losses(
        &self,
        hosts: &BTreeSet<String>,
        own: &[&Trusted],
        retires: Option<&str>,
        accepted_loss: &[String],
    ) -> Result<Vec<String>, Refusal> {
        let mut losses = BTreeSet::new();
        if let Some(key) = retires {
            losses = self.hosts_of(key);
            losses.extend(self.instances_of(key));
            losses.insert(ALL.to_owned());
        }
        let mut of_retired = BTreeSet::new();
        for name in accepted_loss {
            let stands_for = match losses.contains(name) {
                true => [name.clone()].into(),
                false => self.logins(name).unwrap_or_default(),
            };
            of_retired.extend(stands_for.into_iter().filter(|name| losses.contains(name)));
            let is_meant = |host: &str| self.accepts(host, std::slice::from_ref(name));
            let is_known = name == ALL
                || losses.contains(name)
                || hosts.iter().any(|host| is_meant(host))
                || own.iter().any(|row| is_meant(&row.host));
            if !is_known {
                let known = hosts.iter().chain(own.iter().map(|row| &row.host));
                let known = known.take(MOST_NAMED).map(String::as_str);
                return Err(TrustRefusal::UnknownLoss {
                    name: name.clone(),
                    nearest: suggestion(name, known),
                }
                .into());
            }
        }
        Ok(of_retired.into_iter().collect())
    }

    #[expect(clippy::type_complexity, reason = "a write, and what it is about")]
    pub(super) fn revoking_of(
        &self,
        selector: Selector,
        names: &[String],
        accepted_loss: &[String],
    ) -> Result<(Write, (Vec<RevocationId>, Vec<TrustedId>)), Refusal> {
        let now = self.clock.now().wall_ms();
        let accepts = |host: &str| self.accepts(host, accepted_loss);
        let (own, hosts) = self.own_and_hosts(&selector, names)?;
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

/// What was seen until then, in the order of the hosts; the others were not looked at yet.
async fn gathered(looks: Vec<(String, JoinHandle<Revocable>)>, end: Instant) -> Vec<Revocable> {
    let mut seen = Vec::new();
    for (host, mut look) in looks {
        seen.push(match timeout_at(end, &mut look).await {
            Ok(Ok(revocable)) => revocable,
            // Those that ended in time are still told after it.
            _ => {
                look.abort();
                Revocable {
                    host,
                    lines: Vec::new(),
                    own: 0,
                    has_others: false,
                    accepted: false,
                    error: Some(not_seen("it was not looked at yet")),
                }
            }
        });
    }
    seen
}

fn not_seen(message: &str) -> StatusError {
    StatusError {
        kind: "not_seen".to_owned(),
        code: None,
        message: message.to_owned(),
        request_id: None,
        remedy: None,
        retry_at: None,
    }
}

const ALL: &str = "all";
const MOST_NAMED: usize = 10;
const LOOKED_AT_ONCE: usize = 16;
/// For one host: one that is up answers in seconds.
const LOOK_TIME: Duration = Duration::from_secs(40);
/// For all of them: a person waits.
const LOOKING_TIME: Duration = Duration::from_secs(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_take_long_are_told_as_not_looked_at() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let seen = Revocable {
                host: "web-2".to_owned(),
                lines: vec!["a line".to_owned()],
                own: 0,
                has_others: true,
                accepted: false,
                error: None,
            };
            let known = seen.clone();
            let looks = vec![
                ("web-1".to_owned(), tokio::spawn(std::future::pending())),
                ("web-2".to_owned(), tokio::spawn(async move { known })),
            ];
            let end = Instant::now() + Duration::from_millis(20);
            let gathered = gathered(looks, end).await;
            assert_eq!(gathered[0].host, "web-1");
            let error = gathered[0].error.clone().unwrap();
            assert_eq!(error.message, "it was not looked at yet");
            assert_eq!(gathered[1], seen);
        });
    }
}
