//! Signals as futures.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Ends at SIGTERM or SIGINT. Must be called within a tokio runtime.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// As [`end`], and at SIGHUP.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn hangup_or_end() -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let end = end()?;
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            () = end => {}
        }
    })
}
