//! What ssh is told to connect to, and lists of it.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::problem::{Place, Problem};
use super::table::shown;

/// The most hosts that one key may have.
pub const MAX_HOSTS: usize = 10_000;

/// A destination as ssh(1) takes it: `[user@]name` or `ssh://[user@]name[:port]`. The name is a host's, an address, or an
/// alias of ssh_config(5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    text: String,
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Destination {
    /// Reads a destination. What passes begins with no `-` and holds nothing that ssh or a shell behind it could take for
    /// anything else.
    ///
    /// # Errors
    /// What is wrong and the way out, in words. It quotes nothing that may be a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, is_url) = match text.split_once("://") {
            Some(("ssh", rest)) => (rest, true),
            Some(_) => {
                return Err(
                    "is no address that ssh takes: write `[user@]name` or `ssh://[user@]name[:port]`"
                        .to_owned(),
                );
            }
            None => (text, false),
        };
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "seems to hold a password, which does not belong in these files: write `user@name`"
                    .to_owned(),
            );
        }
        if text.starts_with('-') || host.starts_with('-') {
            return Err(format!(
                "{} begins with `-`, which ssh takes for an option",
                shown(text)
            ));
        }
        if let Some(user) = user {
            check_user(user, is_url).map_err(|problem| format!("{} {problem}", shown(text)))?;
        }
        let (host, port) = match is_url {
            true => host_and_port(host).map_err(|problem| format!("{} {problem}", shown(text)))?,
            false => {
                check_name(user, host).map_err(|problem| format!("{} {problem}", shown(text)))?;
                (host, None)
            }
        };
        Ok(Self {
            text: text.to_owned(),
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The user that it names; none: ssh_config(5) says.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Host, address or alias.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that it names; none: ssh_config(5) says.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// What it comes to: two that are equal here are one.
    fn same(&self) -> (Option<String>, String, Option<u16>) {
        (self.user.clone(), self.host.to_lowercase(), self.port)
    }
}

/// Destinations met so far: each belongs in a list once.
#[derive(Default)]
pub(super) struct Seen(BTreeSet<(Option<String>, String, Option<u16>)>);

impl Seen {
    /// Whether it is a new one.
    pub(super) fn insert(&mut self, destination: &Destination) -> bool {
        self.0.insert(destination.same())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads the destinations that a file (`hosts = { file = "..." }`) or a program (`hosts = { command = ["..."] }`) lists:
/// one on a line, `#` begins a comment, empty lines count for nothing.
///
/// Such a file lies outside the config directory, where nothing is watched: whoever needs the list reads it again.
///
/// # Errors
/// Everything that is wrong, with line and column: half a list would be a list of other hosts.
pub fn parse_hosts(text: &str) -> Result<Vec<String>, Vec<Problem>> {
    let mut hosts = Vec::new();
    let mut problems = Vec::new();
    let mut seen = Seen::default();
    for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let mut note = |column: usize, message: String| {
            let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
            let place = Some(Place {
                line: count(number),
                column: count(column),
            });
            problems.push(Problem { place, message });
        };
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(word) = words.next() else {
            continue;
        };
        if words.next().is_some() {
            note(
                indent,
                "has more than one word on a line: write one host on each".to_owned(),
            );
            continue;
        }
        match Destination::parse(word) {
            Ok(destination) if !seen.insert(&destination) => {
                note(indent, format!("{} stands here twice: keep one", shown(word)));
            }
            Ok(_) if seen.len() > MAX_HOSTS => {
                note(
                    indent,
                    format!("lists more than {MAX_HOSTS} hosts: split them between several keys"),
                );
                break;
            }
            Ok(_) => hosts.push(word.to_owned()),
            Err(message) => note(indent, message),
        }
    }
    match problems.is_empty() {
        true => Ok(hosts),
        false => Err(problems),
    }
}

fn check_user(user: &str, is_url: bool) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    match user.chars().find(|&c| !allowed(c)) {
        _ if user.is_empty() => Err("has no user in front of `@`: write one, or take the `@` out".to_owned()),
        Some(c) => Err(format!("has {c:?} in its user: name the user in ssh_config")),
        // There it would stand for something else.
        None if is_url && user.contains('@') => {
            Err("has '@' in its user, which a URL cannot hold: name the user in ssh_config".to_owned())
        }
        None if !user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') => {
            Err("has a user that begins with neither a letter, a digit nor `_`".to_owned())
        }
        None if user.len() > 100 => Err("has a user of more than 100 characters".to_owned()),
        None => Ok(()),
    }
}

/// The name of a destination that is no URL.
fn check_name(user: Option<&str>, host: &str) -> Result<(), String> {
    if host.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if let Some((address, _)) = host.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err("has a zone behind the address: give it an alias in ssh_config".to_owned());
    }
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return Err(match (address.parse::<Ipv6Addr>().is_ok(), port) {
            (true, "") => format!("has brackets, which ssh takes for part of the name: write `{address}`"),
            (true, _) => IPV6_WITH_PORT.to_owned(),
            (false, _) => "has brackets around what is no IPv6 address".to_owned(),
        });
    }
    if let Some((name, port)) = host.split_once(':')
        && !name.is_empty()
        && !port.is_empty()
        && name.chars().all(is_of_name)
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        return Err(format!(
            "has a port behind the name, which ssh does not take: write `ssh://{user}{name}:{port}`"
        ));
    }
    check_host(host)
}

/// Name and port of a URL.
fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    if authority.contains(['/', '?']) {
        return Err(
            "has something behind the host: write `ssh://[user@]name[:port]`, without `/` at the end"
                .to_owned(),
        );
    }
    if authority.starts_with('[') || authority.parse::<Ipv6Addr>().is_ok() {
        return Err(IPV6_WITH_PORT.to_owned());
    }
    let (host, port) = match authority.split_once(':') {
        None => (authority, None),
        Some((host, digits)) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
            _ => return Err("has a port that is no number from 1 to 65535".to_owned()),
        },
    };
    check_host(host)?;
    if !host.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("has a name that a URL cannot hold: it must begin with a letter or digit".to_owned());
    }
    Ok((host, port))
}

fn check_host(host: &str) -> Result<(), String> {
    match host.chars().find(|&c| !is_of_name(c)) {
        _ if host.is_empty() => Err("names no host".to_owned()),
        Some(c) if c.is_whitespace() => Err("contains a blank: write one host in each string".to_owned()),
        Some(c @ ('*' | '?' | '!' | ',')) => Err(format!(
            "contains {c:?}: write each host by itself, patterns are not taken here"
        )),
        Some(c) => Err(format!(
            "contains {c:?}: write letters, digits, `.`, `_` and `-`, or an alias of ssh_config"
        )),
        None if host.len() > 253 => Err("is longer than 253 characters, which no host's name is".to_owned()),
        None => Ok(()),
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// ssh's reader of URLs takes no colon in a host, with brackets or without.
const IPV6_WITH_PORT: &str = "is an IPv6 address in a form that ssh does not take: write it by itself, or an alias with HostName and Port in ssh_config";

#[cfg(test)]
mod tests;
