//! When a generation is over: nobody has its line, no instance names its pair, and its time of grace has passed.

use super::Rotation;
use super::beginning::named;
use super::placing::grace;
use crate::ledger::{Generation, GenerationState};
use crate::plan::hosts::name;
use crate::plan::places::Planner;

impl<'a> Planner<'a> {
    /// Whether a generation that is not the active or the staged one still has a use: then its pair stays, and the agent
    /// keeps it. Asks for the instances that name its pair where that alone is not known.
    pub(in crate::plan) fn is_needed(&mut self, rotation: &Rotation<'a>, n: u64) -> bool {
        if rotation.retiring {
            // The whole key ends, all of it at the end.
            return !rotation.standing.is_empty()
                || rotation.held
                || rotation.paused
                || self.is_named(rotation, n);
        }
        if rotation.active == Some(n) || rotation.staged == Some(n) || rotation.stands(n) {
            return true;
        }
        if !self.is_in_agent(rotation.key, n) {
            return false;
        }
        if rotation.held || rotation.paused || rotation.active.is_none() {
            return true;
        }
        let row = self.ledger.generations.get(&(rotation.key.to_owned(), n));
        if let Some(superseded) = row.and_then(|row| row.superseded_at) {
            let over = superseded.saturating_add(grace(rotation));
            if over > self.now.wall_ms() {
                self.wake_at_wall(over);
                return true;
            }
        }
        self.is_named(rotation, n)
    }

    /// Whether instances name the pair of a generation in the agent, as far as the provider says now; not known: yes, and
    /// it is asked.
    fn is_named(&mut self, rotation: &Rotation<'a>, n: u64) -> bool {
        let Some(row) = self.ledger.generations.get(&(rotation.key.to_owned(), n)) else {
            return false;
        };
        // Of no use to an instance either.
        if !self.is_in_agent(rotation.key, n) || !self.can_name_instances(row) || has_no_pair(row.state) {
            return false;
        }
        // It was free when its deletion began.
        if row.state == GenerationState::Unwanted {
            return false;
        }
        let known = self.observed.instances.get(&row.id());
        let fresh = known.filter(|(_, asked)| self.now.uptime < asked.saturating_add(INSTANCES_AGE));
        let Some((instances, asked)) = fresh else {
            self.ask_for_instances(rotation, n);
            self.rotation_waits(
                rotation,
                &format!("the provider has to say which instances name the pair of generation {n}"),
            );
            return true;
        };
        let kept = self.kept_for(rotation, instances);
        if kept.is_empty() {
            return false;
        }
        self.wake(asked.saturating_add(INSTANCES_AGE));
        let instances = named(&kept);
        let key = rotation.key;
        let only = if rotation.retiring { "" } else { " --earlier" };
        self.rotation_waits(
            rotation,
            &format!(
                "generation {n} is kept for {instances}, launched with it: keyferry retire {key}{only} --accept-loss \
                 INSTANCE gives one up"
            ),
        );
        true
    }

    /// Instances that may let in nothing but the generation they were launched with: those that were not given up, and
    /// where no later one was seen to log in.
    pub(super) fn kept_for<'i>(&self, rotation: &Rotation<'a>, instances: &'i [String]) -> Vec<&'i str> {
        let has_active = |instance: &str| {
            rotation.active.is_some_and(|active| {
                rotation
                    .hosts
                    .iter()
                    .any(|host| name(&host.address) == instance && rotation.is_verified(host, active))
            })
        };
        let instances = instances.iter().map(String::as_str);
        instances
            .filter(|instance| !rotation.is_accepted(instance) && !has_active(instance))
            .collect()
    }

    /// Whether the provider can say which instances name a pair.
    pub(super) fn can_name_instances(&self, row: &Generation) -> bool {
        self.observed.can_list_instances.contains(&row.account) && self.account_of(row).is_some()
    }

    /// Whether the provider could say which instances name a generation's pair, and never did.
    pub(super) fn are_instances_unknown(&self, rotation: &Rotation<'a>, n: u64) -> bool {
        let id = (rotation.key.to_owned(), n);
        let row = self.ledger.generations.get(&id);
        !self.observed.instances.contains_key(&id)
            && row.is_some_and(|row| self.can_name_instances(row) && !has_no_pair(row.state))
    }

    /// Whether a generation beside the active one keeps its pair, or a copy of it: in the agent, or on a host.
    pub(in crate::plan) fn is_pair_needed(&mut self, rotation: &Rotation<'a>, row: &Generation) -> bool {
        let n = row.copy_of.unwrap_or(row.n);
        let is_beside = rotation.active != Some(n) || rotation.retiring;
        is_beside && self.is_needed(rotation, n)
    }
}

/// Whether nothing of ours is at the provider under the pair's name, or nothing that keyferry may touch.
pub(super) fn has_no_pair(state: GenerationState) -> bool {
    state.is_final() || matches!(state, GenerationState::Blocked | GenerationState::Replaced)
}

/// What the provider said about instances counts so long (milliseconds).
const INSTANCES_AGE: u64 = 600_000;
