//! Sockets with one key each, for logins of our own.

use crate::agent::snapshot::{List, Snapshot};
use crate::agent::{Agent, LendError};
use crate::binding::Bindings;
use crate::key::SigningKey;
use crate::listener::{BindError, Listener};
use crate::login::Login;
use crate::message::Refusal;
use crate::serve::{Lanes, Limits, answer};
use crate::session::{Reach, Session};
use crate::upstream::Foreign;
use aws_lc_rs::rand;
use rustix::process::geteuid;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::future::pending;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::AbortHandle;

/// A socket that lists one key and signs with it for logins alone, whoever the key is offered to, and tells of which
/// logins these were. Dropping it closes its connections and removes it.
///
/// A client must bind its connection to a session (`session-bind@openssh.com`, as ssh does) and may then have a
/// login (RFC 4252) in that very session signed; everything else is refused. While the agent is locked, or the
/// key's name is held, it lists and signs nothing.
#[derive(Debug)]
pub struct PrivateSocket {
    path: PathBuf,
    only: Arc<Only>,
    serving: AbortHandle,
}

impl Agent {
    /// Opens a socket for one generation of a managed key, under a name of its own in `directory`: one that is
    /// ours, with mode 0700, or that is made so. Its clients are answered on the runtime that this is called
    /// within, and limited as those of other sockets.
    ///
    /// # Errors
    /// [`PrivateSocketError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn private_socket(
        &self,
        directory: &Path,
        name: &str,
        generation: u64,
    ) -> Result<PrivateSocket, PrivateSocketError> {
        if !self.is_loaded(name, generation) {
            return Err(PrivateSocketError::NotLoaded {
                name: name.to_owned(),
                generation,
            });
        }
        self.open(
            directory,
            OneKey::Generation {
                name: name.to_owned(),
                generation,
            },
        )
    }

    /// The same for a key that a client added. It lists and signs as long as the client leaves it here.
    ///
    /// # Errors
    /// [`PrivateSocketError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn private_socket_of_added(
        &self,
        directory: &Path,
        public_blob: &[u8],
    ) -> Result<PrivateSocket, PrivateSocketError> {
        if self.snapshot().find_added(public_blob).is_none() {
            return Err(PrivateSocketError::NotAdded);
        }
        self.open(directory, OneKey::Added(public_blob.to_vec()))
    }

    /// The same for a key in another agent, whether or not it is lent.
    ///
    /// # Errors
    /// [`PrivateSocketError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn private_socket_of(
        &self,
        directory: &Path,
        foreign: Foreign,
    ) -> Result<PrivateSocket, PrivateSocketError> {
        foreign.check()?;
        self.open(directory, OneKey::Foreign(Arc::new(foreign)))
    }

    fn open(&self, directory: &Path, key: OneKey) -> Result<PrivateSocket, PrivateSocketError> {
        let listener = private_listener(directory)?;
        let path = listener.path().to_owned();
        let only = Arc::new(Only {
            key,
            logins: Mutex::default(),
        });
        let (agent, reach) = (self.clone(), Arc::clone(&only));
        let limits = Limits::default();
        let upstream = limits.upstream;
        let session = move || Session::new(agent.clone(), Reach::Only(Arc::clone(&reach)), upstream);
        let serving = tokio::spawn(answer(listener, Lanes::none(), limits, session, pending()));
        Ok(PrivateSocket {
            path,
            only,
            serving: serving.abort_handle(),
        })
    }
}

impl PrivateSocket {
    /// Where it is, as an absolute path: for `SSH_AUTH_SOCK`, or ssh's `IdentityAgent`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The logins that it has signed for, the earliest first. A signature is noted before the client gets it, so that
    /// when ssh has ended, it is there. That the server took the signature is not told.
    ///
    /// Of more than 1024 the earliest are forgotten.
    #[must_use]
    pub fn logins(&self) -> Vec<Login> {
        self.only.logins().clone()
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        // Its name was never used before and is not again, so that this is our socket or nothing.
        let _ = std::fs::remove_file(&self.path);
        self.serving.abort();
    }
}

/// The one key that a private socket has, and what it signed.
#[derive(Debug)]
pub(crate) struct Only {
    key: OneKey,
    logins: Mutex<Vec<Login>>,
}

