//! Giving a generation up for the one before.

use std::collections::BTreeSet;

use super::{Decision, Refusal};
use crate::engine::Engine;
use crate::ledger::{Generation, GenerationState, KeyRow, PlacementState, Stage, Write};
use crate::snapshot::RolledBack;

impl Engine {
    pub(super) fn rolling_back(&self, key: &str) -> Decision<RolledBack> {
        self.known_key(key)?;
        let row = self.view.key(key);
        if let Some(pause) = self.pause_of(&row) {
            return Err(pause);
        }
        if row.retire_asked_at.is_some() {
            return Err(Refusal::Retiring { key: key.to_owned() });
        }
        let Some(active) = self.observed.loaded.get(key).copied() else {
            return Err(Refusal::NotLoaded { key: key.to_owned() });
        };
        let now = self.clock.now().wall_ms();
        let mut write = Write::default();
        if row.rotate_asked_at.is_some() {
            write.keys.push(KeyRow {
                rotate_asked_at: None,
                ..row.clone()
            });
        }
        let answer = |from: Option<u64>, to: u64, put_back: Vec<String>| RolledBack {
            key: key.to_owned(),
            from,
            to,
            put_back,
        };
        let current = self.view.generations.get(&(key.to_owned(), active)).cloned();
        if let Some(staged) = self.staged(key) {
            if staged.state == GenerationState::Requested {
                return Err(Refusal::Requested {
                    key: key.to_owned(),
                    n: staged.n,
                });
            }
            let given_up = Generation {
                stage: Stage::Earlier,
                superseded_at: Some(now),
                ..staged.clone()
            };
            // Otherwise a rotation that is due would begin again at once.
            let is_scheduled = self
                .desired
                .keys
                .get(key)
                .is_some_and(|spec| spec.rotate.is_some());
            let renewed = current.filter(|_| is_scheduled).map(|current| Generation {
                promoted_at: Some(now),
                ..current
            });
            write.generations.push(given_up);
            write.generations.extend(renewed);
            return Ok((write, answer(Some(staged.n), active, Vec::new())));
        }
        if row.rotate_asked_at.is_some() {
            return Ok((write, answer(None, active, Vec::new())));
        }
        let earlier = self.earlier_than(key, active)?;
        let to = earlier.n;
        let put_back = self.hosts_without(key, active, to);
        write.generations.push(Generation {
            stage: Stage::Active,
            promoted_at: Some(now),
            superseded_at: None,
            ..earlier.clone()
        });
        write.generations.extend(current.map(|current| Generation {
            stage: Stage::Earlier,
            superseded_at: Some(now),
            ..current
        }));
        Ok((write, answer(Some(active), to, put_back)))
    }

    /// The generation that the active one superseded last, if one can go back to it.
    fn earlier_than(&self, key: &str, active: u64) -> Result<&Generation, Refusal> {
        let of_key = || key.to_owned();
        let candidates = self.view.originals(key).filter(|generation| {
            generation.stage == Stage::Earlier
                && generation.n != active
                && generation.loaded_at.is_some()
                && generation.promoted_at.is_some()
        });
        let Some(earlier) = candidates.max_by_key(|generation| (generation.superseded_at, generation.n))
        else {
            return Err(Refusal::NoEarlier {
                key: of_key(),
                active,
            });
        };
        if !self.observed.in_agent.contains(&earlier.id()) {
            return Err(Refusal::EarlierIsGone {
                key: of_key(),
                earlier: earlier.n,
            });
        }
        let logs_in = self
            .view
            .placements_of(key)
            .any(|placement| placement.n == earlier.n && placement.state == PlacementState::Verified);
        if !logs_in {
            return Err(Refusal::EarlierIsNowhere {
                key: of_key(),
                earlier: earlier.n,
            });
        }
        Ok(earlier)
    }

    /// Hosts that have one generation's line and not another's.
    fn hosts_without(&self, key: &str, present: u64, absent: u64) -> Vec<String> {
        let with = |n: u64| {
            let placements = self.view.placements_of(key);
            placements
                .filter(move |placement| {
                    placement.n == n
                        && matches!(placement.state, PlacementState::Placed | PlacementState::Verified)
                })
                .map(|placement| placement.host.clone())
                .collect::<BTreeSet<_>>()
        };
        with(present).difference(&with(absent)).cloned().collect()
    }
}
