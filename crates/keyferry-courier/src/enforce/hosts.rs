//! Line b: where a request may go.
//!
//! A vendor's host is a template of the manifest, over https only. The account's own endpoint is allowed too, over
//! plain http only on the loopback or with `insecure_http = true`; so are the URLs of [`Reach`]. Addresses of this
//! machine's link and of metadata services are refused by name and again after the name was resolved: they hand out
//! credentials. To obtain those, `credentials` alone may ask the few that are constants here and that its manifest lists.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::METADATA_HOSTS;

use super::reach::Reach;
use super::{Refusal, Rule};

/// Scheme, host and port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    /// In lower case; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Parses `scheme://host[:port]` and nothing more: no user, no path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (https, authority) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err("is not of the form https://host[:port]".to_owned()),
        };
        if authority.contains('@') {
            return Err("names a user, which an origin may not".to_owned());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or("has no ] after the address")?;
                let address: Ipv6Addr = address
                    .parse()
                    .map_err(|_| "has no IPv6 address in its brackets".to_owned())?;
                let port = match rest {
                    "" => None,
                    rest => Some(
                        rest.strip_prefix(':')
                            .ok_or("is not of the form https://host[:port]")?,
                    ),
                };
                (address.to_string(), port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (authority.to_ascii_lowercase(), None),
            },
        };
        let is_name = |host: &str| {
            !host.is_empty()
                && host.len() <= 253
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && label.len() <= 63
                        && label
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                })
        };
        if host.parse::<Ipv6Addr>().is_err() && !is_name(&host) {
            return Err("has no valid host name".to_owned());
        }
        // Numbers that are no address in the usual form (`0x7f.1`, `2130706433`) are one to the resolver.
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if !host.contains(':') && is_numeric && host.parse::<Ipv4Addr>().is_err() {
            return Err("has an address that is not of the form 192.0.2.1".to_owned());
        }
        let port = match port {
            None => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err("has a port that is not one".to_owned()),
            },
            Some(_) => return Err("has a port that is not a number".to_owned()),
        };
        Ok(Self { https, host, port })
    }

    /// Host and port as in the `host` header: the port only when it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is the loopback, as far as its name tells.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .address()
                .is_some_and(|address| canonical(address).is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.https { "https" } else { "http" },
            self.authority()
        )
    }
}

/// The endpoint that an account names, checked.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) origin: Origin,
    pub(crate) insecure_http: bool,
}

impl Endpoint {
    /// Reads an account's `endpoint`; the error says what is wrong with it and how to go on.
    pub(crate) fn parse(text: &str, insecure_http: bool) -> Result<Self, String> {
        let origin = Origin::parse(text.strip_suffix('/').unwrap_or(text))
            .map_err(|error| format!("endpoint `{}` {error}", shown(text)))?;
        if let Some(what) = never_contacted(&origin) {
            return Err(format!("endpoint `{origin}` is {what}, which is never contacted"));
        }
        if !origin.https && !origin.is_loopback() && !insecure_http {
            return Err(format!(
                "endpoint `{origin}` is plain http, which anybody on the way can read: use https, or set insecure_http = true"
            ));
        }
        Ok(Self {
            origin,
            insecure_http,
        })
    }
}

/// Whose host a request goes to; tells which addresses its name may have.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Destination {
    /// A host of the manifest.
    Vendor,
    /// The account's endpoint.
    Endpoint,
    /// The account's endpoint over plain http without `insecure_http`: the loopback only.
    LoopbackEndpoint,
    /// One of the courier's own metadata addresses, never through a proxy.
    Metadata,
}

/// Where the requests of an operation may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hosts<'a> {
    pub(crate) kind: OperationKind,
    /// The manifest's hosts.
    pub(crate) listed: &'a [String],
    pub(crate) region: Option<&'a str>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) reach: &'a Reach,
}

/// An origin that a request may go to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    pub(crate) destination: Destination,
    /// What `{base}` may stand for in the path of a call: at least one, often the empty text.
    pub(crate) bases: Vec<String>,
}

