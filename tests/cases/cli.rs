//! The command line: exit codes, what programs read and what people read, sockets and signals.

#[path = "../../crates/keyferry-sandbox/tests/sandbox/c_library.rs"]
#[expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
mod c_library;
#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/instances.rs"]
mod instances;
#[path = "cli/log.rs"]
mod log;
#[path = "cli/pins.rs"]
mod pins;
#[path = "cli/plugins.rs"]
mod plugins;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/request.rs"]
mod request;
#[path = "cli/rotation.rs"]
mod rotation;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/sockets.rs"]
mod sockets;
#[path = "cli/status.rs"]
mod status;
#[path = "cli/wrong_plugins.rs"]
#[expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
mod wrong_plugins;
