//! Keys that other agents have, offered here.

use super::store::is_listable;
use super::{Agent, Offer};
use crate::key::PublicKey;
use crate::upstream::Foreign;
use crate::wire::Reader;

impl Agent {
    /// Offers a key whose private half is in another agent, in place of what was said of the same key before. A
    /// signature with it is asked of that agent when a client asks for it. Clients cannot take it away; a
    /// lock hides it.
    ///
    /// Where we have the private half ourselves, loaded or added by hand, that one is used.
    ///
    /// # Errors
    /// [`LendError`].
    pub fn lend(&self, foreign: Foreign, offer: Offer) -> Result<(), LendError> {
        foreign.check()?;
        self.change(|store| store.lend(foreign, offer));
        Ok(())
    }

    /// Ends that. Returns whether the key was lent.
    pub fn unlend(&self, public_blob: &[u8]) -> bool {
        self.change(|store| store.unlend(public_blob))
    }
}

impl Foreign {
    /// Whether clients can read a list that has it: a malformed key of a known type would leave them with none.
    pub(crate) fn check(&self) -> Result<(), LendError> {
        if !is_listable(&self.comment) {
            return Err(LendError::Comment);
        }
        let mut reader = Reader::new(&self.public_blob);
        let name = reader.string().map_err(|_| LendError::PublicKey)?;
        let is_plain = name == b"ssh-rsa" || name == b"ssh-ed25519" || name.starts_with(b"ecdsa-sha2-nistp");
        let is_certificate = name.ends_with(b"-cert-v01@openssh.com");
        let is_sound = if is_plain && !is_certificate {
            PublicKey::parse(&self.public_blob).is_ok()
        } else {
            !name.is_empty() && !reader.is_empty() && self.public_blob.len() <= MAX_BLOB
        };
        if is_sound {
            Ok(())
        } else {
            Err(LendError::PublicKey)
        }
    }
}

/// Why a key of another agent is not offered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LendError {
    /// The comment holds a NUL or is longer than 1024 bytes; clients refuse a list with such a comment.
    #[error("the comment of the other agent's key is longer than 1024 bytes or holds a NUL")]
    Comment,
    /// The public half is malformed.
    #[error("the public half of the other agent's key is malformed")]
    PublicKey,
}

const MAX_BLOB: usize = 32 * 1024;
