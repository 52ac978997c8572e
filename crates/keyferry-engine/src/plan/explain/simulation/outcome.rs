//! What becomes of the world when a step works.

use super::{NEVER, Simulation};
use crate::desired::{GeneratedBy, KeySpec};
use crate::ledger::{Generation, GenerationState, Placement, PlacementState, Purpose, Stage, Trusted, Write};
use crate::plan::trusted::beginning;
use crate::plan::{Action, Subject};

impl Simulation {
    /// Lets a step work.
    pub(in crate::plan::explain) fn succeed(&mut self, action: &Action) {
        let key = action.key().to_owned();
        let now = self.now.wall_ms();
        match action {
            Action::Confirm { id } => _ = self.observed.suspects.remove(id),
            Action::Copy { region, .. } => self.copy(&key, region.as_deref()),
            Action::Create { .. } | Action::Import { .. } => self.make(&key),
            Action::Delete { id } => _ = self.ledger.generations.remove(id),
            Action::Doubt { id } => _ = self.ledger.generations.remove(id),
            Action::Forget { .. } => _ = self.observed.ready.remove(&key),
            Action::Generate { .. } => {
                if let Some(spec) = self.desired.keys.get(&key) {
                    self.observed.ready.insert(key, spec.algorithm);
                }
            }
            Action::ImportAgain { id } | Action::Look { id } => self.arrive(id),
            Action::ListHosts { .. } => {
                self.observed.host_lists.entry(key).or_default().1 = NEVER;
            }
            Action::ListInstances { id } => {
                self.observed.instances.entry(id.clone()).or_default().1 = NEVER;
            }
            Action::Load { id } => {
                let is_staged = self.is_to_be_staged(&key);
                self.observed.halves.remove(id);
                self.observed.in_agent.insert(id.clone());
                if let Some(row) = self.ledger.generations.get_mut(id) {
                    row.loaded_at = Some(now);
                    // One that was given up meanwhile stays so.
                    if row.stage != Stage::Earlier || !is_staged {
                        row.stage = Stage::Staged;
                    }
                }
                if !is_staged {
                    self.promote(id);
                }
            }
            Action::Promote { id } => self.promote(id),
            Action::Publish { id } => _ = self.observed.published.insert(key, id.1),
            Action::Put { id, host } => {
                self.reached(&key, host);
                self.observed.refused_logins.remove(&(key, id.1, host.clone()));
                self.put(id, host, PlacementState::Placed);
            }
            Action::PutTrusted {
                host,
                public_key,
                purpose,
                ..
            } => self.trust(&key, host, public_key, *purpose),
            Action::Replace {
                host, fingerprints, ..
            } => {
                let done = (key.clone(), host.clone());
                self.observed.replaced.insert(done, fingerprints.clone());
            }
            Action::Revoke { .. } | Action::Survey { .. } => {}
            Action::TakeOffTrusted {
                host, public_keys, ..
            } => {
                for public_key in public_keys {
                    let id = (key.clone(), host.clone(), public_key.clone());
                    self.ledger.trusted.remove(&id);
                }
            }
            Action::VerifyRecovery { host, .. } => {
                let rows = self.ledger.trusted.values_mut();
                for row in rows.filter(|row| row.purpose == Purpose::Recovery && row.host == *host) {
                    row.state = PlacementState::Verified;
                    row.verified_at = Some(now);
                }
                self.observed.recovering.remove(host);
            }
            Action::TakeOff { host, lines, .. } => {
                self.reached(&key, host);
                for (key, n) in lines {
                    self.ledger.placements.remove(&(key.clone(), *n, host.clone()));
                }
            }
            Action::Unload { id } => {
                self.observed.in_agent.remove(id);
                if self.observed.loaded.get(&key) == Some(&id.1) {
                    self.observed.loaded.remove(&key);
                }
            }
            Action::Verify { id, host } => {
                self.reached(&key, host);
                match self.placement(id, host).is_some() {
                    true => self.put(id, host, PlacementState::Verified),
                    // It is taken not to be there by chance.
                    false => _ = self.observed.refused_logins.insert((key, id.1, host.clone())),
                }
            }
        }
    }

    fn reached(&mut self, key: &str, host: &str) {
        let subject = Subject::Host(key.to_owned(), host.to_owned());
        self.observed.retries.remove(&subject);
    }

