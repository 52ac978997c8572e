//! What the user says of other public keys than ours: grants, revocations, and the recovery identity.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use super::{Command, EngineHandle, Refusal};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ledger::{HostRow, HostState, RevocationId, Selector, TrustedId};
use crate::plan::Subject;
use crate::snapshot::{Recovered, RevocationPreview, RevokedStatus, Timestamp, TrustedStatus};

mod granting;
mod refusal;
mod revoking;
mod waiting;

pub use refusal::TrustRefusal;
pub(in crate::engine) use waiting::TrustWait;

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
    /// named. It takes 100 seconds at most: hosts that were not looked at by then say so.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is looked at then.
    pub async fn preview_revocation(
        &self,
        selector: Selector,
        hosts: Vec<String>,
        accepted_loss: Vec<String>,
    ) -> Result<RevocationPreview, Refusal> {
        let look = self
            .trust(|reply| TrustCommand::Look {
                selector,
                hosts,
                accepted_loss,
                reply,
            })
            .await?;
        Ok(look.await.unwrap_or_default())
    }

    /// As [`Self::revoke`], and answers as soon as it is noted: from then on it is tried until it is done.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is revoked then.
    pub async fn note_revocation(
        &self,
        selector: Selector,
        hosts: Vec<String>,
        accepted_loss: Vec<String>,
    ) -> Result<(), Refusal> {
        self.trust(|reply| TrustCommand::Note {
            selector,
            hosts,
            accepted_loss,
            reply,
        })
        .await
    }

    /// Answers when lines that [`Self::note_revocation`] noted are gone from these hosts, or something keeps them.
    ///
    /// # Errors
    /// [`Refusal::Ended`].
    pub async fn follow_revocation(
        &self,
        selector: Selector,
        hosts: Vec<String>,
    ) -> Result<Vec<RevokedStatus>, Refusal> {
        let followed = self.trust(|reply| TrustCommand::Follow {
            selector,
            hosts,
            reply,
        });
        followed.await.map(|(revoked, _)| revoked)
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
    Follow {
        selector: Selector,
        hosts: Vec<String>,
        reply: oneshot::Sender<Result<Revoked, Refusal>>,
    },
    Look {
        selector: Selector,
        hosts: Vec<String>,
        accepted_loss: Vec<String>,
        reply: oneshot::Sender<Result<oneshot::Receiver<RevocationPreview>, Refusal>>,
    },
    Note {
        selector: Selector,
        hosts: Vec<String>,
        accepted_loss: Vec<String>,
        reply: oneshot::Sender<Result<(), Refusal>>,
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
            TrustCommand::Follow {
                selector,
                hosts,
                reply,
            } => {
                let ids = hosts.into_iter().map(|host| (host, selector.clone()));
                self.trust_asked.push(TrustWait::Revoked {
                    ids: ids.collect(),
                    own: Vec::new(),
                    known: BTreeMap::new(),
                    reply,
                });
            }
            TrustCommand::Look {
                selector,
                hosts,
                accepted_loss,
                reply,
            } => _ = reply.send(self.looking(selector, &hosts, &accepted_loss)),
            TrustCommand::Note {
                selector,
                hosts,
                accepted_loss,
                reply,
            } => {
                let decision = self.revoking_of(selector, &hosts, &accepted_loss);
                let noted = self.decided(decision).await?;
                if let Ok((ids, own)) = &noted {
                    self.try_revocations_again(ids, own);
                }
                _ = reply.send(noted.map(|_| ()));
            }
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
                        self.try_revocations_again(&ids, &own);
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

    fn try_revocations_again(&mut self, ids: &[RevocationId], own: &[TrustedId]) {
        self.forget_failures_about(own);
        for (host, _) in ids {
            self.observed.retries.remove(&Subject::Revocation(host.clone()));
        }
    }

    fn forget_failures_about(&mut self, ids: &[TrustedId]) {
        for (key, host, _) in ids {
            for subject in [Subject::Trusted, Subject::Recovery] {
                self.observed.retries.remove(&subject(key.clone(), host.clone()));
            }
        }
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
        let keys = self.keys_with_hosts();
        let is_keys = |host: &String| {
            let mut keys = keys.iter();
            keys.any(|(key, hosts)| self.desired.keys.contains_key(key) && hosts.contains(host))
        };
        if let Some(host) = meant.iter().find(|host| !is_keys(host)) {
            let host = host.clone();
            return Err(Refusal::NobodysHost { host });
        }
        for (key, hosts) in keys {
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
