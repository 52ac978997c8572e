//! Whether a key's next generation is wanted, and when.

use super::Rotation;
use crate::desired::{DayTime, KeySpec};
use crate::ledger::{Generation, HostState, LedgerView};
use crate::plan::places::Planner;

/// When the active generation has served its time (milliseconds since 1970 UTC); none: it has no end.
pub fn due_at(spec: &KeySpec, active: &Generation, ledger: &LedgerView) -> Option<i64> {
    let every = i64::try_from(spec.rotate.as_ref()?.every.as_millis()).unwrap_or(i64::MAX);
    let since = active.promoted_at.or(active.loaded_at)?;
    let earlier = every / 10_000 * jitter(&ledger.installation, &active.key, active.n);
    Some(since.saturating_add(every - earlier))
}

impl<'a> Planner<'a> {
    /// Whether the next generation of a loaded key is begun now.
    pub(in crate::plan) fn is_next_wanted(&mut self, rotation: &Rotation<'a>, under_way: bool) -> bool {
        let Some(spec) = rotation.spec.filter(|spec| spec.present) else {
            return false;
        };
        let (Some(active), None) = (rotation.active, rotation.staged) else {
            return false;
        };
        if under_way || rotation.held || rotation.retiring || rotation.paused {
            return false;
        }
        let is_asked = rotation.row.is_some_and(|row| row.rotate_asked_at.is_some());
        if !is_asked && !self.is_due(rotation, spec, active) {
            return false;
        }
        match self.obstacle(rotation, active) {
            Some(obstacle) => {
                self.rotation_waits(rotation, &obstacle);
                false
            }
            None => true,
        }
    }

    fn is_due(&mut self, rotation: &Rotation<'a>, spec: &KeySpec, active: u64) -> bool {
        // Nobody would see whether the next one logs in anywhere.
        if !rotation.has_hosts {
            return false;
        }
        let row = self.ledger.generations.get(&(rotation.key.to_owned(), active));
        let Some((row, due)) = row.and_then(|row| Some((row, due_at(spec, row, self.ledger)?))) else {
            return false;
        };
        let since = row.promoted_at.or(row.loaded_at).unwrap_or(due);
        if !self.is_over(since, due) {
            self.wake_at_wall(due);
            return false;
        }
        let between = spec.rotate.as_ref().and_then(|rotate| rotate.between);
        let Some(hours) = between.filter(|_| !rotation.is_urged(self)) else {
            return true;
        };
        let wait = minutes_until(hours, self.now.local_minute);
        if wait > 0 {
            self.wake(self.now.uptime.saturating_add(u64::from(wait) * 60_000));
            let from = format!("{:02}:{:02}", hours.from / 60, hours.from % 60);
            self.rotation_waits(rotation, &format!("it is due, and begins after {from}"));
        }
        wait == 0
    }

    /// What keeps a wanted generation from being begun: the one before has to be through.
    fn obstacle(&self, rotation: &Rotation<'a>, active: u64) -> Option<String> {
        if !rotation.has_hosts {
            return None;
        }
        if rotation.hosts.is_empty() {
            return Some("it has no hosts yet, or they are not known yet".to_owned());
        }
        let mut verified = 0;
        let mut missing: Vec<&str> = Vec::new();
        for host in &rotation.hosts {
            match rotation.is_verified(host, active) {
                true if !host.is(HostState::Parked) => verified += 1,
                true => {}
                false if host.is(HostState::Parked) => {}
                false => missing.push(&host.address),
            }
        }
        if !missing.is_empty() {
            let hosts = named(&missing);
            return Some(format!(
                "generation {active} was not seen to log in at {hosts} yet"
            ));
        }
        if verified == 0 {
            return Some("none of its hosts can be reached".to_owned());
        }
        let live = self.live_generations(rotation);
        if live >= MAX_LIVE {
            return Some(format!(
                "{live} generations of it are in use already: the older ones have to go first"
            ));
        }
        // What stands on parked hosts is offered to those alone.
        let offered = self.generations_in_agent(rotation);
        let offered = offered
            .filter(|n| Some(*n) == rotation.active || !rotation.stands(*n))
            .count();
        (offered >= MAX_IN_AGENT).then(|| {
            format!(
                "{offered} generations of it are in the agent for instances, and a login may try {MAX_TRIES} keys: give instances \
                 up that were launched with an earlier one (keyferry retire {} --earlier --accept-loss INSTANCE)",
                rotation.key
            )
        })
    }

