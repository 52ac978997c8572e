//! The contract between keyferry and its cloud plugins, and the kit to write one.
//!
//! A plugin is a pure function: it is asked for the next [`Step`] of an operation and answers with one. It knows its
//! vendor and nothing else: it has no network, no clock, no files and no secrets. keyferry sends the requests, reads
//! the files and waits; then it asks again with what came of it.
//!
//! # A plugin
//!
//! is a library of its own (`crate-type = ["cdylib"]`): one type that implements [`Provider`], one line with
//! [`export!`], and a [manifest](manifest::Manifest) beside its `Cargo.toml`. Plugin `alibaba-ens` is the package
//! `keyferry-alibaba-ens` and the file `libkeyferry_alibaba_ens.so` (`.dylib` on macOS). keyferry finds it in its plugin
//! directories, reads the manifest from the file, and loads it in a process that can reach nothing.
//!
//! An account of a user's configuration names the plugin and becomes its [`Context`](contract::Context): region, endpoint
//! and `[settings]` as the manifest declares them, and the names of the credential fields that are there. Where a
//! request needs a credential, the plugin says so with a [recipe](recipe::Expr), as [`signing`] does; keyferry puts
//! the value in, where the manifest allows it, and takes the private key out of a reply before the plugin sees it.
//! Hosts and calls that the manifest does not list are refused.
//!
//! In another language than Rust, `include/keyferry_plugin.h` says what a plugin exports; `examples/pebble.c` is one.
//!
//! # Example
//!
//! `examples/pebble.rs`, with its manifest in `examples/pebble.json`:
//!
//! ```
#![doc = include_str!("../examples/pebble.rs")]
//! ```

pub mod abi;
pub mod contract;
pub mod error;
pub mod export;
pub mod fingerprint;
pub mod manifest;
pub mod provider;
pub mod recipe;
pub mod reply;
pub mod signing;
mod step;

pub use contract::{Step, StepRequest};
pub use provider::{Answer, Provider, Turn};
