//! What others tell the engine.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::Engine;
use crate::error::EngineError;
use crate::ledger::{GenerationState, HostRow, HostState, KeyRow, ORPHANS, Write};
use crate::snapshot::{OrphanResult, Snapshot, StrayPair, SurveyReport};

mod attaching;
mod exec;
mod hosts;
mod refusal;
mod rotation;
mod trust;

use attaching::AttachCommand;
pub use attaching::{AttachAsked, AttachRefusal};
use exec::ExecCommand;
pub use exec::Lease;
use hosts::HostCommand;
pub use refusal::Refusal;
use rotation::RotationCommand;
use trust::TrustCommand;
pub(super) use trust::TrustWait;
pub use trust::{Grant, TrustRefusal};

/// How the rest of the daemon talks to a running [`Engine`].
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::UnboundedSender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl EngineHandle {
    pub(super) fn new(
        commands: mpsc::UnboundedSender<Command>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        Self { commands, snapshots }
    }

    /// The agent says that the user took a key away (`ssh-add -d`, or `-D` for each). It gets nothing new until
    /// [`Self::resume`], also after a restart.
    pub fn held(&self, key: &str) {
        // An engine that has ended loads nothing either.
        let _ = self.commands.send(Command::Held { key: key.to_owned() });
    }

    /// Ends the hold of keys and of their rotations, tries again at once what had failed, and looks again at pairs and hosts
    /// that are left alone. A key that is being retired stays: only if it is named. No name: all keys. Gives the names of those
    /// for which that changed something.
    ///
    /// # Errors
    /// A [`Refusal`] when one of the names is no key's, and when the end of a retirement cannot be noted; nothing is resumed then.
    pub async fn resume(&self, keys: Vec<String>) -> Result<Vec<String>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Resume { keys, reply });
        answer.await.unwrap_or(Ok(Vec::new()))
    }

    /// Returns when the engine has seen what the config directory asks for now, and begun what follows from it.
    pub async fn refresh(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Refresh { reply });
        let _ = answer.await;
    }

    /// Looks at all pairs of the accounts that are named, or that the named keys are of; no name: of all. Answers when
    /// that is done, also where an account could not be asked.
    ///
    /// # Errors
    /// [`UnknownName`] when one of the names is neither an account's nor a key's; nothing is looked at then.
    pub async fn survey(&self, names: Vec<String>) -> Result<Vec<SurveyReport>, UnknownName> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Survey { names, reply });
        match answer.await {
            Ok(Ok(reports)) => Ok(reports.await.unwrap_or_default()),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Deletes orphans that [`Self::survey`] found. Answers when each is gone or something keeps it; what failed and may
    /// pass is tried again later.
    pub async fn delete_orphans(&self, pairs: Vec<StrayPair>) -> Vec<OrphanResult> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::DeleteOrphans { pairs, reply });
        answer.await.unwrap_or_default()
    }

    /// What status shows, whenever it changes.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }
}

/// There is neither an account nor a key of that name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no account and no key named {name}")]
pub struct UnknownName {
    /// The name.
    pub name: String,
}

type Reports = oneshot::Receiver<Vec<SurveyReport>>;

pub(super) enum Command {
    Attach(AttachCommand),
    DeleteOrphans {
        pairs: Vec<StrayPair>,
        reply: oneshot::Sender<Vec<OrphanResult>>,
    },
    Exec(ExecCommand),
    Held {
        key: String,
    },
    Host(HostCommand),
    Refresh {
        reply: oneshot::Sender<()>,
    },
    Resume {
        keys: Vec<String>,
        reply: oneshot::Sender<Result<Vec<String>, Refusal>>,
    },
    Rotation(RotationCommand),
    Trust(TrustCommand),
    Survey {
        names: Vec<String>,
        reply: oneshot::Sender<Result<Reports, UnknownName>>,
    },
}

impl Engine {
    pub(super) async fn obey(&mut self, command: Command) -> Result<(), EngineError> {
        match command {
            Command::DeleteOrphans { pairs, reply } => self.delete_orphans(pairs, reply).await,
            Command::Survey { names, reply } => {
                match self.accounts_of(&names) {
                    Ok(accounts) => {
                        let (done, reports) = oneshot::channel();
                        self.survey_now(accounts, done);
                        let _ = reply.send(Ok(reports));
                    }
                    Err(error) => _ = reply.send(Err(error)),
                }
                Ok(())
            }
            Command::Attach(command) => {
                self.obey_about_attaching(command);
                Ok(())
            }
            Command::Exec(command) => self.obey_about_exec(command).await,
            // Nobody brings one back that is there for one command: it ends.
            Command::Held { key } if self.view.is_for_command(&key) => self.end_key_for_command(&key).await,
            Command::Held { key } => {
                let held_at = Some(self.clock.now().wall_ms());
                self.record_word(KeyRow {
                    held_at,
                    ..self.view.key(&key)
                })
                .await
            }
            Command::Host(command) => self.obey_about_hosts(command).await,
            Command::Rotation(command) => self.obey_about_rotation(command).await,
            Command::Trust(command) => self.obey_about_trust(command).await,
            // Planning follows every command, and answers it.
            Command::Refresh { reply } => {
                let _ = reply.send(());
                Ok(())
            }
            Command::Resume { keys, reply } => {
                if let Some(refusal) = keys.iter().find_map(|name| self.known_key(name).err()) {
                    let _ = reply.send(Err(refusal));
                    return Ok(());
                }
                let is_named = !keys.is_empty();
                let named = keys.clone();
                let keys: BTreeSet<String> = match is_named {
                    true => keys.into_iter().collect(),
                    false => self
                        .desired
                        .keys
                        .keys()
                        .chain(self.view.keys.keys())
                        .cloned()
                        .collect(),
                };
                let ended = match self.end_retirements(&named).await? {
                    Ok(ended) => ended,
                    Err(refusal) => {
                        let _ = reply.send(Err(refusal));
                        return Ok(());
                    }
                };
                self.forget_failures_that_were_mended(false);
                let mut resumed = Vec::new();
                for key in keys {
                    let is_changed = self.resume(&key, is_named).await? || ended.contains(&key);
                    if is_changed && key != ORPHANS {
                        resumed.push(key);
                    }
                }
                let _ = reply.send(Ok(resumed));
                Ok(())
            }
        }
    }

