//! What happened between two snapshots.

use std::collections::BTreeMap;

use keyferry_engine::snapshot::{
    Drift, HostCondition, HostStatus, KeyState, KeyStatus, Snapshot, StatusError, Timestamp,
};

use super::{Event, Kind};

/// What was last seen of each key, and which troubles were told of already.
pub(super) struct Changes {
    keys: BTreeMap<String, Facts>,
    /// By key.
    key_troubles: BTreeMap<String, Kind>,
    /// By key and host. They are told once, whatever is tried in between, until the key logs in there.
    host_troubles: BTreeMap<(String, String), Kind>,
}

/// What was seen of a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Facts {
    active: Option<u64>,
    staged: Option<u64>,
    earlier: Vec<u64>,
    /// Whether a generation is on its way to hosts.
    is_rotating: bool,
    drift: Option<Drift>,
}

impl Changes {
    /// From a first snapshot: what stands in it already is no event, but for keys that are lost. They are so since the process
    /// before ended, and nobody was told.
    pub(super) fn since(snapshot: &Snapshot) -> Self {
        let mut changes = Self {
            keys: BTreeMap::new(),
            key_troubles: BTreeMap::new(),
            host_troubles: BTreeMap::new(),
        };
        changes.to(snapshot, Timestamp::from_ms(0));
        changes.key_troubles.retain(|_, kind| *kind != Kind::KeyLost);
        changes
    }

    /// What happened until this snapshot.
    pub(super) fn to(&mut self, snapshot: &Snapshot, at: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        // One for a command is its owner's, who is told.
        for key in snapshot.keys.iter().filter(|key| key.exec.is_none()) {
            let now = Facts::of(key);
            if let Some(before) = self.keys.get(&key.name) {
                events.extend(before.until(&now, key, at));
            }
            self.keys.insert(key.name.clone(), now);
            events.extend(self.key_trouble(key, at));
            for host in &key.hosts {
                events.extend(self.host_trouble(key, host, at));
            }
        }
        let is_there = |name: &str| snapshot.keys.iter().any(|key| key.name == name);
        self.keys.retain(|name, _| is_there(name));
        self.key_troubles.retain(|name, _| is_there(name));
        self.host_troubles.retain(|(name, _), _| is_there(name));
        events
    }

    fn key_trouble(&mut self, key: &KeyStatus, at: Timestamp) -> Option<Event> {
        let kind = match key.state {
            KeyState::Failed => Kind::KeyFailed,
            KeyState::Lost => Kind::KeyLost,
            KeyState::Held | KeyState::Loaded => {
                self.key_troubles.remove(&key.name);
                return None;
            }
            // It may fail again the same way.
            KeyState::Creating | KeyState::Pending => return None,
        };
        if self.key_troubles.insert(key.name.clone(), kind) == Some(kind) {
            return None;
        }
        let words = match kind {
            Kind::KeyLost => "its private half is gone",
            _ => "it could not be made",
        };
        Some(trouble(kind, key, None, key.error.as_ref(), words, at))
    }

    fn host_trouble(&mut self, key: &KeyStatus, host: &HostStatus, at: Timestamp) -> Option<Event> {
        let place = (key.name.clone(), host.host.clone());
        let (kind, words) = match host.state {
            HostCondition::Blocked => (Kind::HostBlocked, "wants a person"),
            HostCondition::Lost => (Kind::HostLost, "lets in nothing that keyferry has"),
            HostCondition::Parked => (Kind::HostParked, "cannot be reached"),
            HostCondition::Verified => {
                self.host_troubles.remove(&place)?;
                let message = format!("key {} logs in at {} again", key.name, host.host);
                return Some(Event {
                    generation: host.generation,
                    host: Some(host.host.clone()),
                    ..event(Kind::HostReached, key, message, at)
                });
            }
            HostCondition::Forgotten => {
                self.host_troubles.remove(&place);
                return None;
            }
            HostCondition::Failed | HostCondition::Pending | HostCondition::Placing => return None,
        };
        if self.host_troubles.insert(place, kind) == Some(kind) {
            return None;
        }
        Some(trouble(kind, key, Some(host), host.error.as_ref(), words, at))
    }
}

impl Facts {
    fn of(key: &KeyStatus) -> Self {
        let rotation = key.rotation.clone().unwrap_or_default();
        let is_left = |host: &HostStatus| {
            let is_left_alone = matches!(host.state, HostCondition::Forgotten | HostCondition::Parked);
            !is_left_alone && host.generation != rotation.active
        };
        let is_on_its_way = !rotation.earlier.is_empty() && key.hosts.iter().any(is_left);
        Self {
            active: rotation.active,
            staged: rotation.staged,
            is_rotating: rotation.staged.is_some() || is_on_its_way,
            earlier: rotation.earlier,
            drift: key.drift,
        }
    }

    fn until(&self, now: &Self, key: &KeyStatus, at: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let name = &key.name;
        let mut add = |kind: Kind, generation: Option<u64>, message: String| {
            events.push(Event {
                generation,
                ..event(kind, key, message, at)
            });
        };
        if let Some(n) = now.staged.filter(|_| now.staged != self.staged) {
            add(
                Kind::RotationBegun,
                Some(n),
                format!("generation {n} of key {name} is made, and is brought to its hosts"),
            );
        }
        if let (Some(before), Some(n)) = (self.active, now.active)
            && before != n
        {
            add(
                Kind::GenerationPromoted,
                Some(n),
                format!("generation {n} of key {name} is offered now, in place of generation {before}"),
            );
        }
        if let (true, false, Some(n)) = (self.is_rotating, now.is_rotating, now.active) {
            add(
                Kind::RotationFinished,
                Some(n),
                format!("generation {n} of key {name} was seen to log in at every host that can be reached"),
            );
        }
        let still = |n: u64| now.earlier.contains(&n) || now.active == Some(n) || now.staged == Some(n);
        for &n in self.earlier.iter().filter(|n| !still(**n)) {
            add(
                Kind::GenerationEnded,
                Some(n),
                format!("generation {n} of key {name} is gone: nothing accepts it any more"),
            );
        }
        if let (None, Some(drift)) = (self.drift, now.drift) {
            let error = key.regions.iter().find_map(|region| region.error.as_ref());
            let words = match drift {
                Drift::Deleted => "its pair was deleted at the provider",
                Drift::Replaced => "its pair was replaced at the provider",
            };
            events.push(trouble(Kind::Drift, key, None, error, words, at));
        }
        events
    }
}

fn event(kind: Kind, key: &KeyStatus, message: String, at: Timestamp) -> Event {
    Event {
        event: kind,
        at,
        key: key.name.clone(),
        generation: key.generation,
        host: None,
        message,
        remedy: None,
    }
}

fn trouble(
    kind: Kind,
    key: &KeyStatus,
    host: Option<&HostStatus>,
    error: Option<&StatusError>,
    words: &str,
    at: Timestamp,
) -> Event {
    let mut message = match host {
        Some(host) => format!("{} {words} (key {})", host.host, key.name),
        None => format!("key {}: {words}", key.name),
    };
    if let Some(error) = error {
        message.push_str(&format!(": {}", error.message));
    }
    Event {
        generation: host.map_or(key.generation, |host| host.generation),
        host: host.map(|host| host.host.clone()),
        remedy: error.and_then(|error| error.remedy.clone()),
        ..event(kind, key, message, at)
    }
}

#[cfg(test)]
mod tests;
