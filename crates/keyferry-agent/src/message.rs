//! The messages of the agent protocol (RFC 9987 section 5).

use crate::binding::{self, BindingError};
use crate::key::{KeyError, SigningKey};
use crate::login::LoginError;
use crate::upstream::UpstreamError;
use crate::wire::{Malformed, Reader};
use std::time::Duration;

/// Message numbers (RFC 9987 section 6.1), and the one of the first protocol that `ssh-add -D` still sends.
pub(crate) mod number {
    pub(crate) const FAILURE: u8 = 5;
    pub(crate) const SUCCESS: u8 = 6;
    pub(crate) const REMOVE_ALL_RSA_IDENTITIES: u8 = 9;
    pub(crate) const REQUEST_IDENTITIES: u8 = 11;
    pub(crate) const IDENTITIES_ANSWER: u8 = 12;
    pub(crate) const SIGN_REQUEST: u8 = 13;
    pub(crate) const SIGN_RESPONSE: u8 = 14;
    pub(crate) const ADD_IDENTITY: u8 = 17;
    pub(crate) const REMOVE_IDENTITY: u8 = 18;
    pub(crate) const REMOVE_ALL_IDENTITIES: u8 = 19;
    pub(crate) const LOCK: u8 = 22;
    pub(crate) const UNLOCK: u8 = 23;
    pub(crate) const ADD_ID_CONSTRAINED: u8 = 25;
    pub(crate) const EXTENSION: u8 = 27;
}

/// A request as it lies in its frame.
pub(crate) enum Request<'a> {
    /// The body is read by [`Addition::parse`], away from the connection's task: checking a key takes its
    /// time.
    AddIdentity {
        body: &'a [u8],
        constrained: bool,
    },
    /// `session-bind@openssh.com`; [`Bindings`](crate::binding::Bindings) reads the body.
    BindSession {
        body: &'a [u8],
    },
    Lock {
        passphrase: &'a [u8],
    },
    RemoveAllIdentities,
    RemoveAllRsaIdentities,
    RemoveIdentity {
        key: &'a [u8],
    },
    ListIdentities,
    Sign {
        key: &'a [u8],
        data: &'a [u8],
        flags: SignFlags,
    },
    Unlock {
        passphrase: &'a [u8],
    },
    // Places kept: other extensions (27), `query` first, and keys on tokens (20, 21, 26), which are refused like
    // any message that is not known.
}

impl<'a> Request<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(message);
        let number = reader.byte()?;
        let request = match number {
            number::REQUEST_IDENTITIES => Self::ListIdentities,
            number::SIGN_REQUEST => Self::Sign {
                key: reader.string()?,
                data: reader.string()?,
                flags: SignFlags::parse(reader.uint32()?)?,
            },
            number::ADD_IDENTITY | number::ADD_ID_CONSTRAINED => {
                let constrained = number == number::ADD_ID_CONSTRAINED;
                return Ok(Self::AddIdentity {
                    body: &message[1..],
                    constrained,
                });
            }
            number::EXTENSION => {
                return if reader.string()? == binding::EXTENSION {
                    Ok(Self::BindSession { body: reader.rest() })
                } else {
                    Err(Refusal::UnknownExtension)
                };
            }
            number::REMOVE_IDENTITY => Self::RemoveIdentity {
                key: reader.string()?,
            },
            number::REMOVE_ALL_IDENTITIES => Self::RemoveAllIdentities,
            number::LOCK => Self::Lock {
                passphrase: reader.string()?,
            },
            number::UNLOCK => Self::Unlock {
                passphrase: reader.string()?,
            },
            number::REMOVE_ALL_RSA_IDENTITIES => Self::RemoveAllRsaIdentities,
            // Among them 1, the first protocol's list, which OpenSSH answers in the same way.
            _ => return Err(Refusal::UnknownMessage(number)),
        };
        reader.end()?;
        Ok(request)
    }

    /// Whether a message may hold a private key or a passphrase. What is not known to hold none, may.
    pub(crate) fn is_secret(message: &[u8]) -> bool {
        !matches!(
            message.first(),
            Some(&(number::REQUEST_IDENTITIES | number::SIGN_REQUEST | number::REMOVE_IDENTITY))
        )
    }
}

