//! Hosts: logging in with the system's own `ssh`, proving which key it was, and changing `authorized_keys` there.
//!
//! A [`Task`] is one thing to do on one [`Host`]; [`Ssh::run`] does it. Nothing is decided here: which key belongs where
//! is the engine's business, which takes the types of [`contract`] from here and has no other tie to this crate.
//!
//! To read the crate, begin with `ssh.rs`, where a task becomes logins, then `ssh/connection.rs` (one login and its proof) and
//! `ssh/remote.sh` (what runs on the host).
//!
//! What is deliberately not here: private keys (ssh gets them from an agent's socket), schedules, retries, and any
//! memory of what was done.

mod authorized_keys;
pub mod contract;
mod destination;
mod line;
mod marker;
mod ssh;

pub use contract::{
    Account, Host, HostError, HostErrorKind, HostKeys, Identity, Line, Marker, Outcome, Proof, Reply, Task,
    Work,
};
pub use destination::check_destination;
pub use line::{LineError, check_options, described, public_blob, public_key};
pub use marker::NotAMarker;
pub use ssh::host_key::fingerprint;
pub use ssh::{Login, OneKeySocket, Parts, Prompting, Prompts, Sockets, Ssh};
