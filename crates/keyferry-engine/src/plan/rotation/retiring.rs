//! When a generation is over: nobody has its line, no instance names its pair, and its time of grace has passed.

use super::Rotation;
use super::beginning::named;
use super::placing::grace;
use crate::ledger::{Generation, GenerationState};
use crate::plan::hosts::name;
use crate::plan::places::{Class, Planner};
use crate::plan::{Action, Subject};

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
            if !self.is_over(superseded, over) {
                self.goes_on_at(rotation, over);
                return true;
            }
        }
        self.is_named(rotation, n)
    }

    /// Whether instances name a pair of a generation in the agent, in whichever region, as far as the provider says now; not
    /// known: yes, and it is asked.
    fn is_named(&mut self, rotation: &Rotation<'a>, n: u64) -> bool {
        // Of no use to an instance either.
        if !self.is_in_agent(rotation.key, n) {
            return false;
        }
        let mut kept: Vec<&str> = Vec::new();
        let mut is_unknown = false;
        for row in self.named_by_instances(rotation, n) {
            // It was free when its deletion began.
            if row.state == GenerationState::Unwanted {
                continue;
            }
            let known = self.observed.instances.get(&row.id());
            match known.filter(|(_, asked)| self.now.uptime < asked.saturating_add(INSTANCES_AGE)) {
                Some((instances, asked)) => {
                    let named = self.kept_for(rotation, instances);
                    if !named.is_empty() {
                        self.wake(asked.saturating_add(INSTANCES_AGE));
                    }
                    kept.extend(named);
                }
                // Whatever they are called.
                None if rotation.is_accepted(ALL) => {}
                None => {
                    is_unknown = true;
                    self.ask_for_instances(row);
                    self.waits_for_instances(rotation, n, row);
                }
            }
        }
        if kept.is_empty() {
            return is_unknown;
        }
        kept.sort_unstable();
        kept.dedup();
        let instances = named(&kept);
        let key = rotation.key;
        let only = if rotation.retiring { "" } else { " --earlier" };
        self.rotation_waits(
            rotation,
            &format!(
                "generation {n} is kept for {instances}, launched with it or bound to it: keyferry retire {key}{only} --accept-loss \
                 INSTANCE gives one up"
            ),
        );
        true
    }

    /// Says that the provider has to answer first, and what it says instead.
    fn waits_for_instances(&mut self, rotation: &Rotation<'a>, n: u64, row: &Generation) {
        let mut reason = format!("the provider has to say which instances name the pair of generation {n}");
        let subject = Subject::Instances(row.key.clone(), row.n);
        if let Some(retry) = self.observed.retries.get(&subject) {
            let place = row.region.as_ref().map(|region| format!(" in {region}"));
            let message = &retry.error.message;
            reason.push_str(&format!(", and does not{}: {message}", place.unwrap_or_default()));
        }
        self.rotation_waits(rotation, &reason);
    }

    /// The pairs of a generation of which the provider can say which instances name them: its own, and its copies.
    fn named_by_instances(&self, rotation: &Rotation<'a>, n: u64) -> Vec<&'a Generation> {
        let rows = self.ledger.of_key(rotation.key);
        rows.filter(|row| row.holds(n) && self.can_name_instances(row) && !has_no_pair(row.state))
            .collect()
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
    fn can_name_instances(&self, row: &Generation) -> bool {
        self.observed.can_list_instances.contains(&row.account) && self.account_of(row).is_some()
    }

    /// The instances that name a pair of a generation, as far as the provider said; none: it could say so of one of them, and
    /// never did.
    pub(super) fn instances_of(&self, rotation: &Rotation<'a>, n: u64) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for row in self.named_by_instances(rotation, n) {
            all.extend(self.observed.instances.get(&row.id())?.0.iter().cloned());
        }
        Some(all)
    }

    /// Asks once which instances name the pairs of a generation.
    pub(super) fn ask_once_for_instances(&mut self, rotation: &Rotation<'a>, n: u64) {
        for row in self.named_by_instances(rotation, n) {
            if !self.observed.instances.contains_key(&row.id()) {
                self.ask_for_instances(row);
            }
        }
    }

    fn ask_for_instances(&mut self, row: &'a Generation) {
        let id = row.id();
        if self.observed.jobs.contains_key(&id) {
            return;
        }
        let subject = Subject::Instances(id.0.clone(), id.1);
        let known = self.observed.retries.get(&subject);
        let spec = known.and_then(|retry| retry.spec.clone());
        let account = self.desired.accounts.get(&row.account);
        if self.is_open(&subject, spec.as_ref(), account) {
            self.request(row, Class::TidyUp, Action::ListInstances { id });
        }
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

/// What the user says who gives all of them up.
const ALL: &str = "all";

/// What the provider said about instances counts so long (milliseconds).
const INSTANCES_AGE: u64 = 600_000;
