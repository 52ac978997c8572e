//! Hosts: logging in with the system's own `ssh`, proving which key it was, and changing `authorized_keys` there.
//!
//! A [`Task`] is one thing to do on one [`Host`]; [`Ssh::run`] does it. Nothing is decided here: which key belongs where
//! is the engine's business, which takes the types of [`contract`] from here and has no other tie to this crate.
//!
//! What is deliberately not here: private keys (ssh gets them from an agent's socket), schedules, retries, and any
//! memory of what was done.

pub mod contract;

pub use contract::{
    Account, Host, HostError, HostErrorKind, HostKeys, Identity, Line, Marker, Outcome, Proof, Reply, Task,
    Work,
};
