//! What the user says of other public keys than ours: grants, revocations, and the recovery identity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyferry_hosts::{Reply, Task, Work};
use tokio::sync::{Semaphore, oneshot};

use super::{Command, EngineHandle, Refusal};
use crate::config;
use crate::engine::Engine;
use crate::engine::hosting::{host_failure, shown};
use crate::error::EngineError;
use crate::ledger::{
    HostRow, HostState, PlacementState, Purpose, Revocation, RevocationId, RevocationState, Selector,
    Trusted, TrustedId, Write,
};
use crate::plan::Subject;
use crate::snapshot::{Recovered, Revocable, RevocationPreview, RevokedStatus, Timestamp, TrustedStatus};

/// `keyferry grant`: somebody else's key on hosts of a key, for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The public half, as a `.pub` file has it.
    pub public_key: String,
    /// The key on whose hosts it is to be let in, with the options of that key's lines.
    pub key: String,
    /// Until when; at most 1,000 days.
    pub until: Timestamp,
    /// Hosts of the key; empty: all.
    pub hosts: Vec<String>,
}

/// Why something that was asked about other public keys is not done, and the way out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrustRefusal {
    /// It is let in already, and not by a grant.
    #[error("that key is let in on hosts of key {key} already, as {}\n  nothing is to be granted", purpose.name())]
    AlreadyTrusted {
        /// The key.
        key: String,
        /// What for.
        purpose: Purpose,
    },
    /// No line of it is known.
    #[error(
        "nothing is known of a line of {fingerprint}\n  `keyferry grant --list` lists them; name the hosts where it stands with --hosts"
    )]
    NoSuchLine {
        /// What was named.
        fingerprint: String,
    },
    /// There is nothing to recover with.
    #[error(
        "no recovery identity is named\n  write [recovery] with identity = \"~/.ssh/....pub\" into keyferry.toml, and keyferry puts it on your hosts"
    )]
    NoRecovery,
    /// The host is none of the key's.
    #[error("{host} is no host of key {key}\n  `keyferry host list` lists them")]
    NotItsHost {
        /// What was named.
        host: String,
        /// The key.
        key: String,
    },
    /// A file asks for the line.
    #[error("{fingerprint} is {} of {file}: keyferry would put its lines back\n  take it out there, and keyferry takes them off", purpose.name())]
    StillWanted {
        /// The key.
        fingerprint: String,
        /// What for.
        purpose: Purpose,
        /// Which file.
        file: String,
    },
    /// A machine's lines are taken off by that machine.
    #[error("{machine} is this machine: `keyferry retire KEY` takes a key of its own off its hosts")]
    OwnMachine {
        /// What was named.
        machine: String,
    },
    /// It is one of keyferry's own.
    #[error("that is a generation of key {key} itself")]
    OwnKey {
        /// The key.
        key: String,
    },
    /// It is no public key.
    #[error("what was given {0}")]
    PublicKey(String),
    /// A time that is over, or too far away.
    #[error("a grant ends between now and in 1,000 days, not at {0}")]
    Time(Timestamp),
    /// It cannot be named to ssh.
    #[error("{0}")]
    Host(String),
}

impl EngineHandle {
    /// Puts somebody else's public key on hosts of a key. Answers when it is there, or something keeps it; what failed and may
    /// pass is tried again later.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is granted then.
    pub async fn grant(&self, grant: Grant) -> Result<Vec<TrustedStatus>, Refusal> {
        self.trust(|reply| TrustCommand::Grant { grant, reply }).await
    }

    /// Has the recovery identity log in at hosts now, while a person waits who can touch it. Where a key was lost, the new
    /// generation is put there over that login. No name: all hosts. Answers when it is done, or something keeps it.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is begun then.
    pub async fn recover(&self, hosts: Vec<String>) -> Result<Vec<Recovered>, Refusal> {
        self.trust(|reply| TrustCommand::Recover { hosts, reply }).await
    }

