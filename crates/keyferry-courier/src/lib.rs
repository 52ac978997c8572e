//! Sends what a plugin asks for, with an account's credentials, and holds the plugin to the contract.
//!
//! There is one courier process for each account in use. [`Courier`] is the worker's side: it starts the process and
//! gives it jobs. [`main`] is the process: it takes jobs side by side, asks the plugin (in a sandbox of its own) step
//! by step, evaluates its recipes with the credentials, sends the requests, lifts private keys out of the replies and
//! gives the plugin what is left. What a plugin may not do, it refuses: `enforce` has one module for each line of the
//! contract, and is the place to begin reading; `operation` is the way of one job from top to bottom.
//!
//! Invariants: the plugin's code never runs here. No secret leaves but in the places of a request that the manifest
//! names for it, and, a private key, in the last frame of its create. The worker's side opens no connection to a network
//! and never sees a credential that the account does not keep in the worker's own environment.

mod capture;
mod clock;
mod credentials;
mod dry_run;
mod enforce;
mod exchange;
mod http;
mod job;
mod json;
mod operation;
mod parent;
mod preview;
mod process;
mod recipe;
mod secret;
mod setup;
mod step;
mod wire;

pub use dry_run::{DryOperation, DryReply, DryRun};
pub use enforce::Rule;
pub use job::{JobError, JobRequest, JobResult, Permit, Preview, PreviewedRequest};
pub use parent::{Courier, Environment, Hooks};
pub use process::main;
pub use secret::Secret;
pub use setup::{Account, CredentialSource, Launch, Limits, Network, Setup};
