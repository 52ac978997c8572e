//! Beginning and ending keys for one command.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::rotation::keys;
use super::{Command, EngineHandle, Refusal};
use crate::desired::KeySpec;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ledger::KeyRow;

impl EngineHandle {
    /// Begins a key for one command, after the pattern of a declared one: with its account, region and algorithm, on its
    /// hosts. It ends when the lease is dropped, and after `life` in any case, a day at most.
    ///
    /// # Errors
    /// A [`Refusal`] for a name that is unknown, a key that is held, paused or being retired, and a life that cannot be.
    pub async fn exec(&self, key: String, life: Duration) -> Result<Lease, Refusal> {
        // There before it is asked for: whoever goes away while it is begun has it ended.
        let mut lease = Lease {
            name: String::new(),
            owner: NEXT_OWNER.fetch_add(1, Ordering::Relaxed),
            commands: self.commands.clone(),
        };
        let (reply, answer) = oneshot::channel();
        let begin = ExecCommand::Begin {
            key,
            life,
            owner: lease.owner,
            reply,
        };
        // An engine that has ended drops what it is asked.
        let _ = self.commands.send(Command::Exec(begin));
        lease.name = answer.await.unwrap_or(Err(Refusal::Ended))?;
        Ok(lease)
    }
}

/// A key for one command. Dropping it has the key taken off its hosts, and its pair deleted.
#[derive(Debug)]
pub struct Lease {
    name: String,
    owner: u64,
    commands: mpsc::UnboundedSender<Command>,
}

impl Lease {
    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let end = ExecCommand::End { owner: self.owner };
        // An engine that has ended is followed by one that knows of no owner.
        let _ = self.commands.send(Command::Exec(end));
    }
}

/// Names of keys come again, owners do not.
static NEXT_OWNER: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(in crate::engine) enum ExecCommand {
    Begin {
        key: String,
        life: Duration,
        owner: u64,
        reply: oneshot::Sender<Result<String, Refusal>>,
    },
    End {
        owner: u64,
    },
}

impl Engine {
    pub(super) async fn obey_about_exec(&mut self, command: ExecCommand) -> Result<(), EngineError> {
        match command {
            ExecCommand::Begin {
                key,
                life,
                owner,
                reply,
            } => {
                let decision = self.beginning_after(&key, life);
                let decision = decision.map(|(row, pattern)| (keys(vec![row.clone()]), (row.name, pattern)));
                let answer = self.decided(decision).await?.map(|(name, pattern)| {
                    tracing::info!(key = name, after = key, "a key for one command begins");
                    self.begin_key_for_command(&name, &pattern, owner);
                    self.urge(&name);
                    name
                });
                let _ = reply.send(answer);
                Ok(())
            }
            ExecCommand::End { owner } => match self.exec.key_of(owner) {
                Some(name) => self.end_key_for_command(&name).await,
                None => Ok(()),
            },
        }
    }

    /// The row of a key after a pattern, and the pattern.
    fn beginning_after(&self, key: &str, life: Duration) -> Result<(KeyRow, Arc<KeySpec>), Refusal> {
        self.lasting_key(key)?;
        let name = || key.to_owned();
        let row = self.view.key(key);
        let pattern = self.declared.keys.get(key).filter(|spec| spec.present);
        let pattern = pattern.ok_or_else(|| Refusal::FileMissing { key: name() })?;
        if row.held_at.is_some() {
            return Err(Refusal::Held { key: name() });
        }
        if row.retire_asked_at.is_some() {
            return Err(Refusal::Retiring { key: name() });
        }
        if let Some(pause) = self.pause_of(&row) {
            return Err(pause);
        }
        if life < SHORTEST_LIFE || life > LONGEST_LIFE {
            return Err(Refusal::LifeOfKey);
        }
        let running = self.exec.running();
        if running >= MOST_AT_A_TIME {
            return Err(Refusal::TooManyCommands { running });
        }
        let life = i64::try_from(life.as_millis()).unwrap_or_default();
        // sshd(8) reads whole seconds.
        let ends_at = self.clock.now().wall_ms().saturating_add(life + 999) / 1_000 * 1_000;
        let row = KeyRow {
            made_after: Some(name()),
            ends_at: Some(ends_at),
            // It was put there as a guest: nothing is lost when it goes.
            accepted_loss: Some("all".to_owned()),
            // What was said of another that had the name.
            paused_at: None,
            paused_until: None,
            pause_reason: None,
            ..self.view.key(&self.name_after(key))
        };
        Ok((row, Arc::clone(pattern)))
    }
}

const SHORTEST_LIFE: Duration = Duration::from_secs(1);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Each takes a connection of the daemon's, and a line on every host.
const MOST_AT_A_TIME: usize = 32;
