//! Says in words why no reply came, and whether the request may have arrived.

use std::io::ErrorKind;

use ureq::{Error, Timeout};

use super::SendError;
use super::resolver::Forbidden;
use super::witness::Seen;

/// What of `[network]` changes the meaning of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) has_ca_file: bool,
    pub(super) has_proxy: bool,
}

/// Explains an error of a request to this host.
pub(super) fn explain(error: Error, seen: &Seen, host: &str, context: Context) -> SendError {
    if let Error::Other(other) = &error
        && let Some(forbidden) = other.downcast_ref::<Forbidden>()
    {
        return SendError::Forbidden(format!("sent to {host}, which is not allowed: {forbidden}"));
    }
    SendError::Transport {
        sent: seen.sent,
        message: message(&error, seen, host, context),
    }
}

fn message(error: &Error, seen: &Seen, host: &str, context: Context) -> String {
    if let Some(tls) = tls_error(error) {
        return tls_message(tls, host, context.has_ca_file);
    }
    match error {
        Error::HostNotFound => not_found(host, seen, context),
        Error::ConnectProxyFailed(reason) => {
            format!("the [network] proxy does not connect to {host}: {reason}")
        }
        Error::Timeout(Timeout::Resolve) => {
            format!("the name of {host} was not resolved in time: check the network and its DNS")
        }
        Error::Timeout(Timeout::Connect) => format!("{host} did not accept a connection in time"),
        Error::Timeout(_) if seen.sent => format!("{host} did not answer in time"),
        Error::Timeout(_) => format!("the time was over before the request to {host} was sent"),
        Error::Protocol(error) => format!("{host} did not answer with valid HTTP ({error})"),
        Error::LargeResponseHeader(..) => format!("the header of {host}'s reply is too long"),
        Error::Io(io)
            if !seen.resolved && !seen.sent && io.kind() != ErrorKind::ConnectionRefused && is_lookup(io) =>
        {
            not_found(host, seen, context)
        }
        Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused => format!("{host}, or the proxy before it, refused the connection"),
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                format!("{host} cannot be reached from this network")
            }
            ErrorKind::TimedOut => format!("{host} did not answer in time"),
            _ if seen.sent => {
                format!("the connection to {host} broke before the whole reply was there ({io})")
            }
            _ => format!("no connection to {host} ({io})"),
        },
        error => format!("the request to {host} failed ({error})"),
    }
}

fn not_found(host: &str, seen: &Seen, context: Context) -> String {
    if context.has_proxy && !seen.resolved {
        return format!(
            "neither {host} nor the [network] proxy could be found by name: check the network and its DNS"
        );
    }
    format!("the name of {host} is not known: check the network, its DNS and the region or endpoint")
}

/// Errors of the system's resolver come without a kind and without a number.
fn is_lookup(io: &std::io::Error) -> bool {
    io.raw_os_error().is_none() && !matches!(io.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}

fn tls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(tls) => Some(tls),
        Error::Io(io) => {
            let mut cause = io
                .get_ref()
                .map(|inner| inner as &(dyn std::error::Error + 'static));
            while let Some(current) = cause {
                if let Some(tls) = current.downcast_ref::<rustls::Error>() {
                    return Some(tls);
                }
                cause = current.source();
            }
            None
        }
        _ => None,
    }
}

fn tls_message(error: &rustls::Error, host: &str, has_ca_file: bool) -> String {
    let remedy = match (error, has_ca_file) {
        (rustls::Error::InvalidCertificate(_), false) => {
            "; if a company's proxy signs for it, name its authority as ca_file in [network]"
        }
        (rustls::Error::InvalidCertificate(_), true) => {
            "; the ca_file of [network] is trusted instead of the system's authorities"
        }
        _ => "",
    };
    format!("TLS with {host} failed: {error}{remedy}")
}
