//! The SSH agent: what answers `ssh`, `ssh-add` and git on a local socket (RFC 9987).
//!
//! An [`Agent`] holds keys of two kinds. **Managed** keys come from the daemon by [`Agent::load`], each under
//! the name that its config file has, in one or several *generations*; a client can *hold* a name (`ssh-add -d`)
//! but never take it away. **Added** keys come from a client (`ssh-add FILE`) and are the client's to remove. [`serve`]
//! answers the clients of one [`Listener`].
//!
//! ssh tells an agent which host it talks to (`session-bind@openssh.com`), and the host key's signature proves it. By
//! that a generation has an [`Offer`]: everywhere, to some hosts, or nowhere. A host that a generation is offered to by
//! its host key is shown that one and no other of the name. A client that says nothing is shown what is offered
//! everywhere. A key of another agent can be *lent* in the same way ([`Agent::lend`]).
//!
//! A [`PrivateSocket`] has one generation alone, whatever its offer, signs logins and nothing else, and tells which
//! ([`Login`]): so the daemon tries a key that nobody else is shown, and knows for which host's session it was used. A
//! [`KeySocket`] has one generation alone too, and is an agent's socket as any otherwise: for one program.
//!
//! To read the crate, begin with `session.rs`, where a request becomes a reply, then `agent.rs` and its
//! `snapshot.rs` (who is shown what), `binding.rs` and `serve.rs`.
//!
//! What is deliberately not here: this crate opens no file and no network connection, starts no program, and
//! knows neither providers nor config files. The only sockets that it connects to are those of other agents whose keys
//! are lent. It logs message numbers and fingerprints, never a message.
//!
//! ```
//! use keyferry_agent::{Agent, Limits, Listener, Options, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("agent.sock");
//! let agent = Agent::new(Options::default());
//! let listener = Listener::bind(&path)?;
//! let stop = async { /* a signal, say */ };
//! serve(listener, agent, Limits::default(), stop).await;
//! assert!(!path.exists(), "a clean stop leaves no socket");
//! # Ok(())
//! # }
//! ```

mod agent;
mod binding;
mod clock;
mod connection;
mod frames;
mod key;
mod key_socket;
mod listener;
mod login;
mod message;
mod pool;
mod private_socket;
mod serve;
mod session;
mod upstream;
mod wire;

pub use agent::{Agent, Event, LendError, LoadError, ManagedKey, Offer, Options};
pub use key::{KeyError, SigningKey};
pub use key_socket::KeySocket;
pub use listener::{BindError, Listener};
pub use login::Login;
pub use private_socket::{PrivateSocket, PrivateSocketError};
pub use serve::{Limits, serve};
pub use upstream::Foreign;