    /// Looks for what [`Self::revoke`] would take off. No host: all that are known; those of the key, where one of ours is
    /// named.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is looked at then.
    pub async fn preview_revocation(
        &self,
        selector: Selector,
        hosts: Vec<String>,
    ) -> Result<RevocationPreview, Refusal> {
        let look = self
            .trust(|reply| TrustCommand::Look {
                selector,
                hosts,
                reply,
            })
            .await?;
        Ok(look.await.unwrap_or_default())
    }

    /// Takes lines off hosts, whoever put them there. Hosts of `accepted_loss` (or `all`) may have nobody left who is let in.
    /// Answers when they are gone, or something keeps them; what failed is tried again until it is done.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is revoked then.
    pub async fn revoke(
        &self,
        selector: Selector,
        hosts: Vec<String>,
        accepted_loss: Vec<String>,
    ) -> Result<Revoked, Refusal> {
        self.trust(|reply| TrustCommand::Revoke {
            selector,
            hosts,
            accepted_loss,
            reply,
        })
        .await
    }

    async fn trust<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> TrustCommand,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        // An engine that has ended drops what it is asked.
        let _ = self.commands.send(Command::Trust(command(reply)));
        answer.await.unwrap_or(Err(Refusal::Ended))
    }
}

/// What came of [`EngineHandle::revoke`]: at other installations' lines, and at lines of our own.
type Revoked = (Vec<RevokedStatus>, Vec<TrustedStatus>);

pub(in crate::engine) enum TrustCommand {
    Grant {
        grant: Grant,
        reply: oneshot::Sender<Result<Vec<TrustedStatus>, Refusal>>,
    },
    Look {
        selector: Selector,
        hosts: Vec<String>,
        reply: oneshot::Sender<Result<oneshot::Receiver<RevocationPreview>, Refusal>>,
    },
    Recover {
        hosts: Vec<String>,
        reply: oneshot::Sender<Result<Vec<Recovered>, Refusal>>,
    },
    Revoke {
        selector: Selector,
        hosts: Vec<String>,
        accepted_loss: Vec<String>,
        reply: oneshot::Sender<Result<Revoked, Refusal>>,
    },
}

/// Somebody waits for what happens on hosts.
pub(in crate::engine) enum TrustWait {
    Granted {
        ids: Vec<TrustedId>,
        reply: oneshot::Sender<Result<Vec<TrustedStatus>, Refusal>>,
    },
    Recovered {
        /// When it was asked (milliseconds since 1970 UTC).
        asked_at: i64,
        /// Keys and hosts.
        open: Vec<(String, String)>,
        done: Vec<Recovered>,
        reply: oneshot::Sender<Result<Vec<Recovered>, Refusal>>,
    },
    Revoked {
        ids: Vec<RevocationId>,
        own: Vec<TrustedId>,
        /// As they were before they were gone.
        known: BTreeMap<TrustedId, Trusted>,
        reply: oneshot::Sender<Result<Revoked, Refusal>>,
    },
}

impl Engine {
    pub(super) async fn obey_about_trust(&mut self, command: TrustCommand) -> Result<(), EngineError> {
        match command {
            TrustCommand::Grant { grant, reply } => {
                let decision = self.granting(&grant);
                match self.decided(decision).await? {
                    Ok(ids) => {
                        self.forget_failures_about(&ids);
                        self.trust_asked.push(TrustWait::Granted { ids, reply });
                    }
                    Err(refusal) => _ = reply.send(Err(refusal)),
                }
            }
            TrustCommand::Look {
                selector,
                hosts,
                reply,
            } => _ = reply.send(self.looking(selector, &hosts)),
            TrustCommand::Recover { hosts, reply } => match self.recovering(&hosts) {
                Ok(open) => {
                    let asked_at = self.clock.now().wall_ms();
                    let hosts: BTreeSet<String> = open.iter().map(|(_, host)| host.clone()).collect();
                    self.try_again(&hosts);
                    let ids: Vec<TrustedId> = open
                        .iter()
                        .map(|(key, host)| (key.clone(), host.clone(), String::new()))
                        .collect();
                    self.forget_failures_about(&ids);
                    self.observed
                        .recovering
                        .extend(hosts.into_iter().map(|host| (host, asked_at)));
                    self.trust_asked.push(TrustWait::Recovered {
                        asked_at,
                        open,
                        done: Vec::new(),
                        reply,
                    });
                }
                Err(refusal) => _ = reply.send(Err(refusal)),
            },
            TrustCommand::Revoke {
                selector,
                hosts,
                accepted_loss,
                reply,
            } => {
                let known = self.view.trusted.clone();
                let decision = self.revoking_of(selector, &hosts, &accepted_loss);
                match self.decided(decision).await? {
                    Ok((ids, own)) => {
                        self.forget_failures_about(&own);
                        for (host, _) in &ids {
                            self.observed.retries.remove(&Subject::Revocation(host.clone()));
                        }
                        let known = known.into_iter().filter(|(id, _)| own.contains(id)).collect();
                        self.trust_asked.push(TrustWait::Revoked {
                            ids,
                            own,
                            known,
                            reply,
                        });
                    }
                    Err(refusal) => _ = reply.send(Err(refusal)),
                }
            }
        }
        Ok(())
    }

