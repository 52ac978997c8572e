//! Secrets stay where they belong: what is written, passed on and told while keys come, sign, go and come back.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[cfg(target_os = "linux")]
#[path = "secrets/confinement.rs"]
mod confinement;
#[path = "secrets/libraries.rs"]
mod libraries;
#[path = "secrets/licences.rs"]
mod licences;
#[cfg(target_os = "linux")]
#[path = "secrets/memory.rs"]
mod memory;
#[cfg(target_os = "linux")]
#[path = "secrets/needles.rs"]
mod needles;
#[cfg(target_os = "linux")]
#[path = "secrets/numbers.rs"]
mod numbers;
#[cfg(target_os = "linux")]
#[path = "secrets/planting.rs"]
mod planting;
#[cfg(target_os = "linux")]
#[path = "secrets/recorded_run.rs"]
mod recorded_run;
#[cfg(target_os = "linux")]
#[path = "secrets/search.rs"]
mod search;
#[cfg(target_os = "linux")]
#[path = "secrets/trace.rs"]
mod trace;
#[cfg(target_os = "linux")]
#[path = "secrets/workstation.rs"]
mod workstation;
