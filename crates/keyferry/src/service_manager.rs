//! Telling systemd how it goes: sd_notify(3), which is one datagram.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

/// Sends a state (`READY=1`, `STOPPING=1`) to the service manager, where there is one.
///
/// A failure changes nothing: the daemon serves all the same, and systemd's own timeout tells.
pub(crate) fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let result = UnixDatagram::unbound().and_then(|socket| match path.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(state.as_bytes(), &address)
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => Err(std::io::ErrorKind::Unsupported.into()),
        None => socket.send_to(state.as_bytes(), &path),
    });
    if let Err(error) = result {
        tracing::warn!(%error, "cannot tell the service manager {state}");
    }
}
