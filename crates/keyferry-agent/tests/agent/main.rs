//! The agent as its clients meet it: over its socket.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bindings;
mod clients;
mod harness;
mod key_socket;
mod keys;
mod lent;
mod lock;
mod logins;
mod managed;
mod offers;
mod openssh;
mod private;
mod second_opinion;
mod session;
mod socket;
mod tools;
mod wire;
