//! Values that several files hold: paths, regions, times, commands, origins.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use keyferry_plugin::manifest::Manifest;
use toml::de::DeValue;

use super::table::{Item, Walk, shown};
use crate::desired::CheckEvery;

impl<'t> Walk<'t> {
    /// An absolute path; `~/` at the beginning stands for the home directory.
    pub(super) fn path(&mut self, item: &Item<'t>) -> Option<PathBuf> {
        let value = self.string(item)?;
        match expand(value) {
            Ok(path) => Some(path),
            Err(message) => {
                self.note_value(item, message);
                None
            }
        }
    }

    /// A region: one label of a host name, where the plugin's hosts are made of it; else a name such as `RegionOne`.
    pub(super) fn region(&mut self, item: &Item<'t>, manifest: Option<&Manifest>) -> Option<String> {
        let value = self.string(item)?;
        let is_label =
            manifest.is_none_or(|manifest| manifest.hosts.iter().any(|host| host.contains("{region}")));
        let allowed = |c: char| match is_label {
            true => c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
            false => c.is_ascii_alphanumeric() || "._-".contains(c),
        };
        let wrong = if let Some(c) = value.chars().find(|&c| !allowed(c)) {
            format!("{} contains {c:?}", shown(value))
        } else if value.len() > MAX_LABEL || value.starts_with('-') || value.ends_with('-') {
            format!("{} is no region", shown(value))
        } else {
            return Some(value.to_owned());
        };
        self.note_value(
            item,
            match is_label {
                true => format!("{wrong}: write lower-case letters, digits and `-`, as in `cn-hangzhou`"),
                false => format!("{wrong}: write letters, digits, `.`, `_` and `-`, as in `RegionOne`"),
            },
        );
        None
    }

    /// Requests in flight per account.
    pub(super) fn max_concurrent(&mut self, item: &Item<'t>) -> Option<usize> {
        self.integer(item, 1..=64)
            .and_then(|value| usize::try_from(value).ok())
    }

    /// Requests begun per account and second.
    pub(super) fn max_per_second(&mut self, item: &Item<'t>) -> Option<u32> {
        self.integer(item, 1..=1_000)
            .and_then(|value| u32::try_from(value).ok())
    }

    /// How often pairs are looked at: a time such as `30m`, or `never`.
    pub(super) fn check_every(&mut self, item: &Item<'t>) -> Option<CheckEvery> {
        let value = self.string(item)?;
        if value == "never" {
            return Some(CheckEvery::Never);
        }
        self.time(item, LEAST_CHECK..=LONGEST_CHECK, ", or `never`")
            .map(CheckEvery::Time)
    }

    /// A time such as `30m`, within bounds. `besides` tells what else may stand there.
    pub(super) fn time(
        &mut self,
        item: &Item<'t>,
        allowed: RangeInclusive<Duration>,
        besides: &str,
    ) -> Option<Duration> {
        let value = self.string(item)?;
        let message = match humantime::parse_duration(value) {
            Ok(time) if allowed.contains(&time) => return Some(time),
            Ok(_) => {
                let [least, greatest] = [allowed.start(), allowed.end()].map(|bound| spoken(*bound));
                format!(
                    "{} is out of range: {least} to {greatest} are allowed{besides}",
                    shown(value)
                )
            }
            Err(_) => format!(
                "{} is no time: write a number with s, m, h or d, as in `30m`{besides}",
                shown(value)
            ),
        };
        self.note_value(item, message);
        None
    }

    /// A program and its arguments: the program is absolute, below the home directory, or a name to be found in `PATH`.
    pub(super) fn command(&mut self, item: &Item<'t>) -> Option<Vec<String>> {
        let mut words = self.strings(item)?.into_iter();
        let Some((first, program)) = words.next() else {
            // What was no string is noted already.
            if matches!(item.value(), DeValue::Array(values) if values.is_empty()) {
                self.note_value(item, "is empty: name a program and its arguments");
            }
            return None;
        };
        let program = if program.contains('/') {
            match expand(program).map(|path| path.into_os_string().into_string()) {
                Ok(path) => path.ok()?,
                Err(message) => {
                    self.note_value(&first, message);
                    return None;
                }
            }
        } else if program.contains(' ') {
            self.note_value(
                &first,
                "is a command line in one string, and no shell takes it apart: write each argument as a string of its own",
            );
            return None;
        } else {
            program.to_owned()
        };
        Some(
            std::iter::once(program)
                .chain(words.map(|(_, word)| word.to_owned()))
                .collect(),
        )
    }

