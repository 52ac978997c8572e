//! Sends requests: HTTP/1.1, rustls on aws-lc-rs, no redirects, limits on time and size.
//!
//! Proxy and certificate authorities come from [`Network`] alone, never from the environment.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyferry_plugin::contract::OperationKind;
use ureq::http;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector, RustlsConnector, SocksConnector, TcpConnector,
};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::enforce::calls::EvaluatedRequest;
use crate::enforce::caps;
use crate::enforce::hosts::Destination;
use crate::recipe::percent;
use crate::secret::WipedBuffer;
use crate::setup::{Limits, Network};

mod resolver;
mod witness;
mod words;

use resolver::CheckedResolver;
use witness::Witness;

/// A reply, before anything was taken out or blanked.
pub(crate) struct RawReply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Zeroizing<Vec<u8>>)>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// No whole reply came.
#[derive(Debug)]
pub(crate) enum SendError {
    /// A name led to an address that is not allowed; nothing was sent.
    Forbidden(String),
    /// Anything else.
    Transport {
        /// Whether any byte of the request may have reached the provider.
        sent: bool,
        /// What went wrong, in words.
        message: String,
    },
}

/// Sends for one account. Connections are kept and shared by its jobs.
pub(crate) struct Client {
    /// One for each kind of destination, since each allows other addresses.
    agents: [(Destination, Agent); 4],
    context: words::Context,
    /// What the replies tell of our clock.
    pub(crate) clock: Clock,
}

impl Client {
    /// The error names the setting that is wrong.
    pub(crate) fn new(network: &Network, limits: &Limits) -> Result<Self, String> {
        let proxy = network
            .proxy
            .as_deref()
            .map(|text| proxy(text, &network.no_proxy))
            .transpose()?;
        let roots = match &network.ca_file {
            Some(path) => RootCerts::Specific(Arc::new(authorities(path)?)),
            None => RootCerts::PlatformVerifier,
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let agent = |destination| {
            // A loopback endpoint is on this machine, which no proxy can reach; and a metadata service would tell a
            // proxy what the proxy's own machine may do.
            let direct = matches!(destination, Destination::LoopbackEndpoint | Destination::Metadata);
            let proxy = proxy.clone().filter(|_| !direct);
            // Where there is no metadata service, nobody says so.
            let connect_time = match destination {
                Destination::Metadata => limits.connect_time.min(METADATA_CONNECT),
                _ => limits.connect_time,
            };
            let config = Agent::config_builder()
                .accept_encoding("")
                .http_status_as_error(false)
                .max_idle_age(Duration::from_secs(10))
                .max_idle_connections(limits.max_concurrent)
                .max_idle_connections_per_host(limits.max_concurrent)
                .max_redirects(0)
                .proxy(proxy.clone())
                .timeout_connect(Some(connect_time))
                .timeout_resolve(Some(limits.connect_time))
                .tls_config(tls.clone())
                .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")))
                .build();
            let connector = ()
                .chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(RustlsConnector::default())
                .chain(Witness::new(proxy.as_ref().map(|proxy| proxy.uri().clone())));
            let resolver = CheckedResolver::new(destination, proxy.as_ref().map(|proxy| proxy.uri().clone()));
            (destination, Agent::with_parts(config, connector, resolver))
        };
        Ok(Self {
            agents: [
                Destination::Vendor,
                Destination::Endpoint,
                Destination::LoopbackEndpoint,
                Destination::Metadata,
            ]
            .map(agent),
            context: words::Context {
                has_ca_file: network.ca_file.is_some(),
                has_proxy: network.proxy.is_some(),
            },
            clock: Clock::default(),
        })
    }

    /// Sends a request and reads the whole reply, within `time`. It blocks.
    pub(crate) fn send(
        &self,
        request: &EvaluatedRequest,
        destination: Destination,
        kind: OperationKind,
        time: Duration,
    ) -> Result<RawReply, SendError> {
        let begun = SystemTime::now();
        witness::begin();
        let result = self.exchange(request, destination, kind, time);
        let seen = witness::end();
        if let Ok(reply) = &result
            && let Some((_, date)) = reply.headers.iter().find(|(name, _)| name == "date")
        {
            self.clock
                .note(&request.origin.authority(), date, begun, SystemTime::now());
        }
        result.map_err(|failure| match failure {
            Failure::Request(message) => SendError::Transport { sent: false, message },
            Failure::TooLong(cap) => SendError::Transport {
                sent: true,
                message: format!(
                    "the reply of {} has more than {cap} bytes",
                    request.origin.authority()
                ),
            },
            Failure::Ureq(error) => words::explain(error, &seen, &request.origin.authority(), self.context),
        })
    }

    fn exchange(
        &self,
        request: &EvaluatedRequest,
        destination: Destination,
        kind: OperationKind,
        time: Duration,
    ) -> Result<RawReply, Failure> {
        let not_http =
            |error: http::Error| Failure::Request(format!("the request cannot be written as HTTP: {error}"));
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(url(request))
            .header(http::header::HOST, request.origin.authority());
        for (name, value) in &request.headers {
            let mut value = http::HeaderValue::from_bytes(value).map_err(|error| not_http(error.into()))?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        let agent = self
            .agents
            .iter()
            .find_map(|(of, agent)| (*of == destination).then_some(agent))
            .ok_or_else(|| Failure::Request("the destination has no agent".to_owned()))?;
        let mut response =
            if request.body.is_empty() && matches!(request.method.as_str(), "DELETE" | "GET" | "HEAD") {
                let http = builder.body(()).map_err(not_http)?;
                agent.run(agent.configure_request(http).timeout_global(Some(time)).build())?
            } else {
                let http = builder.body(request.body.as_slice()).map_err(not_http)?;
                agent.run(agent.configure_request(http).timeout_global(Some(time)).build())?
            };
        let cap = caps::max_reply(kind);
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    Zeroizing::new(value.as_bytes().to_vec()),
                )
            })
            .collect();
        let mut body = WipedBuffer::default();
        let mut chunk = Zeroizing::new([0; 16 * 1024]);
        let mut reader = response.body_mut().as_reader();
        loop {
            let count = reader.read(chunk.as_mut_slice()).map_err(ureq::Error::from)?;
            if count == 0 {
                break;
            }
            if body.len() + count > cap {
                return Err(Failure::TooLong(cap));
            }
            body.push(&chunk[..count]);
        }
        Ok(RawReply {
            status: response.status().as_u16(),
            headers,
            body: body.into_bytes(),
        })
    }
}

