//! Which hosts a key has, and how each is reached.

use std::borrow::Cow;
use std::collections::HashMap;

use keyferry_hosts::Host;

use super::Observed;
use crate::desired::{DaemonSettings, Desired, HostList, KeySpec};
use crate::ledger::{HostRow, HostState, LedgerView, Placement};

/// A host of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyHost<'a> {
    /// `[user@]name` or `ssh://[user@]name[:port]`; what the ledger calls it.
    pub address: Cow<'a, str>,
    /// Whether the key's file, or what it names, lists it. One that is not listed any more is looked after as before, until
    /// the user gives it up.
    pub listed: bool,
    /// Whether the user gave it up.
    pub forgotten: bool,
}

/// The hosts of a key: those that are listed, in that order, then those where it may stand besides.
pub fn hosts_of<'a>(
    desired: &'a Desired,
    ledger: &'a LedgerView,
    observed: &'a Observed,
    key: &str,
) -> Vec<KeyHost<'a>> {
    let listed = desired
        .keys
        .get(key)
        .and_then(|spec| listed(spec, observed))
        .unwrap_or_default();
    let (hosts, _) = gather(listed, ledger, key);
    let hosts = hosts.into_iter().map(|(address, listed, row)| KeyHost {
        address,
        listed,
        forgotten: is_forgotten(row),
    });
    hosts.collect()
}

pub(super) fn is_forgotten(row: Option<&HostRow>) -> bool {
    row.is_some_and(|row| row.state == HostState::Forgotten)
}

/// A host's address, whether it is listed, and its row.
type Gathered<'a> = (Cow<'a, str>, bool, Option<&'a HostRow>);

/// The hosts, and what may stand on each: the placements in the order of host and generation, with the host's index.
pub(super) fn gather<'a>(
    listed: Vec<Cow<'a, str>>,
    ledger: &'a LedgerView,
    key: &str,
) -> (Vec<Gathered<'a>>, Vec<(usize, &'a Placement)>) {
    let mut index: HashMap<&str, usize> = HashMap::with_capacity(listed.len());
    let mut is_first = vec![true; listed.len()];
    let mut count = 0;
    for (address, is_first) in listed.iter().zip(&mut is_first) {
        let next = count;
        *is_first = *index.entry(address).or_insert(next) == next;
        count += usize::from(*is_first);
    }
    let mut further: Vec<&'a str> = Vec::new();
    let mut placements: Vec<(usize, &'a Placement)> = Vec::new();
    for placement in ledger.placements_of(key) {
        let next = count;
        let place = *index.entry(&placement.host).or_insert(next);
        if place == next {
            further.push(&placement.host);
            count += 1;
        }
        placements.push((place, placement));
    }
    drop(index);
    // Of one host they stay in the order of the generations.
    placements.sort_by_key(|(place, _)| *place);
    let listed = listed
        .into_iter()
        .zip(is_first)
        .filter_map(|(address, is_first)| is_first.then_some((address, true)));
    let further = further.into_iter().map(|address| (Cow::Borrowed(address), false));
    let hosts = listed.chain(further).map(|(address, listed)| {
        let row = ledger.hosts.get(address.as_ref());
        (address, listed, row)
    });
    (hosts.collect(), placements)
}

/// The addresses that a key's file lists, or what it names; none: they are not known yet, or it has no hosts.
pub(super) fn listed<'a>(spec: &'a KeySpec, observed: &'a Observed) -> Option<Vec<Cow<'a, str>>> {
    let hosts = match spec.hosts.as_ref()? {
        HostList::Listed(hosts) => hosts,
        HostList::Command(_) | HostList::File(_) => &observed.host_lists.get(&spec.name)?.0,
    };
    let mut addresses = Vec::with_capacity(hosts.len());
    for host in hosts {
        if spec.deploy.users.is_empty() || user(host).is_some() {
            addresses.push(Cow::Borrowed(host.as_str()));
            continue;
        }
        for user in &spec.deploy.users {
            addresses.push(Cow::Owned(match host.strip_prefix(URL) {
                Some(rest) => format!("{URL}{user}@{rest}"),
                None => format!("{user}@{host}"),
            }));
        }
    }
    Some(addresses)
}

/// How a host of a key is reached, and whose file is changed there. Without a file of the key: as ssh does by itself.
pub fn host_of(spec: Option<&KeySpec>, daemon: &DaemonSettings, address: &str, ledger: &LedgerView) -> Host {
    let row = ledger.hosts.get(address);
    let mut host = Host {
        destination: address.to_owned(),
        account: keyferry_hosts::Account::default(),
        ssh: match daemon.ssh_command.is_empty() {
            true => vec!["ssh".to_owned()],
            false => daemon.ssh_command.clone(),
        },
        host_keys: keyferry_hosts::HostKeys::default(),
        pinned: row.and_then(|row| row.pinned_host_key.clone()),
    };
    if let Some(spec) = spec {
        let owner = user(address);
        let editor = spec.deploy.login_user.as_deref();
        let editor = editor.filter(|editor| owner != Some(editor));
        host.host_keys = spec.deploy.host_keys;
        host.account = keyferry_hosts::Account {
            owner: editor.and(owner).map(str::to_owned),
            editor: editor.map(str::to_owned),
            sudo: spec.deploy.sudo,
            path: spec.deploy.path.clone(),
        };
    }
    host
}

/// The user that an address names.
pub fn user(address: &str) -> Option<&str> {
    let rest = address.strip_prefix(URL).unwrap_or(address);
    rest.rsplit_once('@').map(|(user, _)| user)
}

/// The host's name in an address, without user and port.
pub(super) fn name(address: &str) -> &str {
    let (rest, is_url) = match address.strip_prefix(URL) {
        Some(rest) => (rest, true),
        None => (address, false),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, _)) if is_url => name,
        _ => host,
    }
}

const URL: &str = "ssh://";
