//! The agent as its clients meet it: over its socket.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod clients;
mod harness;
mod keys;
mod lock;
mod logins;
mod managed;
mod openssh;
mod second_opinion;
mod socket;
mod tools;
mod wire;
