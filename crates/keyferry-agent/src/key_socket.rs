//! Sockets that have one key for ordinary clients.

use crate::agent::Agent;
use crate::agent::snapshot::{List, Managed, Snapshot};
use crate::message::Refusal;
use crate::private_socket::{PrivateSocketError, private_listener};
use crate::serve::{Lanes, Limits, answer};
use crate::session::{Reach, Session};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::AbortHandle;

/// An agent socket as any, but that it lists one generation of a managed key and signs with that alone, whoever the key is
/// offered to: for the one program that is told of it. Dropping it closes its connections and removes it.
///
/// Clients sign what they like there and change nothing: keys are neither added nor removed over it, and the agent is
/// neither locked nor unlocked. While the agent is locked, or the key's name is held, it lists and signs nothing.
#[derive(Debug)]
pub struct KeySocket {
    path: PathBuf,
    serving: AbortHandle,
}

impl Agent {
    /// Opens such a socket, of mode 0600, under a name of its own in `directory`: one that is ours, with mode 0700, or that is
    /// made so. Its clients are answered on the runtime that this is called within, and limited as those of other sockets.
    ///
    /// # Errors
    /// [`PrivateSocketError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn key_socket(
        &self,
        directory: &Path,
        name: &str,
        generation: u64,
    ) -> Result<KeySocket, PrivateSocketError> {
        let key = OneKey {
            name: name.to_owned(),
            generation,
        };
        if !self.is_loaded(name, generation) {
            return Err(PrivateSocketError::NotLoaded {
                name: key.name,
                generation,
            });
        }
        let listener = private_listener(directory)?;
        let path = listener.path().to_owned();
        let (agent, key) = (self.clone(), Arc::new(key));
        let limits = Limits::default();
        let upstream = limits.upstream;
        let session = move || Session::new(agent.clone(), Reach::One(Arc::clone(&key)), upstream);
        let serving = tokio::spawn(answer(listener, Lanes::none(), limits, session, pending()));
        Ok(KeySocket {
            path,
            serving: serving.abort_handle(),
        })
    }
}

impl KeySocket {
    /// Where it is, as an absolute path: for `SSH_AUTH_SOCK`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for KeySocket {
    fn drop(&mut self) {
        // Its name was never used before and is not again, so that this is our socket or nothing.
        let _ = std::fs::remove_file(&self.path);
        self.serving.abort();
    }
}

/// The key of such a socket.
#[derive(Debug)]
pub(crate) struct OneKey {
    name: String,
    generation: u64,
}

impl OneKey {
    /// The frame that answers a request for the list.
    pub(crate) fn list(&self, snapshot: &Snapshot) -> Arc<[u8]> {
        let mut list = List::default();
        if let Some(managed) = self.managed(snapshot) {
            list.put(managed.key.public_blob(), managed.comment.as_bytes());
        }
        list.into_reply()
    }

    /// The key, if it is the one asked for.
    pub(crate) fn find<'a>(
        &self,
        snapshot: &'a Snapshot,
        public_blob: &[u8],
    ) -> Result<&'a Arc<Managed>, Refusal> {
        let managed = self.managed(snapshot);
        managed
            .filter(|managed| managed.key.public_blob() == public_blob)
            .ok_or(Refusal::UnknownKey)
    }

    fn managed<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<Managed>> {
        snapshot.generation(&self.name, self.generation)
    }
}