#[derive(Debug)]
enum OneKey {
    /// Its public blob.
    Added(Vec<u8>),
    Foreign(Arc<Foreign>),
    Generation {
        name: String,
        generation: u64,
    },
}

/// What makes a signature.
pub(crate) enum Signer<'a> {
    Foreign(&'a Arc<Foreign>),
    Own(&'a Arc<SigningKey>),
}

impl Only {
    /// The frame that answers a request for the list.
    pub(crate) fn list(&self, snapshot: &Snapshot) -> Arc<[u8]> {
        let mut list = List::default();
        match &self.key {
            OneKey::Added(public_blob) => {
                if let Some(added) = snapshot.find_added(public_blob) {
                    list.put(added.key.public_blob(), &added.comment);
                }
            }
            OneKey::Foreign(foreign) if !snapshot.is_locked() => {
                list.put(&foreign.public_blob, foreign.comment.as_bytes());
            }
            OneKey::Foreign(_) => {}
            OneKey::Generation { name, generation } => {
                if let Some(managed) = snapshot.generation(name, *generation) {
                    list.put(managed.key.public_blob(), managed.comment.as_bytes());
                }
            }
        }
        list.into_reply()
    }

    /// The key, if it is the one asked for and the data are a login in the session that the client is bound to.
    pub(crate) fn permit<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        public_blob: &[u8],
        data: &[u8],
        bindings: &Bindings,
    ) -> Result<(Signer<'a>, Login), Refusal> {
        let signer = match &self.key {
            OneKey::Added(own) => snapshot
                .find_added(public_blob)
                .filter(|_| own == public_blob)
                .map(|added| Signer::Own(&added.key)),
            OneKey::Foreign(foreign) => (!snapshot.is_locked() && foreign.public_blob == public_blob)
                .then_some(Signer::Foreign(foreign)),
            OneKey::Generation { name, generation } => snapshot
                .generation(name, *generation)
                .filter(|managed| managed.key.public_blob() == public_blob)
                .map(|managed| Signer::Own(&managed.key)),
        };
        let signer = signer.ok_or(Refusal::UnknownKey)?;
        Ok((signer, Login::parse(data, public_blob, bindings)?))
    }

    /// The name of the managed key that it is.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.key {
            OneKey::Generation { name, .. } => Some(name),
            OneKey::Added(_) | OneKey::Foreign(_) => None,
        }
    }

    /// The signature has been made.
    pub(crate) fn note(&self, login: Login) {
        let mut logins = self.logins();
        if logins.len() >= MAX_LOGINS {
            logins.remove(0);
        }
        logins.push(login);
    }

    fn logins(&self) -> std::sync::MutexGuard<'_, Vec<Login>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no private socket.
#[derive(Debug, thiserror::Error)]
pub enum PrivateSocketError {
    /// The socket cannot be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The folder cannot be made, or is not private.
    #[error("cannot use the folder {} for private sockets", directory.display())]
    Directory {
        /// The folder.
        directory: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The key in the other agent cannot be listed.
    #[error(transparent)]
    Foreign(#[from] LendError),
    /// No client has added the key, or it was taken away, or the agent is locked.
    #[error("the key is not in the agent")]
    NotAdded,
    /// The generation is not loaded.
    #[error("generation {generation} of key {name} is not loaded")]
    NotLoaded {
        /// The key.
        name: String,
        /// The generation.
        generation: u64,
    },
}

/// A socket under a name that was never used before, in a folder that nobody else can enter.
pub(crate) fn private_listener(directory: &Path) -> Result<Listener, PrivateSocketError> {
    let failed = |source| PrivateSocketError::Directory {
        directory: directory.to_owned(),
        source,
    };
    make_private(directory).map_err(failed)?;
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| failed(io::Error::other("there is no randomness")))?;
    let mut name = "key-".to_owned();
    for byte in random {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(Listener::bind(&directory.join(name))?)
}

/// Makes a folder that nobody else can enter, or sees that it is one.
fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(directory)?;
    let others = found.mode() & 0o077;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || others != 0 {
        return Err(io::Error::other(
            "it is not a folder of ours with mode 0700: choose another, or chmod it",
        ));
    }
    Ok(())
}

const MAX_LOGINS: usize = 1024;