    fn forget_failures_about(&mut self, ids: &[TrustedId]) {
        for (key, host, _) in ids {
            let subject = Subject::Trusted(key.clone(), host.clone());
            self.observed.retries.remove(&subject);
        }
    }

    fn granting(&self, grant: &Grant) -> Result<(Write, Vec<TrustedId>), Refusal> {
        let key = grant.key.as_str();
        let hosts_of_key = self.hosts_of(key);
        let Some(spec) = self.desired.keys.get(key) else {
            return Err(Refusal::UnknownKey {
                name: key.to_owned(),
                nearest: config::suggestion(key, self.desired.keys.keys().map(String::as_str)),
            });
        };
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
        let write = Write {
            hosts: host_rows,
            trusted,
            ..Write::default()
        };
        Ok((write, ids))
    }

    fn state_of(&self, host: &str) -> HostState {
        self.view.hosts.get(host).map_or(HostState::New, |row| row.state)
    }

    /// Keys and hosts where the recovery identity is to log in now.
    fn recovering(&self, names: &[String]) -> Result<Vec<(String, String)>, Refusal> {
        if self.desired.daemon.recovery.is_none() {
            return Err(TrustRefusal::NoRecovery.into());
        }
        let mut meant = BTreeSet::new();
        for name in names {
            meant.extend(self.logins(name)?);
        }
        let mut open = Vec::new();
        for (key, hosts) in self.keys_with_hosts() {
            for host in hosts {
                let is_meant = match names.is_empty() {
                    true => !matches!(self.state_of(&host), HostState::Forgotten),
                    false => meant.contains(&host),
                };
                if is_meant && self.desired.keys.contains_key(&key) {
                    open.push((key.clone(), host));
                }
            }
        }
        Ok(open)
    }

