//! How a key fares on its hosts, and how far its rotation is.

use std::collections::{BTreeSet, HashMap};

use super::remark;
use crate::desired::KeySpec;
use crate::engine::Engine;
use crate::ledger::{Generation, GenerationState, HostState, Placement, PlacementState, Stage};
use crate::plan::{KeyHost, Subject, Waiting, after_reboot, due_at, hosts_of};
use crate::snapshot::{HostCondition, HostStatus, PairsLeft, Pause, RotationStatus, StatusError, Timestamp};

impl Engine {
    /// A key's rotation and hosts; no rotation: it has neither hosts nor a second generation.
    pub(super) fn rotation(&self, name: &str) -> (Option<RotationStatus>, Vec<HostStatus>) {
        let hosts = hosts_of(&self.desired, &self.view, &self.observed, name);
        let spec = self.desired.keys.get(name).map(AsRef::as_ref);
        let active = self.observed.loaded.get(name).copied();
        let is_in_agent = |n: u64| self.observed.in_agent.contains(&(name.to_owned(), n));
        let staged = self
            .view
            .originals(name)
            .rev()
            .find(|row| row.stage == Stage::Staged && Some(row.n) != active && is_in_agent(row.n));
        let staged = staged.map(|row| row.n);
        let of_key = (name.to_owned(), 0)..=(name.to_owned(), u64::MAX);
        let in_agent = self.observed.in_agent.range(of_key).map(|(_, n)| *n);
        let mut earlier: BTreeSet<u64> = in_agent.collect();
        earlier.extend(self.view.placements_of(name).map(|placement| placement.n));
        earlier.retain(|n| Some(*n) != active && Some(*n) != staged);

        let target = staged.or(active);
        let mut here: HashMap<&str, Vec<&Placement>> = HashMap::with_capacity(hosts.len());
        for placement in self.view.placements_of(name) {
            here.entry(&placement.host).or_default().push(placement);
        }
        let statuses: Vec<HostStatus> = hosts
            .iter()
            .map(|host| self.host_status(name, spec, host, &here, target))
            .collect();
        let row = self.view.key(name);
        let has_hosts = !statuses.is_empty() || spec.is_some_and(|spec| spec.hosts.is_some());
        let is_asked =
            row.paused_at.is_some() || row.retire_asked_at.is_some() || row.rotate_asked_at.is_some();
        if !has_hosts && staged.is_none() && earlier.is_empty() && !is_asked {
            return (None, Vec::new());
        }
        let now = self.clock.now().wall_ms();
        let due = active
            .and_then(|n| self.view.generations.get(&(name.to_owned(), n)))
            .zip(spec.filter(|spec| spec.present))
            .and_then(|(generation, spec)| due_at(spec, generation, &self.view));
        let is_paused = row.paused_until.is_none_or(|until| now < until);
        let paused = row.paused_at.filter(|_| is_paused).map(|since| Pause {
            since: Timestamp::from_ms(since),
            until: row.paused_until.map(Timestamp::from_ms),
            reason: row.pause_reason.clone(),
        });
        let waiting = self.rotations_wait.get(name).cloned();
        let rotation = RotationStatus {
            active,
            staged,
            earlier: earlier.into_iter().collect(),
            due_at: due.map(Timestamp::from_ms),
            waiting: waiting.or_else(|| self.waits_for_network(name, active, &statuses)),
            goes_on_at: self.goes_on_at(name),
            paused,
            retiring: row.retire_asked_at.is_some(),
            pairs: row.retire_asked_at.and_then(|_| self.pairs_left(name)),
        };
        (Some(rotation), statuses)
    }

    /// The pairs of a key that are still to be deleted. What cannot be told to be there is not waited for, nor what is not
    /// touched.
    fn pairs_left(&self, name: &str) -> Option<PairsLeft> {
        let row = self.view.key(name);
        let is_left = |generation: &&Generation| {
            matches!(
                generation.state,
                GenerationState::Live
                    | GenerationState::Missing
                    | GenerationState::Requested
                    | GenerationState::Unwanted
            )
        };
        let is_kept = |generation: &Generation| {
            let id = generation.id();
            let named = self.observed.instances.get(&id);
            let mut instances = named.iter().flat_map(|(instances, _)| instances);
            let asked = Subject::Instances(id.0.clone(), id.1);
            let deleted = Subject::Generation(id.0, id.1);
            let mut failed = [asked, deleted].into_iter();
            instances.any(|instance| !row.accepts(instance))
                || failed.any(|subject| {
                    let retry = self.observed.retries.get(&subject);
                    retry.is_some_and(|retry| retry.not_before.is_none() || retry.error.kind == "in_use")
                })
        };
        let left: Vec<&Generation> = self.view.of_key(name).filter(is_left).collect();
        let account = matches!(self.waiting.get(name), Some(Waiting::AccountOfPair { .. }));
        (!left.is_empty()).then(|| PairsLeft {
            count: left.len(),
            kept: account || left.into_iter().any(is_kept),
        })
    }

    /// When a key's rotation goes on by itself: now, where something is under way.
    fn goes_on_at(&self, name: &str) -> Option<Timestamp> {
        let observed = &self.observed;
        let is_under_way = observed.host_tasks.values().any(|key| key == name)
            || observed.jobs.keys().any(|(key, _)| key == name);
        let now = self.clock.now();
        let at = match is_under_way {
            true => now.uptime,
            false => *self.goes_on_at.get(name)?,
        };
        Some(Timestamp(now.wall_at(at)))
    }