    /// The accounts that names stand for.
    fn accounts_of(&self, names: &[String]) -> Result<BTreeSet<String>, UnknownName> {
        if names.is_empty() {
            return Ok(self.desired.accounts.keys().cloned().collect());
        }
        let mut accounts = BTreeSet::new();
        for name in names {
            let of_key = self.desired.keys.get(name).map(|spec| spec.account.clone());
            let of_rows = self.view.of_key(name).map(|row| row.account.clone());
            let own = self.desired.accounts.contains_key(name).then(|| name.clone());
            let found: Vec<String> = own.into_iter().chain(of_key).chain(of_rows).collect();
            if found.is_empty() {
                return Err(UnknownName { name: name.clone() });
            }
            accounts.extend(found);
        }
        Ok(accounts)
    }

    /// Calls off the retirements of keys that were named, and says of which. It is on the disk, or not done: the next start
    /// would go on with one that only this process has forgotten.
    async fn end_retirements(
        &mut self,
        names: &[String],
    ) -> Result<Result<BTreeSet<String>, Refusal>, EngineError> {
        let rows = names.iter().map(|name| self.view.key(name));
        // One for a command ends, whatever is said.
        let rows = rows.filter(|row| !row.is_for_command());
        let rows = rows.filter(|row| row.retire_asked_at.is_some() || row.retire_at.is_some());
        let rows: Vec<KeyRow> = rows
            .map(|row| KeyRow {
                accepted_loss: row.accepted_loss.filter(|_| row.retire_asked_at.is_none()),
                retire_asked_at: None,
                retire_at: None,
                retires_in: None,
                ..row
            })
            .collect();
        let ended = rows.iter().map(|row| row.name.clone()).collect();
        let write = Write {
            keys: rows,
            ..Write::default()
        };
        self.decided(Ok((write, ended))).await
    }

    /// Whether there was something to resume.
    async fn resume(&mut self, key: &str, is_named: bool) -> Result<bool, EngineError> {
        let failures = self.observed.retries.len();
        self.observed.retries.retain(|subject, _| subject.key() != key);
        let mut is_changed = self.observed.retries.len() < failures;
        if self.observed.jobs.keys().any(|(of, _)| of == key) {
            self.resumed.insert(key.to_owned());
        }
        let mut accounts: BTreeSet<&str> = self.view.of_key(key).map(|row| row.account.as_str()).collect();
        accounts.extend(self.desired.keys.get(key).map(|spec| spec.account.as_str()));
        for account in accounts {
            // One without an error has nothing to be mended.
            if self.account_errors.contains_key(account) {
                self.clouds.start_afresh(account);
            }
        }
        if self.view.is_held(key) {
            self.record_word(KeyRow {
                held_at: None,
                ..self.view.key(key)
            })
            .await?;
            self.key_ring.resume(key);
            is_changed = true;
        }
        if is_named {
            self.keep_without_file(key);
            is_changed |= self.go_on_after_later_pairs(key).await?;
        }
        let row = self.view.key(key);
        if row.paused_at.is_some() {
            self.record_word(KeyRow {
                paused_at: None,
                paused_until: None,
                pause_reason: None,
                ..row
            })
            .await?;
            is_changed = true;
        }
        let blocked = self
            .hosts_of(key)
            .into_iter()
            .filter_map(|host| self.view.hosts.get(&host))
            .filter(|row| row.state == HostState::Blocked);
        let hosts: Vec<HostRow> = blocked.map(|row| self.opened(row)).collect();
        if !hosts.is_empty() {
            let write = Write {
                hosts,
                ..Write::default()
            };
            // What the disk refuses shows when the host is tried.
            is_changed |= self.record(write).await?.is_ok();
        }
        if is_named {
            self.observed.urged.insert(key.to_owned());
        }
        is_changed |= self.want_again(key).await?;
        // Asking also means: look at it again.
        let now = self.clock.now().uptime;
        let rows: Vec<_> = self.view.of_key(key).cloned().collect();
        let taken_away = [GenerationState::Missing, GenerationState::Replaced];
        for row in rows.iter().filter(|row| taken_away.contains(&row.state)) {
            self.observed.surveys.insert(row.account.clone(), now);
        }
        let blocked = rows
            .into_iter()
            .filter(|row| row.state == GenerationState::Blocked);
        let generations: Vec<_> = blocked
            .map(|mut generation| {
                generation.state = GenerationState::Unwanted;
                generation
            })
            .collect();
        if !generations.is_empty() {
            // A disk that refuses is shown when the deletion is tried; until then the row stays blocked.
            let write = Write {
                generations,
                ..Write::default()
            };
            is_changed |= self.record(write).await?.is_ok();
        }
        Ok(is_changed)
    }
}
