//! What status says of rotations and hosts.

use std::time::SystemTime;

use keyferry_engine::snapshot::{
    AfterReboot, Asked, ExecStatus, HostCondition, HostStatus, KeyStatus, Pause, RETIRED, RotationStatus,
    Snapshot, Timestamp,
};

use crate::table::{self, Style};
use crate::when;

/// A line or two for each key that has hosts, or whose rotation is worth a word.
pub(super) fn describe(snapshot: &Snapshot, now: SystemTime, style: Style) -> String {
    let mut text = String::new();
    for key in &snapshot.keys {
        if let Some(exec) = &key.exec {
            text.push_str(&format!("\n{}: {}\n", key.name, of_exec(exec, key, now, style)));
            continue;
        }
        if let Some(line) = of_key(key, now, style) {
            text.push_str(&format!("\n{}: {line}\n", key.name));
        }
        if let Some(line) = after_a_restart(&key.hosts, style) {
            text.push_str(&format!("  after a restart of this machine: {line}\n"));
        }
    }
    text
}

/// What a restart of this machine would mean for a key on a host.
pub(crate) fn after_reboot(after: AfterReboot) -> &'static str {
    match after {
        AfterReboot::Recovers => "recovers",
        AfterReboot::Untested => "untested",
        AfterReboot::Maybe => "maybe",
        AfterReboot::LockedOut => "locked out",
    }
}

fn of_key(key: &KeyStatus, now: SystemTime, style: Style) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(key.waits_long_for(now).map(|asked| unanswered(asked, now)));
    parts.extend(hosts(&key.hosts, now, style));
    if let Some(rotation) = &key.rotation {
        parts.extend(rotation_parts(rotation, key, now));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// That a provider takes its time.
pub(crate) fn unanswered(asked: &Asked, now: SystemTime) -> String {
    let since = when::from_now(asked.since, now);
    format!(
        "account {} was asked {since} and has not answered yet",
        asked.account
    )
}

/// `for one command, after web; ends in 58 minutes at the latest; 2 hosts verified`.
fn of_exec(exec: &ExecStatus, key: &KeyStatus, now: SystemTime, style: Style) -> String {
    let mut parts = vec![format!("for one command, after {}", exec.after)];
    let waiting = key
        .rotation
        .as_ref()
        .and_then(|rotation| rotation.waiting.as_ref());
    if !exec.ending {
        let when = when::from_now(exec.ends_at, now);
        parts.push(format!("ends with it, {when} at the latest"));
        parts.extend(hosts(&key.hosts, now, style));
        return parts.join("; ");
    }
    parts.push("which is over: it is being taken away".to_owned());
    let left: Vec<&HostStatus> = key.hosts.iter().filter(|host| !host.lines.is_empty()).collect();
    if !left.is_empty() {
        parts.push(format!("its line is still on {}", names(&left)));
    }
    parts.extend(waiting.map(|waiting| format!("waiting: {waiting}")));
    parts.join("; ")
}

/// `12 hosts verified, 1 parked (web-7, last login 2 days ago)`.
fn hosts(hosts: &[HostStatus], now: SystemTime, style: Style) -> Option<String> {
    if hosts.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for state in ORDER {
        let some: Vec<&HostStatus> = hosts.iter().filter(|host| host.state == state).collect();
        if some.is_empty() {
            continue;
        }
        let noun = match (parts.is_empty(), some.len()) {
            (true, 1) => " host",
            (true, _) => " hosts",
            (false, _) => "",
        };
        let count = format!("{}{noun} {}", some.len(), state.name());
        let count = match state {
            HostCondition::Blocked | HostCondition::Failed | HostCondition::Lost => style.bad(&count),
            _ => count,
        };
        let names = match state {
            HostCondition::Verified | HostCondition::Pending => String::new(),
            HostCondition::Parked => format!(" ({})", parked(&some, now)),
            _ => format!(" ({})", names(&some)),
        };
        parts.push(format!("{count}{names}"));
    }
    Some(parts.join(", "))
}

fn names(hosts: &[&HostStatus]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.host.as_str()).collect();
    table::some(&names, MOST_NAMED)
}