    fn put(&mut self, (key, n): &(String, u64), host: &str, state: PlacementState) {
        let now = self.now.wall_ms();
        let is_seen = state == PlacementState::Verified;
        let before = self.placement(&(key.clone(), *n), host);
        let verified_at = before.and_then(|row| row.verified_at);
        // To see it changes nothing.
        let written_at = before.filter(|_| is_seen).map(|row| row.changed_at);
        self.ledger.apply(Write {
            placements: vec![Placement {
                key: key.clone(),
                n: *n,
                host: host.to_owned(),
                state,
                verified_at: verified_at.or(is_seen.then_some(now)),
                line: None,
                file: None,
                file_hash: None,
                changed_at: written_at.unwrap_or(now),
            }],
            ..Write::default()
        });
    }

    fn trust(&mut self, key: &str, host: &str, public_key: &str, purpose: Purpose) {
        let Some(spec) = self.desired.keys.get(key) else {
            return;
        };
        let id = (key.to_owned(), host.to_owned(), public_key.to_owned());
        let until = self.ledger.trusted.get(&id).and_then(|row| row.until);
        let trusted = Trusted {
            key: key.to_owned(),
            host: host.to_owned(),
            public_key: public_key.to_owned(),
            purpose,
            line: beginning(spec, public_key, purpose, until),
            file: None,
            state: PlacementState::Placed,
            until,
            verified_at: None,
            changed_at: self.now.wall_ms(),
            note: None,
        };
        self.ledger.trusted.insert(id, trusted);
    }

    fn promote(&mut self, id: &(String, u64)) {
        let now = self.now.wall_ms();
        self.observed.loaded.insert(id.0.clone(), id.1);
        let rows = self.ledger.generations.values_mut();
        for row in rows.filter(|row| row.key == id.0 && row.copy_of.is_none()) {
            if row.n == id.1 {
                row.stage = Stage::Active;
                row.promoted_at = Some(now);
            } else if row.stage != Stage::Earlier {
                row.stage = Stage::Earlier;
                row.superseded_at = Some(now);
            }
        }
    }

    /// The next generation, with its private half in hand.
    fn make(&mut self, key: &str) {
        let Some(spec) = self.desired.keys.get(key).cloned() else {
            return;
        };
        let mut row = self.ledger.key(key);
        row.last_n += 1;
        row.rotate_asked_at = None;
        let generation = self.generation(&spec, row.last_n);
        self.observed.ready.remove(key);
        self.observed.halves.insert(generation.id());
        self.ledger.apply(Write {
            keys: vec![row],
            generations: vec![generation],
            ..Write::default()
        });
    }

    fn copy(&mut self, key: &str, region: Option<&str>) {
        let Some(spec) = self.desired.keys.get(key).cloned() else {
            return;
        };
        let mut row = self.ledger.key(key);
        row.last_n += 1;
        let mut generation = self.generation(&spec, row.last_n);
        generation.copy_of = self.observed.loaded.get(key).copied();
        generation.region = region.map(str::to_owned);
        self.ledger.apply(Write {
            keys: vec![row],
            generations: vec![generation],
            ..Write::default()
        });
    }

    fn generation(&self, spec: &KeySpec, n: u64) -> Generation {
        let account = self.desired.accounts.get(&spec.account);
        Generation {
            key: spec.name.clone(),
            n,
            copy_of: None,
            made_by: spec.generated_by,
            algorithm: spec.algorithm,
            account: spec.account.clone(),
            plugin: account.map(|account| account.plugin.clone()).unwrap_or_default(),
            region: account.and_then(|account| spec.regions(account).next().flatten().map(str::to_owned)),
            endpoint: account.and_then(|account| account.endpoint.clone()),
            blob: None,
            pair_name: format!("{}-{n}", spec.name),
            provider_id: None,
            provider_fingerprint: None,
            state: GenerationState::Live,
            requested_at: self.now.wall_ms(),
            repeated_at: None,
            loaded_at: None,
            missing_since: None,
            delete_asked_at: None,
            note: None,
            stage: Stage::Staged,
            promoted_at: None,
            superseded_at: None,
            place: None,
        }
    }

    /// A pair whose answer is out turns out to be there.
    pub(super) fn arrive(&mut self, id: &(String, u64)) {
        self.observed.absent.remove(id);
        self.observed.looks.remove(id);
        let Some(row) = self.ledger.generations.get_mut(id) else {
            return;
        };
        match row.state {
            GenerationState::Requested => {
                row.state = GenerationState::Live;
                // A created pair comes with its private half.
                if row.copy_of.is_none() && row.made_by == GeneratedBy::Provider {
                    self.observed.halves.insert(id.clone());
                }
            }
            GenerationState::Doubtful => row.state = GenerationState::Unwanted,
            _ => {}
        }
    }
}
