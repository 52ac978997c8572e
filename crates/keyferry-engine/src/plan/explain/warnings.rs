//! What a person should know before it is too late.

use std::collections::HashMap;

use super::hosts_of;
use crate::desired::{Desired, LoginWith};
use crate::ledger::{HostRow, HostState, LedgerView, Placement, PlacementState};
use crate::plan::Observed;
use crate::snapshot::{AfterReboot, Timestamp};

/// What a restart of this machine would mean for a host of a key: the private halves in memory are gone then.
pub fn after_reboot(
    desired: &Desired,
    ledger: &LedgerView,
    observed: &Observed,
    key: &str,
    host: &str,
) -> AfterReboot {
    if let Some(recovery) = &desired.daemon.recovery {
        let is_noted = ledger.recovery_verified(host, &recovery.public_key).is_some();
        return match is_noted || observed.recovery_verified.contains_key(host) {
            true => AfterReboot::Recovers,
            false => AfterReboot::Untested,
        };
    }
    let Some(spec) = desired.keys.get(key) else {
        // Nobody says how to log in: ssh may know.
        return AfterReboot::Maybe;
    };
    let deploy = &spec.deploy;
    let outlasts = |login: &LoginWith| matches!(login, LoginWith::Agent(_) | LoginWith::SshConfig);
    let may_work = deploy.login_with.iter().any(outlasts);
    match may_work || !deploy.command.is_empty() || !deploy.also_trust.is_empty() {
        true => AfterReboot::Maybe,
        false => AfterReboot::LockedOut,
    }
}

pub(super) fn warnings(
    desired: &Desired,
    ledger: &LedgerView,
    observed: &Observed,
    ways_in: &WaysIn<'_>,
    key: &str,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(spec) = desired.keys.get(key) {
        warnings.extend(crate::config::warnings(spec, desired));
    }
    for host in hosts_of(desired, ledger, observed, key) {
        let address = host.address.as_ref();
        if host.forgotten {
            continue;
        }
        warnings.extend(ledger.hosts.get(address).and_then(condition));
        if !host.listed {
            warnings.push(format!(
                "{address} is not listed any more, and the key stands there: it is rotated there too until \
                 keyferry host forget {address}"
            ));
        }
        if after_reboot(desired, ledger, observed, key, address) != AfterReboot::LockedOut {
            continue;
        }
        if let Some([only]) = ways_in.get(address).map(Vec::as_slice) {
            warnings.push(format!(
                "{address}: generation {} of {} is the only way in that keyferry knows of, and a restart of this machine \
                 loses it: name a `[recovery] identity` in keyferry.toml",
                only.n, only.key
            ));
        }
    }
    for (id, (instances, _)) in observed
        .instances
        .range((key.to_owned(), 0)..=(key.to_owned(), u64::MAX))
    {
        let copied = ledger.generations.get(id).and_then(|row| row.copy_of);
        let n = copied.unwrap_or(id.1);
        if observed.loaded.get(key) != Some(&n) && !instances.is_empty() {
            warnings.push(format!(
                "instances launched with generation {n} name its pair: {}",
                instances.join(", ")
            ));
        }
    }
    warnings
}

/// The generations that log in at each host, without those that go with their command.
pub(super) type WaysIn<'a> = HashMap<&'a str, Vec<&'a Placement>>;

pub(super) fn ways_in<'a>(ledger: &'a LedgerView, observed: &Observed) -> WaysIn<'a> {
    let mut ways_in = WaysIn::new();
    for placement in ledger.placements.values() {
        let id = (placement.key.clone(), placement.n);
        let is_verified = placement.state == PlacementState::Verified && observed.in_agent.contains(&id);
        if is_verified && !ledger.is_for_command(&placement.key) {
            ways_in.entry(&placement.host).or_default().push(placement);
        }
    }
    ways_in
}

fn condition(row: &HostRow) -> Option<String> {
    let since = Timestamp::from_ms(row.since);
    let note = row
        .note
        .as_deref()
        .map(|note| format!(": {note}"))
        .unwrap_or_default();
    match row.state {
        HostState::Parked => Some(format!(
            "{} cannot be reached since {since}, and keeps the generation last seen there{note}",
            row.address
        )),
        HostState::Blocked => Some(format!("{} waits for a person since {since}{note}", row.address)),
        HostState::Forgotten | HostState::New | HostState::Reached => None,
    }
}
