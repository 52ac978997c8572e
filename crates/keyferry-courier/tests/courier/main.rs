//! The courier as a process: jobs, credentials, refusals and deaths, with a plugin that misbehaves on request and a cloud
//! on the loopback.

mod cloud;
mod credentials;
mod fixture;
mod hostile;
mod jobs;