    /// Begins to look at hosts for lines that are meant. It changes nothing, here or there.
    fn looking(
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
    fn revoking_of(
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

    /// Tells those who wait what came of it.
    pub(in crate::engine) fn answer_about_trust(&mut self) {
        for wait in std::mem::take(&mut self.trust_asked) {
            match wait {
                TrustWait::Granted { ids, reply } if !reply.is_closed() => {
                    let statuses = self.settled(&ids, &BTreeMap::new());
                    match statuses {
                        Some(statuses) => _ = reply.send(Ok(statuses)),
                        None => self.trust_asked.push(TrustWait::Granted { ids, reply }),
                    }
                }
                TrustWait::Revoked {
                    ids,
                    own,
                    known,
                    reply,
                } if !reply.is_closed() => {
                    let revoked: Option<Vec<RevokedStatus>> = ids.iter().map(|id| self.revoked(id)).collect();
                    match (revoked, self.settled(&own, &known)) {
                        (Some(revoked), Some(own)) => _ = reply.send(Ok((revoked, own))),
                        _ => self.trust_asked.push(TrustWait::Revoked {
                            ids,
                            own,
                            known,
                            reply,
                        }),
                    }
                }
                TrustWait::Recovered {
                    asked_at,
                    open,
                    mut done,
                    reply,
                } if !reply.is_closed() => {
                    let mut left = Vec::new();
                    for (key, host) in open {
                        match self.recovered(&key, &host, asked_at) {
                            Some(recovered) => done.push(recovered),
                            None => left.push((key, host)),
                        }
                    }
                    match left.is_empty() {
                        true => _ = reply.send(Ok(done)),
                        false => self.trust_asked.push(TrustWait::Recovered {
                            asked_at,
                            open: left,
                            done,
                            reply,
                        }),
                    }
                }
                // Nobody waits any more.
                TrustWait::Granted { .. } | TrustWait::Recovered { .. } | TrustWait::Revoked { .. } => {}
            }
        }
        let waits = self.trust_asked.iter().flat_map(|wait| match wait {
            TrustWait::Recovered { open, .. } => open.as_slice(),
            TrustWait::Granted { .. } | TrustWait::Revoked { .. } => &[],
        });
        let hosts: BTreeSet<&String> = waits.map(|(_, host)| host).collect();
        self.observed.recovering.retain(|host, _| hosts.contains(host));
    }

    /// How lines fare, when there is nothing more to wait for.
    fn settled(&self, ids: &[TrustedId], known: &BTreeMap<TrustedId, Trusted>) -> Option<Vec<TrustedStatus>> {
        let status = |id: &TrustedId| match self.view.trusted.get(id) {
            Some(row) => {
                let status = self.status_of(row);
                let is_over =
                    row.is_there() && row.state != PlacementState::Removing && !known.contains_key(id);
                (is_over || status.error.is_some()).then_some(status)
            }
            None => {
                let row = known.get(id)?;
                let gone = Trusted {
                    state: PlacementState::Removed,
                    ..row.clone()
                };
                Some(TrustedStatus {
                    error: None,
                    ..self.status_of(&gone)
                })
            }
        };
        // One that ended meanwhile is no one's to wait for.
        let ids = ids
            .iter()
            .filter(|id| self.view.trusted.contains_key(*id) || known.contains_key(*id));
        ids.map(status).collect()
    }

    fn revoked(&self, id: &RevocationId) -> Option<RevokedStatus> {
        let status = self
            .revoked_status()
            .into_iter()
            .find(|status| status.host == id.0 && status.lines_of == id.1.to_string());
        match status {
            Some(status) => status.error.is_some().then_some(status),
            None => Some(RevokedStatus {
                host: id.0.clone(),
                lines_of: id.1.to_string(),
                state: crate::snapshot::LineState::Removed,
                lines: Vec::new(),
                error: None,
            }),
        }
    }

    fn recovered(&self, key: &str, host: &str, asked_at: i64) -> Option<Recovered> {
        let generation = self.generation_at(key, host);
        let verified_at = self.observed.recovery_verified.get(host).copied();
        let making = self.observed.retries.get(&Subject::Making(key.to_owned()));
        let not_loaded = making.filter(|_| !self.observed.loaded.contains_key(key));
        let error = self
            .failed_at(key, host)
            .or_else(|| not_loaded.map(|retry| retry.error.clone()));
        let row = self.view.key(key);
        let stands_still = row.held_at.is_some() || row.paused_at.is_some() || row.retire_asked_at.is_some();
        let is_done = generation.is_some() && verified_at.is_some_and(|at| at >= asked_at);
        (is_done || error.is_some() || stands_still).then(|| Recovered {
            host: host.to_owned(),
            key: key.to_owned(),
            generation,
            recovery_verified_at: verified_at.map(Timestamp::from_ms),
            error,
        })
    }
}

fn new_host(address: &str, now: i64) -> HostRow {
    HostRow {
        address: address.to_owned(),
        pinned_host_key: None,
        state: HostState::New,
        since: now,
        note: None,
    }
}

/// Milliseconds.
const LONGEST_GRANT: i64 = 1_000 * 86_400_000;
const LOOKED_AT_ONCE: usize = 16;
