//! The contract between keyferry and its cloud plugins, and the kit to write one.
//!
//! A plugin is a pure function: it is asked for the next [`Step`] of an operation and answers with one. It knows its
//! vendor and nothing else: it has no network, no clock, no files and no secrets. keyferry sends the requests, reads
//! the files and waits; then it asks again with what came of it.
//!
//! # From nothing to a checked plugin
//!
//! With keyferry's sources in `$KEYFERRY`, this writes a small plugin, builds it, checks it and installs it:
//!
//! ```sh
//! keyferry plugin new my-cloud --kit $KEYFERRY/crates/keyferry-plugin
//! cd my-cloud
//! cargo build
//! keyferry plugin check target/debug/libkeyferry_my_cloud.so
//! keyferry plugin add target/debug/libkeyferry_my_cloud.so
//! keyferry plugin info my-cloud
//! ```
//!
//! (On macOS the library ends in `.dylib`.) Then make it your vendor's, one step at a time, with `plugin check` after each:
//!
//! 1. **`manifest.json`** says what the plugin may do, and what an account may say: [`manifest::Manifest`] has every field.
//!    Begin with the hosts, the credential fields and the calls of `list`, the one operation that changes nothing.
//!    Users see this file before they trust a plugin, and what it does not list is refused.
//! 2. **`src/lib.rs`** has one method for each operation ([`Provider`]). Each looks at how far it is ([`Turn::response`]):
//!    at the first step it makes the request, at the next it reads the answer. What the requests have in common is one
//!    function; if they are signed, [`signing`] has the vendor's scheme, or shows how one is written as a recipe.
//! 3. **`conformance/*.json`** is what your vendor really answers, one case for each thing that can happen: copy the
//!    bodies from its documentation or from a request that you sent. Secrets in them are lifted out as they would be.
//!    From these cases `plugin check` makes hundreds of broken ones: lost, cut, twisted, blown up. What it finds it says in
//!    words, with what to do. Where a case makes no sense for your vendor, say so under `"absent"`.
//! 4. **Errors** decide what keyferry does next: try again, ask the user, or look what is there. Give each of the vendor's codes a
//!    kind ([`error::ErrorRule`]), and say [`Effect::Unknown`](contract::Effect) whenever a request may have done its work all
//!    the same: then keyferry reads back before it goes on, and no pair is left behind.
//!
//! `keyferry plugin request my-cloud --operation list --account FILE` prints the exact request that would be sent.
//!
//! # A plugin
//!
//! is a library of its own (`crate-type = ["cdylib"]`): one type that implements [`Provider`], one line with
//! [`export!`], and a [manifest](manifest::Manifest) beside its `Cargo.toml`. Plugin `alibaba-ens` is the package
//! `keyferry-alibaba-ens` and the file `libkeyferry_alibaba_ens.so` (`.dylib` on macOS). keyferry finds it in its plugin
//! directories, reads the manifest from the file, and loads it in a process that can reach nothing. What was accepted with
//! `keyferry plugin add` is pinned: another library of that name is not loaded until the user has seen what changed.
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
