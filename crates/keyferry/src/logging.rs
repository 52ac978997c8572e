//! Logs go to standard error. systemd's journal, or whoever started the daemon, adds the time where it wants one.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging with the level of `KEYFERRY_LOG`.
pub(crate) fn start() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::INFO.into())
        .with_env_var("KEYFERRY_LOG")
        .from_env_lossy();
    // A second start (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .try_init();
}