    /// Generations in use, but for those that are kept for parked hosts or for instances alone.
    fn live_generations(&self, rotation: &Rotation<'a>) -> usize {
        let others = self.generations_in_agent(rotation).filter(|&n| {
            Some(n) != rotation.active && !rotation.stands(n) && !self.is_kept_for_instances(rotation, n)
        });
        let on_hosts = rotation
            .standing
            .iter()
            .filter(|(n, holds_up)| *holds_up && Some(*n) != rotation.active);
        others.count() + on_hosts.count() + usize::from(rotation.active.is_some())
    }

    fn generations_in_agent(&self, rotation: &Rotation<'a>) -> impl Iterator<Item = u64> + use<'a> {
        let key = rotation.key.to_owned();
        let in_agent = self.observed.in_agent.range((key.clone(), 0)..=(key, u64::MAX));
        in_agent.map(|(_, n)| *n)
    }

    fn is_kept_for_instances(&self, rotation: &Rotation<'a>, n: u64) -> bool {
        let instances = self.instances_of(rotation, n).unwrap_or_default();
        !self.kept_for(rotation, &instances).is_empty()
    }
}

/// So many generations of a key are in use at most, besides those that are kept for parked hosts or instances.
const MAX_LIVE: usize = 3;

/// So many keys sshd takes in a login (`MaxAuthTries` of sshd_config(5) says six, the last of which ends it).
const MAX_TRIES: usize = 5;

/// Instances whose host key nobody knows are offered every generation.
const MAX_IN_AGENT: usize = MAX_TRIES;

/// A few names, and how many more there are.
pub(super) fn named(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// From 0 to 1,000: always the same for one generation, so that asking often makes nothing earlier (FNV-1a).
fn jitter(installation: &str, key: &str, n: u64) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for octet in installation.bytes().chain(key.bytes()).chain(n.to_le_bytes()) {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3);
    }
    // Its high bits are mixed best.
    i64::try_from((hash >> 32) % 1_001).unwrap_or_default()
}

/// 0: the hours have begun.
fn minutes_until(hours: DayTime, now: u16) -> u16 {
    let is_within = match hours.from <= hours.to {
        true => (hours.from..hours.to).contains(&now),
        false => now >= hours.from || now < hours.to,
    };
    if is_within || hours.from == hours.to {
        return 0;
    }
    (hours.from + 1_440 - now) % 1_440
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_of_the_day_may_span_midnight() {
        let day = DayTime { from: 540, to: 1_080 };
        let night = DayTime { from: 1_320, to: 360 };
        for (hours, now, expected) in [
            (day, 540, 0),
            (day, 1_079, 0),
            (day, 1_080, 900),
            (day, 0, 540),
            (night, 1_320, 0),
            (night, 0, 0),
            (night, 359, 0),
            (night, 360, 960),
            (night, 1_319, 1),
        ] {
            assert_eq!(minutes_until(hours, now), expected, "{hours:?} at {now}");
        }
    }

    #[test]
    fn jitter_is_spread_and_always_the_same() {
        let all: Vec<i64> = (0..1_000).map(|n| jitter("7f3a", "prod-web", n)).collect();
        assert!(all.iter().all(|share| (0..=1_000).contains(share)));
        let average = all.iter().sum::<i64>() / 1_000;
        assert!((400..600).contains(&average), "{average}");
        assert_eq!(jitter("7f3a", "prod-web", 7), all[7]);
    }
}
