//! Keys in other agents: a request to sign is passed on to the agent that has the key.
//!
//! Every client has connections of its own to other agents, one each, so that what it is bound to means there what
//! it means here. A slow or dead agent costs the clients that ask for its keys their answers, and nobody else.

use crate::binding::Binding;
use crate::frames::MAX_MESSAGE;
use crate::message::number;
use crate::wire::{Malformed, Reader, put_prefixed, put_string};
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A key whose private half is in another agent: a security key's, a password manager's, the user's own ssh-agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The public half as SSH writes it (RFC 4253 section 6.6). It may be of a type that we cannot sign with, or a
    /// certificate.
    pub public_blob: Vec<u8>,
    /// What a client shows beside the key.
    pub comment: String,
    /// The other agent's socket. Our own is recognised when it is asked, and refused.
    pub socket: PathBuf,
}

/// One client's connections to other agents.
#[derive(Default)]
pub(crate) struct Upstreams(Vec<Upstream>);

struct Upstream {
    socket: PathBuf,
    stream: UnixStream,
    /// How many of the client's bindings it has been told.
    told: usize,
}

impl Upstreams {
    /// Passes a sign request on, after what the client is bound to, and gives the whole message that answers it.
    /// Dropped while it waits, it closes the connection.
    pub(crate) async fn sign(
        &mut self,
        socket: &Path,
        bindings: &[Binding],
        request: &[u8],
    ) -> Result<Vec<u8>, UpstreamError> {
        let known = self.0.iter().position(|upstream| upstream.socket == socket);
        if let Some(mut upstream) = known.map(|place| self.0.swap_remove(place)) {
            match upstream.sign(bindings, request).await {
                // The other agent was started anew since.
                Err(UpstreamError::Io(_)) => {}
                outcome => return self.keep(upstream, outcome),
            }
        }
        let mut upstream = Upstream::connect(socket).await?;
        let outcome = upstream.sign(bindings, request).await;
        self.keep(upstream, outcome)
    }

    /// Keeps a connection on which request and reply are in step.
    fn keep(
        &mut self,
        upstream: Upstream,
        outcome: Result<Vec<u8>, UpstreamError>,
    ) -> Result<Vec<u8>, UpstreamError> {
        if matches!(outcome, Ok(_) | Err(UpstreamError::Refused)) {
            self.0.push(upstream);
        }
        outcome
    }
}

impl Upstream {
    async fn connect(socket: &Path) -> Result<Self, UpstreamError> {
        let stream = UnixStream::connect(socket).await?;
        let listener = stream.peer_cred()?.pid();
        if listener.is_some_and(|id| u32::try_from(id) == Ok(std::process::id())) {
            return Err(UpstreamError::Ourselves);
        }
        Ok(Self {
            socket: socket.to_owned(),
            stream,
            told: 0,
        })
    }

    async fn sign(&mut self, bindings: &[Binding], request: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        for binding in &bindings[self.told.min(bindings.len())..] {
            let mut message = vec![number::EXTENSION];
            put_string(&mut message, crate::binding::EXTENSION);
            message.extend_from_slice(&binding.body);
            // An agent that does not know it says so, and signs what it signs without.
            self.ask(&message).await?;
            self.told += 1;
        }
        let reply = self.ask(request).await?;
        let mut reader = Reader::new(&reply);
        if reader.byte()? != number::SIGN_RESPONSE {
            return Err(UpstreamError::Refused);
        }
        reader.string()?;
        reader.end()?;
        Ok(reply)
    }

    async fn ask(&mut self, message: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        let mut frame = Vec::with_capacity(message.len() + 4);
        put_prefixed(&mut frame, |out| out.extend_from_slice(message));
        self.stream.write_all(&frame).await?;
        let length = self.stream.read_u32().await? as usize;
        if length > MAX_MESSAGE {
            return Err(UpstreamError::TooLong(length));
        }
        // It grows with what comes, not with what was announced.
        let mut reply = Vec::new();
        let announced = u64::try_from(length).unwrap_or(u64::MAX);
        let mut rest = (&mut self.stream).take(announced);
        rest.read_to_end(&mut reply).await?;
        if reply.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(reply)
    }
}

/// Why another agent did not sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("too many requests wait for other agents")]
    Busy,
    #[error("it cannot be talked to")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the socket is our own")]
    Ourselves,
    #[error("it refused")]
    Refused,
    #[error("it did not answer in time")]
    TooLate,
    #[error("its message of {0} bytes is longer than the {MAX_MESSAGE} allowed")]
    TooLong(usize),
}
