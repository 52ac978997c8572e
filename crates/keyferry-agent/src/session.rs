//! One client's requests, one after the other: parse, look up, do, reply.

use crate::agent::Agent;
use crate::key::{Effort, SigningKey};
use crate::message::{Refusal, Request, SignFlags, number};
use crate::wire::put_prefixed;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What an agent knows of one connection.
pub(crate) struct Session {
    agent: Agent,
    // Place kept: the destinations bound by `session-bind@openssh.com`, and the connections to upstream
    // agents, one each.
}

impl Session {
    pub(crate) fn new(agent: Agent) -> Self {
        Self { agent }
    }

    /// Answers a request at once, or says what is to be done first; then [`Session::finish`] answers it.
    ///
    /// `is_alone` says that no other client could be kept waiting. Then a signature of moderate effort is
    /// made at once too: two changes of threads would cost it a tenth of its time or more.
    pub(crate) fn begin(&mut self, message: &[u8], is_alone: bool, replies: &mut Vec<u8>) -> Option<Task> {
        let start = replies.len();
        match self.handle(message, is_alone, replies) {
            Ok(Progress::Later(task)) => return Some(task),
            Ok(Progress::Replied) => {}
            Ok(Progress::Done) => put_reply(replies, number::SUCCESS),
            Err(refusal) => refuse(replies, start, message.first().copied(), &refusal),
        }
        None
    }

    /// Does what took longer, and answers.
    pub(crate) async fn finish(&mut self, task: Task, replies: &mut Vec<u8>) {
        let start = replies.len();
        let number = task.number();
        let outcome = match task {
            Task::Add { body, constrained } => self.agent.add(body, constrained).await,
            Task::Lock { passphrase } => self.agent.lock(passphrase).await,
            Task::Sign { key, data, flags } => self.sign_apart(key, data, flags, replies).await,
            Task::Unlock { passphrase } => self.agent.unlock(passphrase).await,
        };
        match outcome {
            Ok(()) if number == number::SIGN_REQUEST => {}
            Ok(()) => put_reply(replies, number::SUCCESS),
            Err(refusal) => refuse(replies, start, Some(number), &refusal),
        }
    }

    fn handle(&mut self, message: &[u8], is_alone: bool, replies: &mut Vec<u8>) -> Result<Progress, Refusal> {
        let copy = |secret: &[u8]| Zeroizing::new(secret.to_vec());
        Ok(match Request::parse(message)? {
            Request::ListIdentities => {
                let list = self.agent.snapshot().list(None);
                replies.extend_from_slice(&list);
                Progress::Replied
            }
            Request::Sign { key, data, flags } => return self.sign(key, data, flags, is_alone, replies),
            Request::AddIdentity { body, constrained } => Progress::Later(Task::Add {
                body: copy(body),
                constrained,
            }),
            Request::RemoveIdentity { key } => {
                self.agent.remove(key)?;
                Progress::Done
            }
            Request::RemoveAllIdentities => {
                self.agent.remove_all()?;
                Progress::Done
            }
            Request::Lock { passphrase } => Progress::Later(Task::Lock {
                passphrase: copy(passphrase),
            }),
            Request::Unlock { passphrase } => Progress::Later(Task::Unlock {
                passphrase: copy(passphrase),
            }),
            // There are no keys of the first protocol, so all of them are removed.
            Request::RemoveAllRsaIdentities => Progress::Done,
        })
    }

    /// Signs at once where that keeps nobody waiting. Place kept: whether this client may use this key for
    /// these data (confirmation, destinations) is asked between finding the key and signing.
    fn sign(
        &self,
        key: &[u8],
        data: &[u8],
        flags: SignFlags,
        is_alone: bool,
        replies: &mut Vec<u8>,
    ) -> Result<Progress, Refusal> {
        let snapshot = self.agent.snapshot();
        let key = snapshot
            .find(key)
            .filter(|entry| snapshot.is_offered(entry, None))
            .ok_or(Refusal::UnknownKey)?
            .key();
        let at_once = match key.effort() {
            Effort::Little => true,
            Effort::Moderate => is_alone,
            Effort::Much => false,
        };
        if !at_once {
            return Ok(Progress::Later(Task::Sign {
                key: Arc::clone(key),
                data: data.to_vec(),
                flags,
            }));
        }
        put_signature(key, data, flags, replies)?;
        Ok(Progress::Replied)
    }

    /// Signs away from the threads that serve clients.
    async fn sign_apart(
        &self,
        key: Arc<SigningKey>,
        data: Vec<u8>,
        flags: SignFlags,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let job = move || {
            let mut reply = Vec::new();
            put_signature(&key, &data, flags, &mut reply).map(|()| reply)
        };
        replies.append(&mut self.agent.signing().run(job).await??);
        Ok(())
    }
}

/// A request that takes longer than answering others may wait.
pub(crate) enum Task {
    Add {
        body: Zeroizing<Vec<u8>>,
        constrained: bool,
    },
    Lock {
        passphrase: Zeroizing<Vec<u8>>,
    },
    Sign {
        key: Arc<SigningKey>,
        data: Vec<u8>,
        flags: SignFlags,
    },
    Unlock {
        passphrase: Zeroizing<Vec<u8>>,
    },
}

impl Task {
    fn number(&self) -> u8 {
        match self {
            Self::Add {
                constrained: false, ..
            } => number::ADD_IDENTITY,
            Self::Add {
                constrained: true, ..
            } => number::ADD_ID_CONSTRAINED,
            Self::Lock { .. } => number::LOCK,
            Self::Sign { .. } => number::SIGN_REQUEST,
            Self::Unlock { .. } => number::UNLOCK,
        }
    }
}

enum Progress {
    /// Done; the reply is a plain success.
    Done,
    Later(Task),
    /// Done; the reply is written.
    Replied,
}

fn put_signature(
    key: &SigningKey,
    data: &[u8],
    flags: SignFlags,
    replies: &mut Vec<u8>,
) -> Result<(), Refusal> {
    put_prefixed(replies, |reply| {
        reply.push(number::SIGN_RESPONSE);
        put_prefixed(reply, |signature| key.sign(data, flags, signature))
    })?;
    // Formatting a fingerprint costs more than some signatures do.
    if tracing::enabled!(tracing::Level::DEBUG) {
        tracing::debug!(fingerprint = key.fingerprint(), "signed");
    }
    Ok(())
}

fn put_reply(replies: &mut Vec<u8>, number: u8) {
    put_prefixed(replies, |reply| reply.push(number));
}

/// Puts FAILURE in place of whatever was written of the reply.
fn refuse(replies: &mut Vec<u8>, start: usize, number: Option<u8>, refusal: &Refusal) {
    tracing::debug!(
        number,
        cause = refusal as &dyn std::error::Error,
        "refused a request"
    );
    replies.truncate(start);
    put_reply(replies, number::FAILURE);
}
