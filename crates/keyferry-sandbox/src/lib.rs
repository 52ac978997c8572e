//! Opens one plugin library in a process of its own, and asks it for steps.
//!
//! [`library`] finds plugins and reads what they say about themselves without running their code. [`Sandbox`] is
//! keyferry's side: it starts the process, asks, and tells in words what went wrong. [`process`] is that process: it
//! checks the library once more, gives up what it can ([`jail`]), loads it and answers. A plugin that panics, crashes,
//! hangs, allocates without end or answers garbage costs one error; the next question starts a new process.
//!
//! Invariant: nothing here opens a network connection, and no secret is ever given to a sandbox.

pub mod answer;
mod error;
pub mod frame;
pub mod jail;
pub mod library;
pub mod process;
mod sandbox;

pub use error::{Fault, Garbage, SandboxError};
pub use library::{LibraryFacts, LoadError};
pub use sandbox::{Launch, Limits, Sandbox};
