//! Config files, plan, ledger and generations.

pub mod config;
pub mod desired;
pub mod engine;
pub mod error;
pub mod fingerprint;
pub mod ledger;
pub mod naming;
pub mod plan;
pub mod private_key;
pub mod public_files;
pub mod snapshot;
pub mod watch;
