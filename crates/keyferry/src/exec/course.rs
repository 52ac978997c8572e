//! How far a key for one command is: whether its command may be started.

use std::time::{Duration, SystemTime};

use keyferry_engine::snapshot::{HostCondition, HostStatus, KeyState, KeyStatus, LOCKED, StatusError};

/// How a key for one command fares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Course {
    /// It logs in where it can be expected to.
    Ready {
        /// The generation that the agent has.
        generation: u64,
        /// Hosts where it was not seen to log in, each with the reason.
        left_out: Vec<String>,
    },
    /// It will not come to that, in words.
    Stuck(String),
    /// It goes on, or is tried again within a moment.
    UnderWay,
}

/// How the key is; none: status shows no such key. `is_over`: nobody waits any longer. `all_hosts`: a host less is none at
/// all.
pub(crate) fn of(key: Option<&KeyStatus>, is_over: bool, all_hosts: bool, now: SystemTime) -> Course {
    let Some(key) = key.filter(|key| key.exec.as_ref().is_some_and(|exec| !exec.ending)) else {
        return Course::Stuck("its key was taken away before it was ready".to_owned());
    };
    match (key.state, key.generation) {
        (KeyState::Loaded, Some(generation)) => on_hosts(key, generation, is_over, all_hosts, now),
        (KeyState::Held | KeyState::Lost, _) => {
            Course::Stuck("its key was taken away before it was ready".to_owned())
        }
        (KeyState::Failed, _) if is_over || is_far(key.error.as_ref(), now) => {
            let why = key.error.as_ref().map(in_words).unwrap_or_default();
            Course::Stuck(format!("its key could not be made{why}"))
        }
        _ if is_over => {
            let why = key.error.as_ref().map(in_words).unwrap_or_default();
            Course::Stuck(format!("its key was not made in time{why}"))
        }
        _ => Course::UnderWay,
    }
}

fn on_hosts(key: &KeyStatus, generation: u64, is_over: bool, all_hosts: bool, now: SystemTime) -> Course {
    let ready = |left_out: Vec<String>| Course::Ready { generation, left_out };
    let Some(rotation) = &key.rotation else {
        return ready(Vec::new());
    };
    let hosts = || {
        key.hosts
            .iter()
            .filter(|host| host.state != HostCondition::Forgotten)
    };
    let is_verified = |host: &&HostStatus| host.state == HostCondition::Verified;
    let left: Vec<&HostStatus> = hosts().filter(|host| !is_verified(host)).collect();
    let verified = hosts().filter(is_verified).count();
    let names = || left.iter().map(|host| left_out(host)).collect::<Vec<_>>();
    if verified > 0 && left.is_empty() {
        return ready(Vec::new());
    }
    if rotation.waits_for_unlock() {
        return Course::Stuck(format!("{LOCKED} unlocks it; then run it again"));
    }
    let is_placing = left.iter().any(|host| host.state == HostCondition::Placing);
    let stands_still = rotation.waiting.is_some() && !is_placing;
    let is_given_up = |host: &&HostStatus| match host.state {
        // That another key did not get there says nothing yet: this one is tried too.
        HostCondition::Blocked | HostCondition::Parked => {
            host.error.as_ref().is_some_and(|error| error.retry_at.is_some())
        }
        HostCondition::Failed => is_far(host.error.as_ref(), now),
        HostCondition::Pending => stands_still,
        HostCondition::Lost => true,
        HostCondition::Forgotten | HostCondition::Placing | HostCondition::Verified => false,
    };
    if verified > 0 && !all_hosts {
        return match is_over || left.iter().all(is_given_up) {
            true => ready(names()),
            false => Course::UnderWay,
        };
    }
    // A host may come back while there is time, unless nobody tries it again.
    let is_never_tried = |host: &&HostStatus| {
        host.state == HostCondition::Failed
            && host.error.as_ref().is_some_and(|error| error.retry_at.is_none())
    };
    let is_hopeless = match all_hosts {
        true => left.iter().any(is_never_tried),
        false => !left.is_empty() && left.iter().all(is_never_tried),
    };
    if !is_over && !is_hopeless {
        return Course::UnderWay;
    }
    if left.is_empty() {
        let why = key.error.as_ref().map(in_words).unwrap_or_default();
        return Course::Stuck(format!("key {} has no host, or none is known{why}", after(key)));
    }
    let where_not = match verified {
        0 => "any of its hosts",
        _ => "each of its hosts",
    };
    Course::Stuck(format!(
        "its key was not seen to log in at {where_not}:\n  {}",
        names().join("\n  ")
    ))
}

fn after(key: &KeyStatus) -> &str {
    key.exec.as_ref().map_or(&key.name, |exec| &exec.after)
}

/// A host, and why it is done without.
fn left_out(host: &HostStatus) -> String {
    match &host.error {
        Some(error) if error.message.starts_with(&host.host) => error.message.clone(),
        Some(error) => format!("{}: {}", host.host, error.message),
        None => format!("{}: it takes too long ({})", host.host, host.state.name()),
    }
}

fn in_words(error: &StatusError) -> String {
    let remedy = error.remedy.as_ref().map(|remedy| format!("\n  {remedy}"));
    format!(": {}{}", error.message, remedy.unwrap_or_default())
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
mod tests;
