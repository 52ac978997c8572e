//! Config files, plan, ledger and generations.

pub mod config;
pub mod desired;
pub mod watch;
