//! The daemon's agent with the real OpenSSH tools: logins, what `ssh-add` may do to managed keys, and who may connect.

#[path = "agent/adding.rs"]
mod adding;
#[path = "agent/holding.rs"]
mod holding;
#[path = "agent/logins.rs"]
mod logins;
#[path = "agent/peers.rs"]
mod peers;
#[path = "agent/scene.rs"]
mod scene;
