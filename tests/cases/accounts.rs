//! From the files of the vendors' own tools to accounts that work: `keyferry init` and `keyferry account`.

#[path = "accounts/check.rs"]
mod check;
#[path = "accounts/init.rs"]
mod init;
#[path = "accounts/policy.rs"]
mod policy;
#[path = "accounts/workstation.rs"]
mod workstation;
