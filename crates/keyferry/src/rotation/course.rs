//! How far a rotation is, and whether it goes on by itself.

use std::time::{Duration, SystemTime};

use keyferry_engine::snapshot::{
    HostCondition, HostStatus, KeyState, KeyStatus, RotationAsked, RotationStatus, Snapshot, StatusError,
};

/// How a rotation fares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Course {
    /// It goes on, or is tried again within a moment.
    UnderWay,
    /// The next generation is offered, and was seen to log in at every host that can be reached.
    Done,
    /// Nothing happens soon: something failed, or somebody has to do something.
    Stuck,
}

/// How a rotation fares that was asked for. `snapshot` has all keys, or at least this one. What goes on by itself until
/// `until` is waited for.
pub(crate) fn of(asked: &RotationAsked, snapshot: &Snapshot, now: SystemTime, until: SystemTime) -> Course {
    let Some(key) = snapshot.keys.iter().find(|key| key.name == asked.key) else {
        return Course::Stuck;
    };
    let Some(rotation) = &key.rotation else {
        return match key.state {
            KeyState::Loaded => Course::UnderWay,
            _ => Course::Stuck,
        };
    };
    if rotation.paused.is_some() || rotation.retiring || key.state == KeyState::Held {
        return Course::Stuck;
    }
    if !is_begun(asked, rotation) {
        let is_near = key.error.as_ref().is_some_and(|error| !is_far(Some(error), now));
        let is_at_work =
            |host: &HostStatus| host.state == HostCondition::Pending || moves(host, snapshot, now);
        let goes_on = rotation.waiting.is_none()
            || is_near
            || rotation.goes_on_at.is_some_and(|at| at.0 <= until)
            || key.hosts.iter().any(is_at_work);
        return match goes_on {
            true => Course::UnderWay,
            false => Course::Stuck,
        };
    }
    let target = target(rotation);
    let is_promoted = rotation.staged.is_none();
    let left: Vec<&HostStatus> = key
        .hosts
        .iter()
        .filter(|host| host.generation != target && !is_left_alone(host))
        .collect();
    if left.is_empty() {
        // All hosts are parked: nobody has seen it log in.
        let is_nowhere = !is_promoted && !key.hosts.is_empty() && key.hosts.iter().all(is_left_alone);
        return match (is_promoted, is_nowhere) {
            (true, _) => Course::Done,
            (false, true) => Course::Stuck,
            (false, false) => Course::UnderWay,
        };
    }
    if rotation.waits_for_unlock() {
        return Course::Stuck;
    }
    let has_failed = left.iter().any(|host| has_failed(host, now));
    let goes_on = left.iter().any(|host| moves(host, snapshot, now));
    match has_failed && !goes_on {
        true => Course::Stuck,
        false => Course::UnderWay,
    }
}

/// How the end of a key fares. `snapshot` has all keys, or at least this one.
pub(crate) fn of_retirement(key: &str, snapshot: &Snapshot, now: SystemTime) -> Course {
    let Some(key) = snapshot.keys.iter().find(|known| known.name == key) else {
        return Course::Done;
    };
    let left: Vec<&HostStatus> = with_lines(key).collect();
    let rotation = key.rotation.clone().unwrap_or_default();
    let is_called_off = rotation.paused.is_some() || !rotation.retiring;
    if left.is_empty() {
        return match &rotation.pairs {
            None if rotation.retiring => Course::Done,
            None => Course::Stuck,
            Some(pairs) if pairs.kept || is_called_off || needs_person(key) => Course::Stuck,
            Some(_) => Course::UnderWay,
        };
    }
    let goes_on = left.iter().any(|host| moves(host, snapshot, now));
    let stands_still = rotation.waiting.is_some() || is_called_off;
    let is_stuck = |host: &&HostStatus| host.state == HostCondition::Parked || has_failed(host, now);
    match !goes_on && (stands_still || left.iter().all(is_stuck)) {
        true => Course::Stuck,
        false => Course::UnderWay,
    }
}

/// Whether nothing is done for a key until a person has seen to it.
fn needs_person(key: &KeyStatus) -> bool {
    key.state == KeyState::Held || key.error.as_ref().is_some_and(|error| error.kind == "blocked")
}

/// The hosts where lines of a key stand, or may, but for those that were given up.
pub(crate) fn with_lines(key: &KeyStatus) -> impl Iterator<Item = &HostStatus> {
    key.hosts
        .iter()
        .filter(|host| !host.lines.is_empty() && host.state != HostCondition::Forgotten)
}

/// Whether the next generation is there.
pub(super) fn is_begun(asked: &RotationAsked, rotation: &RotationStatus) -> bool {
    rotation.staged.is_some() || rotation.active.is_some_and(|active| active != asked.from)
}

/// The generation that a key's hosts are to get.
pub(super) fn target(rotation: &RotationStatus) -> Option<u64> {
    rotation.staged.or(rotation.active)
}

/// Hosts that nobody waits for.
pub(super) fn is_left_alone(host: &HostStatus) -> bool {
    matches!(host.state, HostCondition::Forgotten | HostCondition::Parked)
}

/// Whether a host needs somebody, or waits for a try that is not near.
pub(super) fn has_failed(host: &HostStatus, now: SystemTime) -> bool {
    match host.state {
        HostCondition::Blocked | HostCondition::Lost => true,
        HostCondition::Failed => is_far(host.error.as_ref(), now),
        _ => false,
    }
}

/// Whether something is done at a host, for whichever key, or soon will be.
fn moves(host: &HostStatus, snapshot: &Snapshot, now: SystemTime) -> bool {
    let is_near = host.state == HostCondition::Failed && !is_far(host.error.as_ref(), now);
    let at = |key: &KeyStatus| {
        let mut hosts = key.hosts.iter();
        hosts.any(|other| other.host == host.host && other.state == HostCondition::Placing)
    };
    is_near || snapshot.keys.iter().any(at)
}

fn is_far(error: Option<&StatusError>, now: SystemTime) -> bool {
    match error.and_then(|error| error.retry_at) {
        Some(at) => at.0 > now + SOON,
        None => true,
    }
}

/// A try that near is waited for.
const SOON: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(super) mod tests;
