//! A genuine Nova and Keystone, through the daemon: every way to log in, what becomes of pairs, and the generations of
//! the API.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "nova/faults.rs"]
mod faults;
#[path = "nova/logins.rs"]
mod logins;
#[path = "nova/pairs.rs"]
mod pairs;
#[path = "nova/relay.rs"]
mod relay;
#[path = "nova/scene.rs"]
mod scene;
#[path = "nova/versions.rs"]
mod versions;
