//! What a client signs to log in (RFC 4252 section 7).

use crate::binding::Bindings;
use crate::key::PublicKey;
use crate::wire::{Malformed, Reader};

/// A login that a private socket signed for: with this signature the server at the other end of the session, whose
/// host key is proven, was shown that we hold the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The public blob of the host key; of a host certificate, of the key that it certifies.
    pub host_key: Vec<u8>,
    /// The session's id, the first exchange hash of the connection (RFC 4253 section 7.2).
    pub session_id: Vec<u8>,
    /// Who logs in.
    pub user: String,
    /// The request came through a forwarded agent, from some other host.
    pub forwarded: bool,
}

impl Login {
    /// Reads what a client asks to have signed with a key, and holds it against what its connection is bound to.
    pub(crate) fn parse(data: &[u8], public_blob: &[u8], bindings: &Bindings) -> Result<Self, LoginError> {
        let bound = bindings.destination().ok_or(LoginError::NotBound)?;
        let mut reader = Reader::new(data);
        let session_id = reader.string()?;
        let is_request = reader.byte()? == USERAUTH_REQUEST;
        let user = reader.string()?;
        let service = reader.string()?;
        let method = reader.string()?;
        let has_signature = reader.byte()? == 1;
        let _algorithm = reader.string()?;
        let key = reader.string()?;
        let host_key = match method {
            b"publickey" => None,
            b"publickey-hostbound-v00@openssh.com" => Some(reader.string()?),
            _ => return Err(LoginError::NotALogin),
        };
        reader.end()?;
        if !is_request || service != b"ssh-connection" || !has_signature || key != public_blob {
            return Err(LoginError::NotALogin);
        }
        if session_id != bound.session_id {
            return Err(LoginError::OtherSession);
        }
        let forwarded = bindings.is_forwarded();
        let is_bound_host = match host_key {
            Some(shown) => PublicKey::parse(shown).map_err(|_| Malformed)?.blob() == bound.host_key,
            // What comes over another host says which host key it met, as ssh-agent wants it.
            None => !forwarded,
        };
        if !is_bound_host {
            return Err(LoginError::OtherHost);
        }
        Ok(Self {
            host_key: bound.host_key.clone(),
            session_id: session_id.to_vec(),
            user: String::from_utf8(user.to_vec()).map_err(|_| Malformed)?,
            forwarded,
        })
    }
}

/// Why a private socket did not sign.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("what was to be signed is no login with this key")]
    NotALogin,
    #[error("the connection is not bound to a session")]
    NotBound,
    #[error("the login is to another host than the connection is bound to")]
    OtherHost,
    #[error("the login is in another session than the connection is bound to")]
    OtherSession,
}

const USERAUTH_REQUEST: u8 = 50;