    /// A path that a socket can have.
    pub(super) fn socket(&mut self, item: &Item<'t>) -> Option<PathBuf> {
        let path = self.path(item)?;
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            self.note_value(
                item,
                format!("has {length} bytes, and a socket's path holds at most {MAX_SOCKET_PATH}: name a shorter one"),
            );
            return None;
        }
        Some(path)
    }

    /// A URL that may be sent to: scheme, host, port and path. Plain http reaches this machine only, or what
    /// `insecure_http` allows.
    pub(super) fn url(&mut self, item: &Item<'t>, insecure_http: bool) -> Option<String> {
        let value = self.string(item)?;
        match url_origin(value) {
            Ok(origin) if origin.is_open_to_others() && !insecure_http => self.refuse_plain_http(item),
            Ok(_) => Some(value.to_owned()),
            Err(message) => {
                self.note_value(item, message);
                None
            }
        }
    }

    pub(super) fn refuse_plain_http<T>(&mut self, item: &Item<'t>) -> Option<T> {
        self.note_value(
            item,
            "plain http shows every request to the network: use https, or write `insecure_http = true`",
        );
        None
    }
}

const LEAST_CHECK: Duration = Duration::from_secs(1);
const LONGEST_CHECK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// `sun_path` of unix(7) without the NUL.
const MAX_SOCKET_PATH: usize = 107;

/// A time as it stands in messages, in whole days where it has them: `30d`.
pub(super) fn spoken(time: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match (time.as_secs() / DAY, time.as_secs() % DAY) {
        (days, 0) if days > 0 => format!("{days}d"),
        _ => humantime::format_duration(time).to_string(),
    }
}

/// Reads a path as a user writes it in a config file.
pub(super) fn expand(value: &str) -> Result<PathBuf, String> {
    if let Some(rest) = value.strip_prefix("~/") {
        return match std::env::home_dir() {
            Some(home) if home.is_absolute() => Ok(home.join(rest)),
            _ => {
                Err("there is no home directory to put in the place of `~`: write the whole path".to_owned())
            }
        };
    }
    let path = PathBuf::from(value);
    match path.is_absolute() {
        true => Ok(path),
        false => Err("is not absolute: begin with `/` or `~/`".to_owned()),
    }
}

/// Scheme, host and port of a URL that has nothing else.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Origin<'t> {
    pub(super) scheme: &'t str,
    pub(super) host: &'t str,
    pub(super) port: Option<u16>,
}

impl<'t> Origin<'t> {
    /// Reads an origin of one of the schemes. The error says what is wrong; it quotes nothing that may be a password.
    pub(super) fn parse(value: &'t str, schemes: &[&str]) -> Result<Self, String> {
        let wanted = || {
            let forms: Vec<String> = schemes
                .iter()
                .map(|scheme| format!("`{scheme}://HOST[:PORT]`"))
                .collect();
            format!("write {}", forms.join(" or "))
        };
        let (scheme, authority) = value
            .split_once("://")
            .filter(|(scheme, _)| schemes.contains(scheme))
            .ok_or_else(|| format!("is no such address: {}", wanted()))?;
        if authority.contains('@') {
            return Err(format!(
                "holds a user name or password, which does not belong in these files: {}",
                wanted()
            ));
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(format!(
                "has something after the host: {}, without `/` at the end",
                wanted()
            ));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port.map(|digits| (digits, digits.parse::<u16>())) {
            None => None,
            Some((digits, Ok(port))) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Some(port),
            Some(_) => return Err("has a port that is no number from 1 to 65535".to_owned()),
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let sound = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => is_host(host),
        };
        if !sound {
            return Err(format!("has no sound host name: {}", wanted()));
        }
        Ok(Self { scheme, host, port })
    }

    /// Whether everybody on the way reads what is sent there.
    pub(super) fn is_open_to_others(&self) -> bool {
        self.scheme == "http" && !self.is_loopback()
    }

    /// Whether nothing sent there leaves this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let bare = self.host.trim_matches(['[', ']']);
        self.host == "localhost"
            || bare
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
            || bare
                .parse::<Ipv6Addr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// The origin of an http or https URL that may have a path, and nothing else.
fn url_origin(value: &str) -> Result<Origin<'_>, String> {
    const WANTED: &str = "write `https://HOST[:PORT][/PATH]`";
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err(format!("is no URL: {WANTED}"));
    };
    let authority = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let path = &rest[authority..];
    if path.contains(['?', '#']) {
        return Err(format!("has a query or a fragment: {WANTED}"));
    }
    if !path
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&b))
    {
        return Err(format!(
            "has a path with characters that must be percent-encoded: {WANTED}"
        ));
    }
    Origin::parse(&value[..scheme.len() + 3 + authority], &["https", "http"])
}

/// A URL that passed, as every way to write the same one: scheme and host in small letters, without the scheme's own port
/// and without `/` at the end.
pub(super) fn canonical_url(value: &str) -> String {
    let (scheme, rest) = value.split_once("://").unwrap_or(("", value));
    let authority = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority);
    let (scheme, authority) = (scheme.to_lowercase(), authority.to_lowercase());
    let own_port = match scheme.as_str() {
        "https" => ":443",
        _ => ":80",
    };
    let authority = authority.strip_suffix(own_port).unwrap_or(&authority);
    format!("{scheme}://{authority}{}", path.trim_end_matches('/'))
}

/// Labels of ASCII letters, digits and `-`, joined by dots.
pub(super) fn is_host(value: &str) -> bool {
    value.len() <= 253
        && value.split('.').all(|label| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// RFC 1035.
const MAX_LABEL: usize = 63;