/// How an RSA key is asked to sign (RFC 9987 section 5.6.1). Other keys have one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignFlags {
    /// For RSA this is `ssh-rsa`, a signature over SHA-1.
    None,
    RsaSha256,
    RsaSha512,
}

impl SignFlags {
    /// Of both RSA flags the first counts, as in OpenSSH. Flags that mean nothing to us are refused: they
    /// might ask for a restriction.
    fn parse(flags: u32) -> Result<Self, Refusal> {
        const RSA_SHA2_256: u32 = 0x02;
        const RSA_SHA2_512: u32 = 0x04;
        if flags & !(RSA_SHA2_256 | RSA_SHA2_512) != 0 {
            return Err(Refusal::UnknownFlags(flags));
        }
        Ok(if flags & RSA_SHA2_256 != 0 {
            Self::RsaSha256
        } else if flags & RSA_SHA2_512 != 0 {
            Self::RsaSha512
        } else {
            Self::None
        })
    }
}

/// What a client adds: a key that was found sound, its comment, and the constraints on its use.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) key: SigningKey,
    pub(crate) comment: Vec<u8>,
    pub(crate) lifetime: Option<Duration>,
}

impl Addition {
    /// Reads the body of an add request. A constraint that is not enforced here refuses the key (RFC 9987
    /// section 5.2.7).
    pub(crate) fn parse(body: &[u8], constrained: bool) -> Result<Self, Refusal> {
        let mut reader = Reader::new(body);
        let key = SigningKey::read(&mut reader)?;
        let comment = reader.string()?;
        // OpenSSH's client takes a list with such a comment for garbage, and then shows no key at all.
        if comment.contains(&0) {
            return Err(Malformed.into());
        }
        let mut lifetime = None;
        while constrained && !reader.is_empty() {
            match reader.byte()? {
                CONSTRAIN_LIFETIME if lifetime.is_none() => {
                    lifetime = Some(Duration::from_secs(reader.uint32()?.into()));
                }
                // Places kept: confirm (2) and the named constraints (255),
                // `restrict-destination-v00@openssh.com` first.
                constraint => return Err(Refusal::Constraint(constraint)),
            }
        }
        reader.end()?;
        Ok(Self {
            key,
            comment: comment.to_vec(),
            lifetime,
        })
    }
}

const CONSTRAIN_LIFETIME: u8 = 1;

/// Why a request was answered with FAILURE. The client cannot be told more; this is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the agent is already locked")]
    AlreadyLocked,
    #[error("the connection cannot be bound")]
    Binding(#[from] BindingError),
    #[error("constraint {0} is not supported, or given twice")]
    Constraint(u8),
    #[error("a connection that comes over another host neither locks nor unlocks")]
    Carried,
    #[error("the other agent did not sign")]
    Foreign(#[from] UpstreamError),
    #[error("the key cannot be added")]
    Key(#[from] KeyError),
    #[error("the agent is locked")]
    Locked,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the key is managed and cannot be added by hand")]
    ManagedKey,
    #[error("a private socket signs for logins alone")]
    Login(#[from] LoginError),
    #[error("the agent is not locked")]
    NotLocked,
    #[error("a private socket lists and signs, and does nothing else")]
    PrivateSocket,
    #[error("an RSA signature over SHA-1 was asked for")]
    Sha1,
    #[error("the signature could not be made")]
    Signature,
    #[error("with one key more the list would be longer than clients accept")]
    TooManyKeys,
    #[error("the extension is not supported")]
    UnknownExtension,
    #[error("unknown signature flags {0:#x}")]
    UnknownFlags(u32),
    #[error("no such key")]
    UnknownKey,
    #[error("message {0} is not supported")]
    UnknownMessage(u8),
    #[error("the work was given up")]
    WorkLost,
    #[error("wrong passphrase")]
    WrongPassphrase,
}

#[cfg(test)]
mod tests;
