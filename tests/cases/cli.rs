//! The command line: exit codes, what programs read and what people read, sockets and signals.

#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/log.rs"]
mod log;
#[path = "cli/plugins.rs"]
mod plugins;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/request.rs"]
mod request;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/sockets.rs"]
mod sockets;
#[path = "cli/status.rs"]
mod status;