/// Checks a request's origin.
pub(crate) fn check(text: &str, allowed: Hosts<'_>) -> Result<Target, Refusal> {
    let refuse = |message: String| Err(Refusal::new(Rule::Host, message));
    let origin = match Origin::parse(text) {
        Ok(origin) => origin,
        Err(error) => return refuse(format!("sent to `{}`, which {error}", shown(text))),
    };
    let is_listed = allowed
        .listed
        .iter()
        .any(|template| matches(template, allowed.region, &origin.host));
    let at_root = |destination| {
        Ok(Target {
            origin: origin.clone(),
            destination,
            bases: vec![String::new()],
        })
    };
    if let Some(what) = never_contacted(&origin) {
        return match (is_metadata_constant(&origin) && is_listed, allowed.kind) {
            (true, OperationKind::Credentials) => at_root(Destination::Metadata),
            (true, kind) => refuse(format!(
                "sent to {origin} during {kind}: a metadata service is asked by credentials alone"
            )),
            (false, _) => refuse(format!("sent to {origin}, {what} that it may not contact")),
        };
    }
    let endpoint = allowed.endpoint.filter(|endpoint| endpoint.origin == origin);
    let urls: Vec<_> = allowed.reach.at(&origin, allowed.listed).collect();
    let of_endpoint = endpoint.map(|endpoint| match origin.https || endpoint.insecure_http {
        true => Destination::Endpoint,
        false => Destination::LoopbackEndpoint,
    });
    if let Some(destination) = of_endpoint.or_else(|| urls.first().map(|url| url.destination)) {
        let mut bases: Vec<String> = urls.iter().map(|url| url.base.clone()).collect();
        if endpoint.is_some() || is_listed {
            bases.push(String::new());
        }
        return Ok(Target {
            origin,
            destination,
            bases,
        });
    }
    if !is_listed {
        return refuse(format!(
            "sent to {origin}, which is neither a host of its manifest nor the account's endpoint"
        ));
    }
    if !origin.https {
        return refuse(format!("sent to {origin} without TLS"));
    }
    if origin.port != 443 || origin.is_loopback() {
        return refuse(format!(
            "sent to {origin}: a host of the manifest is reached at port 443 only, and never on this machine"
        ));
    }
    at_root(Destination::Vendor)
}

/// Checks an address that a host name led to.
pub(crate) fn check_address(address: IpAddr, destination: Destination) -> Result<(), String> {
    let address = canonical(address);
    if destination == Destination::Metadata {
        return match is_metadata_address(address) {
            true => Ok(()),
            false => Err(format!("its address {address} is not that of a metadata service")),
        };
    }
    if let Some(what) = forbidden_address(address) {
        return Err(format!("its address {address} is {what}"));
    }
    match destination {
        Destination::Vendor if address.is_loopback() => {
            Err(format!("its address {address} is on this machine"))
        }
        Destination::LoopbackEndpoint if !address.is_loopback() => Err(format!(
            "its address {address} is not on this machine, and plain http is allowed nowhere else without insecure_http = true"
        )),
        _ => Ok(()),
    }
}

fn matches(template: &str, region: Option<&str>, host: &str) -> bool {
    if !template.contains("{region}") {
        return template.eq_ignore_ascii_case(host);
    }
    let Some(region) = region.filter(|region| is_label(region)) else {
        return false;
    };
    template.replace("{region}", region).eq_ignore_ascii_case(host)
}

/// One label of a host name, and of lower case.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What a host is that is never contacted, as far as its name tells; but for [`is_metadata_constant`].
pub(super) fn never_contacted(origin: &Origin) -> Option<&'static str> {
    if METADATA_NAMES.contains(&origin.host.as_str()) {
        return Some("a metadata service");
    }
    origin
        .address()
        .and_then(|address| forbidden_address(canonical(address)))
}

/// Whether it is the origin of a metadata service that `credentials` may ask, where its manifest lists it.
pub(super) fn is_metadata_constant(origin: &Origin) -> bool {
    !origin.https && origin.port == 80 && origin.address().is_some_and(is_metadata_address)
}

fn is_metadata_address(address: IpAddr) -> bool {
    METADATA_HOSTS.iter().any(|host| host.parse() == Ok(address))
}

fn forbidden_address(address: IpAddr) -> Option<&'static str> {
    if METADATA_ADDRESSES.contains(&address) || is_metadata_address(address) {
        return Some("a metadata service");
    }
    let (link_local, other) = match address {
        IpAddr::V4(v4) => (
            v4.is_link_local(),
            v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        ),
        IpAddr::V6(v6) => (
            (v6.segments()[0] & 0xffc0) == 0xfe80,
            v6.is_unspecified() || v6.is_multicast(),
        ),
    };
    match (link_local, other) {
        (true, _) => Some("a link-local address"),
        (_, true) => Some("not the address of a host"),
        _ => None,
    }
}

/// An IPv4 address in IPv6 clothes (mapped, compatible, NAT64, 6to4) is what it leads to.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, low] if low <= 1 => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

/// A text from a plugin or a file, short and without what could be a password.
pub(super) fn shown(text: &str) -> String {
    let text = match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://<user>@{}", &text[..scheme], &text[at + 1..])
        }
        _ => text.to_owned(),
    };
    super::cleaning::clean(&text, 100)
}

/// Where other clouds hand out the credentials of the machine that asks.
const METADATA_ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
const METADATA_NAMES: [&str; 5] = [
    "instance-data",
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
    "metadata.tencentyun.com",
];

#[cfg(test)]
mod tests;
