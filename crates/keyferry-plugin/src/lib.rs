//! The contract between keyferry and its cloud plugins, and the kit to write one.
//!
//! A plugin is a pure function: it is asked for the next [`Step`] of an operation and answers with one. It has no
//! network, no clock, no files and no secrets.

pub mod abi;
pub mod contract;
pub mod error;
pub mod export;
pub mod manifest;
pub mod provider;
pub mod recipe;
pub mod reply;
pub mod signing;
mod step;

pub use contract::{Step, StepRequest};
pub use provider::{Answer, Provider, Turn};
