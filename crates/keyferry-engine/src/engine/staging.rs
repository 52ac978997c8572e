//! A key's generations in the agent: which one is offered, and which are kept beside it.
//!
//! A rotation's generation is *staged* first: the agent has it and offers it to nobody. Once it was seen to log in it is
//! *promoted*. The first generation of a key, that of a key without hosts, and the one after a restart have nothing to wait
//! for.

use super::failure::{Failure, Pace};
use super::{Engine, Offer};
use crate::error::EngineError;
use crate::ledger::{Generation, GenerationState, KeyRow, Stage, Write};
use crate::plan::{GenerationId, Subject};

impl Engine {
    /// The part that a key's next generation begins with.
    pub(super) fn stage_of_next(&self, key: &str) -> Stage {
        match self.has_hosts(key) && self.observed.loaded.contains_key(key) {
            true => Stage::Staged,
            false => Stage::Active,
        }
    }

    /// Whether a key is put on hosts, or may stand on one.
    pub(super) fn has_hosts(&self, key: &str) -> bool {
        let spec = self.desired.keys.get(key);
        spec.is_some_and(|spec| spec.hosts.is_some()) || self.view.placements_of(key).next().is_some()
    }

    pub(super) async fn load(&mut self, id: GenerationId) -> Result<(), EngineError> {
        let (Some(mut generation), Some(half)) =
            (self.view.generations.get(&id).cloned(), self.halves.get(&id))
        else {
            self.drop_half(&id);
            return Ok(());
        };
        // Whatever it was made for: where nothing is offered, it is. And one that was given up while it was made is not.
        let is_staged = generation.stage != Stage::Active && self.observed.loaded.contains_key(&id.0);
        let is_for_command = self.view.is_for_command(&id.0);
        let offer = match is_staged || is_for_command {
            true => Offer::Nowhere,
            false => Offer::Everywhere,
        };
        let making = Subject::Making(id.0.clone());
        let comment = &generation.pair_name;
        if let Err(message) = self
            .key_ring
            .load(&id.0, id.1, half.copy_blob(), comment, offer.clone())
        {
            let remedy = "see the message; keyferry tries again, and at once with keyferry resume";
            self.fail(making, &Failure::local("agent", message, remedy, Pace::Soon));
            return Ok(());
        }
        tracing::info!(key = id.0, generation = id.1, is_staged, "loaded");
        self.drop_half(&id);
        if is_for_command {
            self.expect_no_login(&id);
        }
        self.observed.in_agent.insert(id.clone());
        self.offered.insert(id.clone(), offer);
        self.observed.retries.remove(&making);
        let now = self.clock.now().wall_ms();
        generation.loaded_at = Some(now);
        generation.note = None;
        // What stands in the place of earlier pairs is somebody else's, and nothing of ours is left there.
        let replaced = self
            .view
            .of_key(&generation.key)
            .filter(|row| row.state == GenerationState::Replaced && !row.holds(generation.n))
            .filter(|row| !self.observed.in_agent.contains(&row.id()));
        let mut generations: Vec<Generation> = replaced.cloned().collect();
        for row in &mut generations {
            row.state = GenerationState::Foreign;
        }
        generations.push(generation);
        if !is_staged {
            self.observed.loaded.insert(id.0.clone(), id.1);
            self.succeed(&id, &mut generations, now);
        }
        // What was asked for is begun. Until now it may have failed, and be wanted still.
        let asked = self
            .view
            .keys
            .get(&id.0)
            .filter(|row| row.rotate_asked_at.is_some());
        let keys = asked.map(|row| KeyRow {
            rotate_asked_at: None,
            ..row.clone()
        });
        // The agent has the key, whether or not the disk can note when. A refusal is in the log.
        self.note(Write {
            keys: keys.into_iter().collect(),
            generations,
            ..Write::default()
        })
        .await
    }

    /// Offers a staged generation, and calls the active one an earlier one. To whom each is offered from now on, the
    /// plan says.
    pub(super) async fn promote(&mut self, id: GenerationId) -> Result<(), EngineError> {
        let Some(generation) = self.view.generations.get(&id).cloned() else {
            return Ok(());
        };
        tracing::info!(key = id.0, generation = id.1, "promoted");
        let mut generations = vec![generation];
        self.succeed(&id, &mut generations, self.clock.now().wall_ms());
        self.observed.loaded.insert(id.0, id.1);
        self.note(Write {
            generations,
            ..Write::default()
        })
        .await
    }

    /// Has the agent forget a generation.
    pub(super) fn unload(&mut self, id: &GenerationId) {
        tracing::info!(key = id.0, generation = id.1, "unloaded");
        self.key_ring.unload(&id.0, id.1);
        self.observed.in_agent.remove(id);
        self.offered.remove(id);
        let pairs = self.view.of_key(&id.0).filter(|row| row.holds(id.1));
        let pairs: Vec<GenerationId> = pairs.map(Generation::id).collect();
        self.observed
            .instances
            .retain(|pair, _| pair != id && !pairs.contains(pair));
        self.observed
            .refused_logins
            .retain(|(key, n, _)| (key, n) != (&id.0, &id.1));
        if self.observed.loaded.get(&id.0) == Some(&id.1) {
            self.observed.loaded.remove(&id.0);
        }
    }

    /// Tells the agent in what the plan's offers differ from what it was told. What opens a door comes before what closes
    /// one, so that no client finds neither.
    pub(super) fn offer(&mut self, offers: impl IntoIterator<Item = (GenerationId, Offer)>) {
        let differs = |(id, offer): &(GenerationId, Offer)| {
            self.offered.get(id).is_some_and(|offered| offered != offer)
        };
        let mut changed: Vec<_> = offers.into_iter().filter(differs).collect();
        changed.sort_by_key(|(_, offer)| match offer {
            Offer::Everywhere => 0,
            Offer::To(_) => 1,
            Offer::Nowhere => 2,
        });
        for (id, offer) in changed {
            self.key_ring.offer(&id.0, id.1, offer.clone());
            self.offered.insert(id, offer);
        }
    }

    /// Makes a generation the active one among rows that are about to be written, and every other of its key an earlier one.
    fn succeed(&self, id: &GenerationId, generations: &mut Vec<Generation>, now: i64) {
        for row in self.view.originals(&id.0) {
            if row.n != id.1
                && row.stage != Stage::Earlier
                && !generations.iter().any(|known| known.id() == row.id())
            {
                generations.push(row.clone());
            }
        }
        for row in generations {
            if row.id() == *id {
                row.stage = Stage::Active;
                row.promoted_at = Some(now);
                row.superseded_at = None;
            } else if row.stage != Stage::Earlier && row.copy_of.is_none() {
                row.stage = Stage::Earlier;
                row.superseded_at = Some(now);
            }
        }
    }

    /// Writes down what is so already, in the agent or on a host. When the disk refuses, it is so in this process all the
    /// same: after it nothing of it is left.
    pub(super) async fn note(&mut self, write: Write) -> Result<(), EngineError> {
        if self.record(write.clone()).await?.is_err() {
            self.view.apply(write);
        }
        Ok(())
    }
}
