//! What the commands about rotations say.

use std::time::SystemTime;

use keyferry_engine::snapshot::{
    HostCondition, HostStatus, KeyPlan, KeyState, KeyStatus, LOCKED, RolledBack, RotationAsked, Snapshot,
};

use super::course::{self, Course};
use crate::table::{self, Style};
use crate::{status, when};

/// What was asked for, when nothing is waited for.
pub(super) fn asked(asked: &[RotationAsked]) -> String {
    let mut text = String::new();
    let mut new = Vec::new();
    for RotationAsked { key, waiting, .. } in asked {
        match waiting {
            Some(waiting) => text.push_str(&format!("key {key}: a rotation is under way: {waiting}\n")),
            None => new.push(key.as_str()),
        }
    }
    if !new.is_empty() {
        text.push_str(&format!(
            "rotating: {}\n  `keyferry status` shows how it goes; with --wait this command waits for it\n",
            new.join(", ")
        ));
    }
    text.truncate(text.trim_end().len());
    text
}

/// One line about rotations that go on.
pub(super) fn progress(asked: &[RotationAsked], snapshot: &Snapshot, now: SystemTime) -> String {
    let parts = asked.iter().filter_map(|asked| {
        let key = snapshot.keys.iter().find(|key| key.name == asked.key)?;
        let rotation = key.rotation.as_ref();
        let begun = rotation.filter(|rotation| course::is_begun(asked, rotation));
        let Some(target) = begun.and_then(course::target) else {
            let asked = key.waits_long_for(now);
            let asked = asked.map(|asked| format!("; {}", status::rotation::unanswered(asked, now)));
            return Some(format!(
                "{}: making the next generation{}",
                key.name,
                asked.unwrap_or_default()
            ));
        };
        let verified = verified(key, target).count();
        let expected = key
            .hosts
            .iter()
            .filter(|host| host.state != HostCondition::Forgotten)
            .count();
        let at_work: Vec<&str> = key
            .hosts
            .iter()
            .filter(|host| host.state == HostCondition::Placing)
            .map(|host| host.host.as_str())
            .collect();
        let at_work = match at_work.as_slice() {
            [] => String::new(),
            hosts => format!("; at {}", table::some(hosts, 3)),
        };
        Some(format!(
            "{}: generation {target} verified on {verified} of {expected}{at_work}",
            key.name
        ))
    });
    parts.collect::<Vec<_>>().join(" | ")
}

