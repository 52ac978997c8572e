//! Config files, plan, ledger and generations.

pub mod desired;