/// The whole URL of a request.
pub(crate) fn url(request: &EvaluatedRequest) -> String {
    let mut url = WipedBuffer::default();
    url.push(request.origin.to_string().as_bytes());
    url.push(request.path.as_bytes());
    for (index, (name, value)) in request.query.iter().enumerate() {
        url.push(if index == 0 { b"?" } else { b"&" });
        percent(name.as_bytes(), &mut url);
        url.push(b"=");
        percent(value, &mut url);
    }
    String::from_utf8_lossy(&url.into_bytes()).into_owned()
}

enum Failure {
    Request(String),
    TooLong(usize),
    Ureq(ureq::Error),
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        Self::Ureq(error)
    }
}

/// The error does not repeat the setting: it may hold a password that does not belong there.
fn proxy(text: &str, no_proxy: &[String]) -> Result<Proxy, String> {
    let wrong = || {
        "the [network] proxy is not understood: it must be of the form http://HOST:PORT or socks5://HOST:PORT, without \
         user name and password"
            .to_owned()
    };
    let is_known = ["http://", "socks5://"]
        .iter()
        .any(|&start| text.starts_with(start));
    let parsed = Proxy::new(text)
        .ok()
        .filter(|parsed| is_known && parsed.username().is_none() && parsed.password().is_none())
        .ok_or_else(wrong)?;
    let mut builder = Proxy::builder(parsed.protocol())
        .host(parsed.host())
        .port(parsed.port());
    for host in no_proxy
        .iter()
        .map(String::as_str)
        .chain(["localhost", "127.0.0.1", "[::1]", "::1"])
    {
        builder = builder.no_proxy(host);
    }
    builder.build().map_err(|_| wrong())
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let shown = path.display();
    let (file, metadata) = keyferry_ownership::open_regular(path)
        .map_err(|error| format!("cannot read the [network] ca_file {shown}: {error}"))?;
    let length = metadata.len();
    if length > MAX_CA_FILE {
        return Err(format!(
            "the [network] ca_file {shown} has {length} bytes, at most {MAX_CA_FILE} are read"
        ));
    }
    let mut pem = Vec::new();
    file.take(MAX_CA_FILE)
        .read_to_end(&mut pem)
        .map_err(|error| format!("cannot read the [network] ca_file {shown}: {error}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("the [network] ca_file {shown} is not PEM: {error}")),
        }
    }
    if certificates.is_empty() {
        return Err(format!(
            "the [network] ca_file {shown} holds no certificate (-----BEGIN CERTIFICATE-----)"
        ));
    }
    Ok(certificates)
}

/// A metadata service is on the machine's own link.
const METADATA_CONNECT: Duration = Duration::from_secs(2);
/// The authorities of a whole system have 250 KB.
const MAX_CA_FILE: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests;