/// How rotations ended that were waited for.
pub(super) fn result(
    asked: &[RotationAsked],
    snapshot: &Snapshot,
    plans: &[KeyPlan],
    now: SystemTime,
    style: Style,
) -> String {
    let mut text = String::new();
    for asked in asked {
        let Some(key) = snapshot.keys.iter().find(|key| key.name == asked.key) else {
            text.push_str(&format!("key {}: it is not there any more\n", asked.key));
            continue;
        };
        text.push_str(&one_result(asked, key, snapshot, now, style));
        let plan = plans.iter().find(|plan| plan.key == asked.key);
        // What comes after the next generation belongs to the next rotation.
        let steps = plan.into_iter().flat_map(|plan| &plan.steps);
        let this_rotation = steps.take_while(|step| !MAKING.contains(&step.what.as_str()));
        let last = this_rotation
            .filter(|step| step.what == "take_off")
            .filter_map(|step| step.at)
            .max();
        if let Some(last) = last {
            text.push_str(&format!(
                "  the earlier generation stays on its hosts until {last} ({})\n",
                when::from_now(last, now)
            ));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn one_result(
    asked: &RotationAsked,
    key: &KeyStatus,
    snapshot: &Snapshot,
    now: SystemTime,
    style: Style,
) -> String {
    let rotation = key.rotation.clone().unwrap_or_default();
    let begun = course::is_begun(asked, &rotation);
    let Some(target) = course::target(&rotation).filter(|_| begun) else {
        let mut text = format!(
            "{}: no new generation yet",
            style.bad(&format!("key {}", key.name))
        );
        let waiting = rotation.waiting.as_deref();
        let error = key.error.as_ref().map(|error| error.message.as_str());
        if let Some(why) = error.or(waiting) {
            text.push_str(&format!(": {why}"));
        }
        text.push('\n');
        if let Some(remedy) = key.error.as_ref().and_then(|error| error.remedy.as_ref()) {
            text.push_str(&format!("  what to do: {remedy}\n"));
        }
        return text;
    };
    let verified = verified(key, target).count();
    let is_done = course::of(asked, snapshot, now, now) == Course::Done;
    let subject = format!("key {}", key.name);
    let subject = if is_done { subject } else { style.bad(&subject) };
    let offered = if rotation.staged.is_none() {
        "is offered now"
    } else {
        "is offered to nobody yet"
    };
    let hosts = if verified == 1 { "host" } else { "hosts" };
    let mut text = format!("{subject}: generation {target} {offered}, verified on {verified} {hosts}\n");
    if key.state == KeyState::Held {
        text.push_str(&format!(
            "  the key is held (ssh-add -d or -D): keyferry resume {} serves it again, and the rotation goes on\n",
            key.name
        ));
    }
    if rotation.waits_for_unlock() {
        text.push_str(&format!(
            "  {LOCKED} unlocks it, and the rotation goes on by itself\n"
        ));
    }
    let in_state = |wanted: HostCondition| {
        let hosts = key.hosts.iter().filter(move |host| host.state == wanted);
        hosts.filter(|host| host.generation != Some(target))
    };
    for host in in_state(HostCondition::Parked) {
        let keeps = match host.generation {
            Some(n) => format!("keeps generation {n}, which is offered to it alone"),
            None => "never had a generation".to_owned(),
        };
        text.push_str(&format!("  {} cannot be reached: it {keeps}\n", host.host));
    }
    let failed = [HostCondition::Blocked, HostCondition::Lost, HostCondition::Failed];
    for host in failed.into_iter().flat_map(in_state) {
        text.push_str(&failed_host(host));
    }
    if let (false, Some(waiting)) = (is_done, &rotation.waiting) {
        text.push_str(&format!("  waiting: {waiting}\n"));
    }
    text
}

/// A host that something is wrong with, and what to do about it.
fn failed_host(host: &HostStatus) -> String {
    let mut text = format!("  {} {}", host.host, host.state.name());
    if let Some(error) = &host.error {
        text.push_str(&format!(": {}\n", error.message));
        if let Some(remedy) = &error.remedy {
            text.push_str(&format!("    what to do: {remedy}\n"));
        }
        if let Some(at) = error.retry_at {
            text.push_str(&format!("    next try: {at}\n"));
        }
    } else {
        text.push('\n');
    }
    text
}

fn verified(key: &KeyStatus, n: u64) -> impl Iterator<Item = &HostStatus> {
    let not_counted = HostCondition::Forgotten;
    key.hosts
        .iter()
        .filter(move |host| host.generation == Some(n) && host.state != not_counted)
}

/// What a rollback did.
pub(super) fn rolled_back(done: &RolledBack) -> String {
    let RolledBack {
        key,
        from,
        to,
        put_back,
    } = done;
    let Some(from) = from else {
        return format!(
            "key {key}: the rotation that was asked for is called off; generation {to} is offered as before"
        );
    };
    let mut text = format!(
        "key {key}: generation {to} is offered; generation {from} is given up, and its lines and its pair go"
    );
    if !put_back.is_empty() {
        let hosts: Vec<&str> = put_back.iter().map(String::as_str).collect();
        text.push_str(&format!(
            "\n  generation {to} had been taken off {} and is put there again, over generation {from}",
            table::some(&hosts, 5)
        ));
    }
    text
}

/// The steps that a next generation begins with.
const MAKING: [&str; 3] = ["create", "generate", "import"];

#[cfg(test)]
mod tests;