    /// Why a rotation stands still that nothing but the network or the provider keeps.
    fn waits_for_network(&self, name: &str, active: Option<u64>, hosts: &[HostStatus]) -> Option<String> {
        active?;
        let making = self.observed.retries.get(&Subject::Making(name.to_owned()));
        if let Some(retry) = making {
            let message = &retry.error.message;
            return Some(match retry.error.kind.as_str() {
                "lost" | "process" | "throttled" | "unavailable" => {
                    format!("it waits for its provider, and is tried again: {message}")
                }
                _ => format!("its next generation could not be made: {message}"),
            });
        }
        let mut tried = hosts
            .iter()
            .filter(|host| host.state != HostCondition::Forgotten)
            .peekable();
        let is_away = tried.peek().is_some() && tried.all(|host| host.state == HostCondition::Parked);
        is_away.then(|| "it waits for the network: none of its hosts can be reached".to_owned())
    }

    fn host_status(
        &self,
        name: &str,
        spec: Option<&KeySpec>,
        host: &KeyHost<'_>,
        here: &HashMap<&str, Vec<&Placement>>,
        target: Option<u64>,
    ) -> HostStatus {
        let address = host.address.as_ref();
        let here = here.get(address).map(Vec::as_slice).unwrap_or_default();
        let seen = here.iter().filter(|placement| placement.verified_at.is_some());
        let last = seen.max_by_key(|placement| (placement.verified_at, placement.n));
        let row = self.view.hosts.get(address);
        let state = row.map_or(HostState::New, |row| row.state);
        let subject = Subject::Host(name.to_owned(), address.to_owned());
        let retry = self.observed.retries.get(&subject);
        let failed = retry.filter(|retry| retry.spec.as_deref() == spec);
        let noted = |kind: &str, remedy: &str| {
            let note = row.and_then(|row| row.note.clone())?;
            Some(remark(kind, note, remedy))
        };
        let failed = failed.map(|retry| match may_want_a_restart(here, target, &retry.error) {
            true => with_restart(&retry.error),
            false => retry.error.clone(),
        });
        let error = failed.or_else(|| match state {
            HostState::Blocked => noted("blocked", "mend what the message names, then keyferry host retry"),
            HostState::Parked => noted("unreachable", "nothing: keyferry tries again"),
            _ => None,
        });
        let is_verified = here
            .iter()
            .any(|placement| Some(placement.n) == target && placement.state == PlacementState::Verified);
        let is_busy = self
            .observed
            .host_tasks
            .get(address)
            .is_some_and(|key| key == name);
        let is_ending = self.view.key(name).retire_asked_at.is_some();
        let condition = match state {
            _ if host.forgotten => HostCondition::Forgotten,
            HostState::Blocked => HostCondition::Blocked,
            HostState::Parked => HostCondition::Parked,
            _ if is_ending && is_busy => HostCondition::Placing,
            _ if is_ending && error.is_some() => HostCondition::Failed,
            _ if is_verified => HostCondition::Verified,
            _ if self.is_lost(here, error.as_ref()) => HostCondition::Lost,
            _ if is_busy => HostCondition::Placing,
            _ if error.is_some() => HostCondition::Failed,
            _ => HostCondition::Pending,
        };
        let error = match condition {
            HostCondition::Forgotten => None,
            HostCondition::Verified => self.stands_elsewhere(name, here, target),
            _ => error,
        };
        HostStatus {
            host: address.to_owned(),
            state: condition,
            generation: last.map(|placement| placement.n),
            verified_at: last
                .and_then(|placement| placement.verified_at)
                .map(Timestamp::from_ms),
            lines: here.iter().map(|placement| placement.n).collect(),
            listed: host.listed,
            after_reboot: after_reboot(&self.desired, &self.view, &self.observed, name, address),
            error,
        }
    }

    /// That a line logs in which stands in another file than the key's file names now.
    fn stands_elsewhere(&self, key: &str, here: &[&Placement], target: Option<u64>) -> Option<StatusError> {
        let placement = here.iter().find(|placement| Some(placement.n) == target)?;
        let (file, named) = (placement.file.as_deref()?, self.file_for(key));
        (file != named && self.desired.keys.contains_key(key)).then(|| {
            let message = format!("its line stands in {file} there, and path names {named} now");
            let remedy =
                format!("nothing: it is kept up where it stands, and the next generation goes to {named}");
            remark("another_file", message, &remedy)
        })
    }

    /// Whether only generations stand on a host that are gone from the agent, and every other login was refused.
    fn is_lost(&self, here: &[&Placement], error: Option<&StatusError>) -> bool {
        let is_refused = error.is_some_and(is_refusal);
        let is_usable = |placement: &&Placement| {
            let id = (placement.key.clone(), placement.n);
            placement.verified_at.is_some() && self.observed.in_agent.contains(&id)
        };
        is_refused
            && here.iter().any(|placement| placement.verified_at.is_some())
            && !here.iter().any(is_usable)
    }
}

/// Whether the generation that belongs on a host may stand there by its provider's doing, which shows when the instance was
/// restarted.
fn may_want_a_restart(here: &[&Placement], target: Option<u64>, error: &StatusError) -> bool {
    let mut here = here.iter().filter(|row| Some(row.n) == target);
    is_refusal(error) && here.any(|row| row.state == PlacementState::Placing && row.line.is_none())
}

/// Whether the host answered, and let nothing in.
fn is_refusal(error: &StatusError) -> bool {
    matches!(error.kind.as_str(), "another_key" | "no_login" | "refused")
}

fn with_restart(error: &StatusError) -> StatusError {
    let restart = "restart its instance, if the pair was attached to it and that is still to be done";
    let remedy = error
        .remedy
        .as_ref()
        .map(|remedy| format!("{remedy}; or {restart}"));
    StatusError {
        remedy: Some(remedy.unwrap_or_else(|| restart.to_owned())),
        ..error.clone()
    }
}
