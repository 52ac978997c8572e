//! The courier as a process: jobs, credentials, refusals and deaths, with a plugin that misbehaves on request and a cloud
//! on the loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod cloud;
mod credentials;
mod fixture;
mod hostile;
mod jobs;
mod listing;
mod login;
mod metadata;
mod sources;
