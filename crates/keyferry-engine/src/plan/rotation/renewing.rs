//! Lines that end by themselves: each that a host needs is written anew in time, whatever becomes of the rotation.

use super::offers::needed;
use super::{HostFacts, Rotation};
use crate::ledger::{KeyRow, Placement, PlacementState};
use crate::plan::Action;
use crate::plan::places::Planner;

impl<'a> Planner<'a> {
    /// Renews lines of a key for which nothing else is done now.
    pub(super) fn keep_up(&mut self, rotation: &Rotation<'a>) {
        let mut free = self.free_hosts(rotation);
        for host in &rotation.hosts {
            if free == 0 {
                break;
            }
            if let Some(action) = self.upkeep(rotation, host) {
                free -= 1;
                self.taken.insert(host.address.to_string());
                self.plan.actions.push(action);
            }
        }
    }

    /// What keeps the lines alive that a host needs: one whose time has come is written anew, and one that was is seen to
    /// log in again before anything else is done there.
    pub(super) fn upkeep(&mut self, rotation: &Rotation<'a>, host: &HostFacts<'a>) -> Option<Action> {
        // One for a command ends when it was said to.
        if rotation.row.is_some_and(KeyRow::is_for_command) {
            return None;
        }
        let is_wanted = rotation.spec.is_some_and(|spec| spec.deploy.expires.is_some());
        let here = rotation.on(host);
        // One that the host may need, and whose last login was cut or refused, is looked at whichever comes next.
        let stands_still = rotation.held || rotation.paused || rotation.retiring;
        let is_unsure = |placement: &&Placement| {
            let is_to_be_seen = matches!(placement.state, PlacementState::Placing | PlacementState::Placed);
            is_to_be_seen && placement.verified_at.is_some() && Some(placement.n) != rotation.target()
        };
        let is_to_be_seen = !stands_still && here.iter().any(is_unsure);
        let ends = is_wanted || here.iter().any(|placement| end_of(placement).is_some());
        // Most lines stay for good.
        if !ends && !is_to_be_seen {
            return None;
        }
        let in_agent: Vec<u64> = here
            .iter()
            .map(|placement| placement.n)
            .filter(|n| self.is_in_agent(rotation.key, *n))
            .collect();
        let mut needed: Vec<u64> = needed(rotation, host, &in_agent).collect();
        needed.extend(rotation.staged.filter(|n| rotation.is_verified(host, *n)));
        if !ends {
            // What belongs there has its turn.
            needed.retain(|n| Some(*n) != rotation.target());
        }
        let mut next = None;
        // The newest first.
        for placement in here
            .iter()
            .rev()
            .filter(|placement| needed.contains(&placement.n))
        {
            let found = self.renewal(rotation, placement);
            next = next.or(found);
        }
        let action = next?;
        (!self.is_busy(&host.address) && self.is_host_open(rotation, &host.address)).then_some(action)
    }

    fn renewal(&mut self, rotation: &Rotation<'a>, placement: &Placement) -> Option<Action> {
        let id = (placement.key.clone(), placement.n);
        let host = placement.host.clone();
        match placement.state {
            PlacementState::Verified => self
                .is_renewal_due(rotation, placement)
                .then_some(Action::Put { id, host }),
            // A key that is held signs nothing: whether it logs in cannot be seen.
            PlacementState::Placed if rotation.held => self
                .is_renewal_due(rotation, placement)
                .then_some(Action::Put { id, host }),
            PlacementState::Placing if rotation.held => Some(Action::Put { id, host }),
            PlacementState::Placing | PlacementState::Placed => {
                Some(match self.is_refused(rotation.key, placement.n, &host) {
                    true => Action::Put { id, host },
                    false => Action::Verify { id, host },
                })
            }
            PlacementState::Removing | PlacementState::Removed => None,
        }
    }

    /// Whether a line is to be written anew: what is left of it is half the life that the file gives it now, or the file
    /// does not want it to end any more.
    fn is_renewal_due(&mut self, rotation: &Rotation<'a>, placement: &Placement) -> bool {
        let Some(spec) = rotation.spec else {
            return false;
        };
        let ends = end_of(placement);
        let Some(life) = spec.deploy.expires else {
            return ends.is_some();
        };
        let half = i64::try_from(life.as_millis() / 2).unwrap_or(i64::MAX);
        let mut due = placement.changed_at.saturating_add(half);
        if let Some(ends) = ends {
            // One that was just written cannot be written any better.
            let earliest = placement.changed_at.saturating_add(LEAST_AGE);
            due = due.min(ends.saturating_sub(half).max(earliest));
        }
        if due > self.now.wall_ms() {
            self.wake_at_wall(due);
            return false;
        }
        true
    }
}

/// When sshd stops to take a line, as it was written (milliseconds since 1970 UTC); none: it does not end.
fn end_of(placement: &Placement) -> Option<i64> {
    let line = placement.line.as_deref()?;
    let mut ends: Option<i64> = None;
    let (mut start, mut is_quoted, mut before) = (0, false, b' ');
    for (at, octet) in line.bytes().enumerate() {
        match octet {
            b'"' if before != b'\\' => is_quoted = !is_quoted,
            b',' | b' ' if !is_quoted => {
                let found = line.get(start..at).and_then(end_of_option);
                ends = ends.into_iter().chain(found).min();
                start = at + 1;
                if octet == b' ' {
                    break;
                }
            }
            _ => {}
        }
        before = octet;
    }
    ends
}

fn end_of_option(option: &str) -> Option<i64> {
    let text = option.strip_prefix("expiry-time=\"")?.strip_suffix('"')?;
    let (digits, is_utc) = match text.strip_suffix('Z') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    if !digits.bytes().all(|octet| octet.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return None;
    }
    let full = format!("{digits:0<14}");
    let (date, time) = full.split_at(8);
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    let at = humantime::parse_rfc3339(&text).ok()?;
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    let at = i64::try_from(since.as_millis()).ok()?;
    // The host's own time, wherever it is: written with a day more, and over a day earlier at the most.
    Some(if is_utc { at } else { at - DAY })
}

/// Milliseconds.
const DAY: i64 = 86_400_000;

/// No line is written anew that was written so short a time ago (milliseconds). The shortest life is a day.
const LEAST_AGE: i64 = 3_600_000;