fn parked(hosts: &[&HostStatus], now: SystemTime) -> String {
    match hosts {
        [host] => match host.verified_at {
            Some(at) => format!("{}, last login {}", host.host, when::from_now(at, now)),
            None => format!("{}, never reached", host.host),
        },
        hosts => names(hosts),
    }
}

fn rotation_parts(rotation: &RotationStatus, key: &KeyStatus, now: SystemTime) -> Vec<String> {
    let mut parts = Vec::new();
    let is_over = key.error.as_ref().is_some_and(|error| error.kind == RETIRED);
    if rotation.retiring {
        parts.push(if is_over { "retired" } else { "being retired" }.to_owned());
    }
    if let Some(staged) = rotation.staged {
        let verified = key
            .hosts
            .iter()
            .filter(|host| host.generation == Some(staged))
            .count();
        parts.push(format!(
            "rotating to generation {staged}, seen to log in at {verified} of {}",
            key.hosts.len()
        ));
    }
    if !rotation.earlier.is_empty() {
        let earlier: Vec<String> = rotation.earlier.iter().map(u64::to_string).collect();
        let word = if earlier.len() == 1 {
            "generation"
        } else {
            "generations"
        };
        parts.push(format!("earlier {word} {} not gone yet", earlier.join(", ")));
    }
    if let Some(Pause { until, reason, .. }) = &rotation.paused {
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        let reason = reason
            .as_ref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        parts.push(format!("on hold{until}{reason}"));
    } else if let Some(waiting) = &rotation.waiting {
        parts.push(format!("waiting: {waiting}"));
    } else if let Some(due_at) = rotation.due_at {
        parts.push(due(due_at, now));
    }
    parts
}

fn due(due_at: Timestamp, now: SystemTime) -> String {
    match due_at.0 > now {
        true => format!("next rotation {}", when::from_now(due_at, now)),
        false => "next rotation due".to_owned(),
    }
}

/// What a restart would mean: the private halves are gone then.
fn after_a_restart(hosts: &[HostStatus], style: Style) -> Option<String> {
    let hosts: Vec<&HostStatus> = hosts
        .iter()
        .filter(|host| host.state != HostCondition::Forgotten)
        .collect();
    if hosts.is_empty() {
        return None;
    }
    let of = |wanted: AfterReboot| -> Vec<&HostStatus> {
        let some = hosts.iter().filter(|host| host.after_reboot == wanted);
        some.copied().collect()
    };
    let mut parts = Vec::new();
    let recovers = of(AfterReboot::Recovers);
    let all = recovers.len() == hosts.len();
    if !recovers.is_empty() {
        let count = if all {
            "every host".to_owned()
        } else {
            format!("{}", recovers.len())
        };
        parts.push(format!("the recovery identity logs in at {count}"));
    }
    let untested = of(AfterReboot::Untested);
    if !untested.is_empty() {
        parts.push(format!(
            "the recovery identity was not seen to log in yet at {}",
            names(&untested)
        ));
    }
    let maybe = of(AfterReboot::Maybe);
    if !maybe.is_empty() {
        parts.push(format!("your own ssh setup may log in at {}", names(&maybe)));
    }
    let locked_out = of(AfterReboot::LockedOut);
    if !locked_out.is_empty() {
        parts.push(style.bad(&format!("nothing logs in at {}", names(&locked_out))));
    }
    Some(parts.join("; "))
}

/// What is well first.
const ORDER: [HostCondition; 8] = [
    HostCondition::Verified,
    HostCondition::Placing,
    HostCondition::Pending,
    HostCondition::Failed,
    HostCondition::Parked,
    HostCondition::Blocked,
    HostCondition::Lost,
    HostCondition::Forgotten,
];
const MOST_NAMED: usize = 3;

#[cfg(test)]
mod tests;
