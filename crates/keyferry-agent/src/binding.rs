//! Which hosts a connection is for: `session-bind@openssh.com` (RFC 9987, OpenSSH's PROTOCOL.agent).
//!
//! Before ssh asks an agent for anything, it tells it the host key that it met and the id of the session, with the
//! host key's signature over that id. A connection that is forwarded is told so once per hop; the last binding is
//! the one that a login follows.

use crate::key::PublicKey;
use crate::wire::{Malformed, Reader};

/// What a connection was bound to, the first hop first.
#[derive(Default)]
pub(crate) struct Bindings(Vec<Binding>);

pub(crate) struct Binding {
    /// The blob of the host's bare key, also where a certificate was shown.
    pub(crate) host_key: Vec<u8>,
    pub(crate) session_id: Vec<u8>,
    /// The session carries the agent on; no login is made over it.
    is_forwarding: bool,
    /// As it came, for other agents.
    pub(crate) body: Vec<u8>,
}

impl Bindings {
    /// Reads the body of the message and, if all is well, notes it. The rules are ssh-agent's.
    pub(crate) fn bind(&mut self, body: &[u8]) -> Result<(), BindingError> {
        let binding = Binding::parse(body)?;
        for known in &self.0 {
            if !known.is_forwarding {
                return Err(BindingError::BoundForLogin);
            }
            if known.session_id == binding.session_id {
                return if known.host_key == binding.host_key {
                    Ok(())
                } else {
                    Err(BindingError::OtherHost)
                };
            }
        }
        if self.0.len() >= MAX_BINDINGS {
            return Err(BindingError::TooMany);
        }
        self.0.push(binding);
        Ok(())
    }

    /// The session that a login is made in.
    pub(crate) fn destination(&self) -> Option<&Binding> {
        self.0.last().filter(|binding| !binding.is_forwarding)
    }

    /// The host that the client logs in to. Where a connection is bound for forwarding only, whoever uses it does
    /// not say where to.
    pub(crate) fn host_key(&self) -> Option<&[u8]> {
        self.destination().map(|binding| &binding.host_key[..])
    }

    /// Whether the requests come over other hosts.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.0.first().is_some_and(|binding| binding.is_forwarding)
    }

    pub(crate) fn all(&self) -> &[Binding] {
        &self.0
    }
}

impl Binding {
    fn parse(body: &[u8]) -> Result<Self, BindingError> {
        if body.len() > MAX_BODY {
            return Err(BindingError::TooLong);
        }
        let mut reader = Reader::new(body);
        let (shown, session_id, signature) = (reader.string()?, reader.string()?, reader.string()?);
        let is_forwarding = reader.byte()? != 0;
        reader.end()?;
        if session_id.len() > MAX_SESSION_ID {
            return Err(BindingError::TooLong);
        }
        let host_key = PublicKey::parse(shown).map_err(|_| BindingError::HostKey)?;
        host_key
            .verify(session_id, signature)
            .map_err(|_| BindingError::Signature)?;
        Ok(Self {
            host_key: host_key.blob(),
            session_id: session_id.to_vec(),
            is_forwarding,
            body: body.to_vec(),
        })
    }
}

/// Why a connection was not bound.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BindingError {
    #[error("it is bound for a login already")]
    BoundForLogin,
    #[error("the host key is malformed or of a type that is not supported")]
    HostKey,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the session is bound to another host key")]
    OtherHost,
    #[error("the signature is not the host key's")]
    Signature,
    #[error("the binding is too long")]
    TooLong,
    #[error("it is bound to {MAX_BINDINGS} sessions, which is all it may")]
    TooMany,
}

/// The extension's name.
pub(crate) const EXTENSION: &[u8] = b"session-bind@openssh.com";

/// As in OpenSSH (`AGENT_MAX_SESSION_IDS`, `AGENT_MAX_SID_LEN`).
const MAX_BINDINGS: usize = 16;
const MAX_SESSION_ID: usize = 128;
/// Bindings are kept for as long as the connection lives. A host certificate of many names is a few KiB long.
const MAX_BODY: usize = 32 * 1024;
