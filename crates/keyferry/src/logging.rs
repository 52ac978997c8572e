//! Logs go to standard error. systemd's journal, or whoever started the daemon, adds the time where it wants one.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging with the level of `KEYFERRY_LOG`.
pub(crate) fn start() {
    let wanted = std::env::var("KEYFERRY_LOG").unwrap_or_default();
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let (filter, understood) = match builder.parse(&wanted) {
        Ok(filter) if wanted.split(',').all(is_sensible) => (filter, true),
        _ => (
            EnvFilter::default().add_directive(LevelFilter::INFO.into()),
            false,
        ),
    };
    // A second start (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .try_init();
    if !understood {
        tracing::warn!(
            "KEYFERRY_LOG={wanted:?} is not understood and info is used: write error, warn, info, debug or trace, or \
             MODULE=LEVEL such as keyferry_engine=debug, joined by commas"
        );
    }
}

/// Whether one part of the filter is a level or names a module. A word that is neither would be taken for a module
/// that logs nothing, and silence all others.
fn is_sensible(part: &str) -> bool {
    let part = part.trim();
    part.is_empty()
        || part.contains('=')
        || part.starts_with("keyferry")
        || part.parse::<LevelFilter>().is_ok()
}
