//! Opens one plugin library in a process of its own, and asks it for steps.
//!
//! [`library`] finds plugins and reads what they say about themselves without running their code. [`Sandbox`] is
//! keyferry's side: it checks the library once more and copies it to where nobody can change it, starts the process, asks,
//! and tells in words what went wrong. [`process`] is that process: it gives up what it can ([`jail`]), loads the copy and
//! answers. A plugin that panics, crashes,
//! hangs, allocates without end or answers garbage costs one error; the next question starts a new process. [`signals`] is
//! here because it has no safe form.
//!
//! Invariant: nothing here opens a network connection, and no secret is ever given to a sandbox.

pub mod answer;
mod error;
pub mod frame;
#[cfg(target_os = "linux")]
mod handover;
pub mod jail;
pub mod library;
pub mod process;
mod sandbox;
pub mod signals;

pub use error::{Fault, Garbage, SandboxError};
pub use library::{LibraryFacts, LoadError};
pub use sandbox::{Launch, Limits, Sandbox};
