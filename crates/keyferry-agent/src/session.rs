//! One client's requests, one after the other: parse, look up, do, reply.

use crate::agent::Agent;
use crate::agent::snapshot::{Entry, Snapshot, is_listed};
use crate::binding::Bindings;
use crate::key::{Effort, SigningKey};
use crate::key_socket::OneKey;
use crate::login::Login;
use crate::message::{Refusal, Request, SignFlags, number};
use crate::private_socket::{Only, Signer};
use crate::upstream::{Foreign, UpstreamError, Upstreams};
use crate::wire::put_prefixed;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// What an agent knows of one connection.
pub(crate) struct Session {
    agent: Agent,
    reach: Reach,
    bindings: Bindings,
    /// The list that the client was sent last, since it was bound last.
    listed: Option<Listed>,
    upstreams: Upstreams,
    upstream_limit: Duration,
}

/// Which keys a connection reaches.
pub(crate) enum Reach {
    /// Those that are offered to it.
    Offered,
    /// One, to sign whatever is asked.
    One(Arc<OneKey>),
    /// One, for logins alone.
    Only(Arc<Only>),
}

impl Session {
    pub(crate) fn new(agent: Agent, reach: Reach, upstream_limit: Duration) -> Self {
        Self {
            agent,
            reach,
            bindings: Bindings::default(),
            listed: None,
            upstreams: Upstreams::default(),
            upstream_limit,
        }
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
            Task::Forward {
                foreign,
                request,
                login,
            } => self.forward(&foreign, &request, login, replies).await,
            Task::Sign {
                key,
                data,
                flags,
                login,
            } => self.sign_apart(key, data, flags, login, replies).await,
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
        let request = Request::parse(message)?;
        if !matches!(self.reach, Reach::Offered)
            && !matches!(
                request,
                Request::BindSession { .. } | Request::ListIdentities | Request::Sign { .. }
            )
        {
            return Err(Refusal::PrivateSocket);
        }
        Ok(match request {
            Request::ListIdentities => {
                self.list(replies);
                Progress::Replied
            }
            Request::Sign { key, data, flags } => {
                let wanted = Wanted { key, data, flags };
                return self.sign(message, &wanted, is_alone, replies);
            }
            Request::BindSession { body } => {
                self.bindings.bind(body)?;
                self.listed = None;
                Progress::Done
            }
            Request::AddIdentity { body, constrained } => Progress::Later(Task::Add {
                body: copy(body),
                constrained,
            }),
            // Whoever is root on a host that an agent is forwarded to reaches it: what was added over there may go from there,
            // and no more.
            Request::RemoveIdentity { key } if self.bindings.is_forwarded() => {
                self.agent.remove_added(key)?;
                Progress::Done
            }
            Request::RemoveAllIdentities if self.bindings.is_forwarded() => {
                self.agent.remove_all_added()?;
                Progress::Done
            }
            Request::Lock { .. } | Request::Unlock { .. } if self.bindings.is_forwarded() => {
                return Err(Refusal::Carried);
            }
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

    fn list(&mut self, replies: &mut Vec<u8>) {
        let snapshot = self.agent.snapshot();
        let list = match &self.reach {
            Reach::Offered => {
                let host_key = self.bindings.host_key();
                let let_in = host_key.map(|host_key| self.agent.let_in_at(host_key));
                let let_in = let_in.unwrap_or_default();
                if let_in.is_empty()
                    && let Some(common) = snapshot.common_list(host_key)
                {
                    replies.extend_from_slice(common);
                    let is_known = |listed: &Listed| Arc::ptr_eq(&listed.list, common);
                    if !self.listed.as_ref().is_some_and(is_known) {
                        self.listed = Some(Listed::now(Arc::clone(common)));
                    }
                    return;
                }
                snapshot.list_for(host_key.unwrap_or_default(), &let_in)
            }
            Reach::One(one) => one.list(&snapshot),
            Reach::Only(only) => only.list(&snapshot),
        };
        replies.extend_from_slice(&list);
        self.listed = Some(Listed::now(list));
    }

    /// Signs at once where that keeps nobody waiting. Place kept: whether this client may use this key for
    /// these data (confirmation, destinations) is asked between finding the key and signing.
    fn sign(
        &self,
        message: &[u8],
        wanted: &Wanted<'_>,
        is_alone: bool,
        replies: &mut Vec<u8>,
    ) -> Result<Progress, Refusal> {
        let snapshot = self.agent.snapshot();
        let (signer, login) = match &self.reach {
            Reach::Offered => (self.offered(&snapshot, wanted.key)?.signer(), None),
            Reach::One(one) => (Signer::Own(&one.find(&snapshot, wanted.key)?.key), None),
            Reach::Only(only) => {
                let (signer, login) = only.permit(&snapshot, wanted.key, wanted.data, &self.bindings)?;
                (signer, Some(login))
            }
        };
        let key = match signer {
            Signer::Own(key) => key,
            Signer::Foreign(foreign) => {
                return Ok(Progress::Later(Task::Forward {
                    foreign: Arc::clone(foreign),
                    request: message.to_vec(),
                    login,
                }));
            }
        };
        let at_once = match key.effort() {
            Effort::Little => true,
            Effort::Moderate => is_alone,
            Effort::Much => false,
        };
        if !at_once {
            return Ok(Progress::Later(Task::Sign {
                key: Arc::clone(key),
                data: wanted.data.to_vec(),
                flags: wanted.flags,
                login,
            }));
        }
        put_signature(key, wanted.data, wanted.flags, replies)?;
        self.note(login);
        Ok(Progress::Replied)
    }

    /// A key that this client is shown, or was shown a moment ago: an offer that changes in the midst of a login does
    /// not make it fail.
    fn offered<'a>(&self, snapshot: &'a Snapshot, public_blob: &[u8]) -> Result<&'a Entry, Refusal> {
        let entry = snapshot.find(public_blob).ok_or(Refusal::UnknownKey)?;
        let was_listed = || {
            let listed = self.listed.as_ref();
            listed.is_some_and(|listed| listed.has(public_blob))
        };
        if snapshot.is_offered(entry, self.bindings.host_key()) || was_listed() {
            Ok(entry)
        } else {
            Err(Refusal::UnknownKey)
        }
    }

    /// Signs away from the threads that serve clients.
    async fn sign_apart(
        &self,
        key: Arc<SigningKey>,
        data: Vec<u8>,
        flags: SignFlags,
        login: Option<Login>,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let job = move || {
            let mut reply = Vec::new();
            put_signature(&key, &data, flags, &mut reply).map(|()| reply)
        };
        replies.append(&mut self.agent.signing().run(job).await??);
        self.note(login);
        Ok(())
    }

    /// Has another agent sign.
    async fn forward(
        &mut self,
        foreign: &Foreign,
        request: &[u8],
        login: Option<Login>,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let _place = self.agent.forward()?;
        let signing = self.upstreams.sign(&foreign.socket, self.bindings.all(), request);
        let reply = timeout(self.upstream_limit, signing)
            .await
            .map_err(|_| UpstreamError::TooLate)??;
        put_prefixed(replies, |out| out.extend_from_slice(&reply));
        self.note(login);
        Ok(())
    }

    /// A private socket tells which logins it signed for.
    fn note(&self, login: Option<Login>) {
        if let (Reach::Only(only), Some(login)) = (&self.reach, login) {
            if let Some(name) = only.name() {
                self.agent.is_let_in(&login.host_key, name);
            }
            only.note(login);
        }
    }
}

/// The list that a client was sent.
struct Listed {
    list: Arc<[u8]>,
    at: Instant,
}

impl Listed {
    fn now(list: Arc<[u8]>) -> Self {
        Self {
            list,
            at: Instant::now(),
        }
    }

    /// Whether the client may still be at the login that it asked for the list for.
    fn has(&self, public_blob: &[u8]) -> bool {
        self.at.elapsed() < LOGIN_TIME && is_listed(&self.list, public_blob)
    }
}

/// As long as sshd gives a client to log in (`LoginGraceTime`).
const LOGIN_TIME: Duration = Duration::from_secs(120);

/// What a client asks to have signed.
struct Wanted<'a> {
    key: &'a [u8],
    data: &'a [u8],
    flags: SignFlags,
}

/// A request that takes longer than answering others may wait.
pub(crate) enum Task {
    Add {
        body: Zeroizing<Vec<u8>>,
        constrained: bool,
    },
    Forward {
        foreign: Arc<Foreign>,
        /// The whole message.
        request: Vec<u8>,
        login: Option<Login>,
    },
    Lock {
        passphrase: Zeroizing<Vec<u8>>,
    },
    Sign {
        key: Arc<SigningKey>,
        data: Vec<u8>,
        flags: SignFlags,
        login: Option<Login>,
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
            Self::Forward { .. } | Self::Sign { .. } => number::SIGN_REQUEST,
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

#[cfg(test)]
mod tests;
