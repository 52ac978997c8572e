//! What is to be done for one key: its generations, one after the other, and the next one.

use std::sync::Arc;

use super::places::{Class, Planner};
use super::rotation::Rotation;
use super::{Action, GenerationId, MAX_UNWANTED, Subject, Waiting};
use crate::desired::{GeneratedBy, KeySpec};
use crate::ledger::{Generation, GenerationState, KeyRow, ORPHANS};

impl<'a> Planner<'a> {
    pub(super) fn key(&mut self, key: &'a str) {
        let rotation = Rotation::new(self, key);
        if rotation.row.is_some_and(KeyRow::is_behind) {
            self.leave_alone(&rotation);
            return;
        }
        let spec = self.desired.keys.get(key);
        let account = spec.and_then(|spec| self.desired.accounts.get(&spec.account));
        let held = self.ledger.is_held(key);
        let loaded = self.observed.loaded.get(key).copied();
        let making = Subject::Making(key.to_owned());
        let is_full = self.observed.retries.get(&making);
        let needs_room =
            is_full.is_some_and(|retry| retry.needs_room) && !held && loaded.is_none() && !rotation.retiring;

        let present = spec.filter(|spec| spec.present);
        let could_make = present.is_some() && account.is_some() && !held && !rotation.retiring;
        // Of a key that ends nothing serves any more, once it is off its hosts.
        let serving = match rotation.retiring {
            true => Some(0),
            false => loaded,
        };
        let mut under_way = false;
        let mut unwanted = 0;
        for generation in self.ledger.of_key(key) {
            let is_whole = matches!(
                generation.state,
                GenerationState::Live | GenerationState::Missing | GenerationState::Unwanted
            );
            let in_hand = self.observed.halves.contains(&generation.id());
            // A look at the account waits for the answer, whatever becomes of the pair.
            let is_suspect = self.confirm(generation);
            // Its line may stand on hosts: without its private half it lets nobody in there.
            let makes_room = needs_room && !self.holds_half(generation);
            let may_be_kept = is_whole && (!in_hand || rotation.retiring) && !makes_room;
            if may_be_kept && self.is_pair_needed(&rotation, generation) {
                continue;
            }
            if generation.copy_of.is_some() {
                self.copy(generation, serving, makes_room, is_suspect);
                continue;
            }
            let id = generation.id();
            let busy = self.observed.jobs.contains_key(&id);
            match generation.state {
                GenerationState::Requested => {
                    under_way = true;
                    if busy {
                    } else if could_make && self.account_of(generation).is_none() {
                        self.doubt(generation);
                    } else if in_hand && self.observed.absent.contains(&id) {
                        if self.is_open(&making, spec, account) {
                            self.request(generation, Class::Make, Action::ImportAgain { id });
                        }
                    } else {
                        self.request_when_open(generation, Class::Make, Action::Look { id });
                    }
                }
                GenerationState::Live if in_hand && !rotation.retiring => {
                    under_way = true;
                    if !held && self.is_open(&making, spec, account) {
                        self.plan.actions.push(Action::Load { id });
                    }
                }
                GenerationState::Live
                | GenerationState::Missing
                | GenerationState::Replaced
                | GenerationState::Unwanted
                    if serving == Some(generation.n) =>
                {
                    // Nobody but its command is to use one for a command.
                    if !self.ledger.is_for_command(key) {
                        self.publish(id);
                    }
                }
                GenerationState::Live | GenerationState::Missing => {
                    let superseded = serving.is_some() || makes_room;
                    if superseded && !busy && !is_suspect {
                        self.request_when_open(generation, Class::TidyUp, Action::Delete { id });
                    }
                }
                GenerationState::Unwanted => {
                    unwanted += usize::from(generation.loaded_at.is_none());
                    if !busy {
                        self.request_when_open(generation, Class::TidyUp, Action::Delete { id });
                    }
                }
                GenerationState::Doubtful => self.look_when_due(generation),
                GenerationState::Blocked
                | GenerationState::Replaced
                | GenerationState::Deleted
                | GenerationState::Gone
                | GenerationState::Foreign
                | GenerationState::Absent => {}
            }
        }

        let is_first = loaded.is_none() && !rotation.retiring;
        let is_wanted = match is_first {
            true => !held && !under_way,
            false => self.is_next_wanted(&rotation, under_way),
        };
        let wanted = present.filter(|_| is_wanted);
        if present.is_none() && !held && is_first && !under_way && key != ORPHANS {
            self.plan.waiting.insert(key.to_owned(), Waiting::FileMissing);
        }
        if let (Some(spec), Some(n), false) = (present, loaded, held || rotation.retiring) {
            self.copies(spec, n);
        }
        match wanted {
            Some(spec) => self.make(spec, unwanted),
            None if self.observed.ready.contains_key(key) => {
                self.plan.actions.push(Action::Forget { key: key.to_owned() });
            }
            None => {}
        }
        self.rotate(&rotation);
    }

    /// A key of which this ledger does not know all: what there is signs on, and nothing is made or deleted.
    fn leave_alone(&mut self, rotation: &Rotation<'a>) {
        let key = rotation.key;
        for generation in self.ledger.of_key(key) {
            // A look at the account waits for the answer.
            self.confirm(generation);
            let id = generation.id();
            let in_hand = self.observed.halves.contains(&id);
            if in_hand && generation.state == GenerationState::Live && !rotation.held {
                let account = rotation
                    .spec
                    .and_then(|spec| self.desired.accounts.get(&spec.account));
                if self.is_open(&Subject::Making(key.to_owned()), rotation.spec, account) {
                    self.plan.actions.push(Action::Load { id });
                }
            } else if rotation.active == Some(generation.n) && !self.ledger.is_for_command(key) {
                self.publish(id);
            }
        }
        self.rotate(rotation);
    }

    /// The next step towards a new generation.
    fn make(&mut self, spec: &Arc<KeySpec>, unwanted: usize) {
        let key = spec.name.clone();
        let ready = self.observed.ready.get(&key).copied();
        let fits = spec.generated_by == GeneratedBy::Keyferry && ready == Some(spec.algorithm);
        if ready.is_some() && !fits {
            self.plan.actions.push(Action::Forget { key });
            return;
        }
        let Some(account) = self.desired.accounts.get(&spec.account) else {
            self.plan.waiting.insert(
                key,
                Waiting::NoAccount {
                    account: spec.account.clone(),
                },
            );
            return;
        };
        if unwanted >= MAX_UNWANTED {
            self.plan.waiting.insert(key, Waiting::UnwantedPairs);
            return;
        }
        let region = spec.regions(account).next().flatten().map(str::to_owned);
        if let Some(overfull) = self.unfitting.get(&(key.clone(), region)) {
            self.plan.waiting.insert(key, Waiting::Overfull(overfull.clone()));
            return;
        }
        if !self.is_open(&Subject::Making(key.clone()), Some(spec), Some(account)) {
            return;
        }
        let action = match spec.generated_by {
            GeneratedBy::Provider => Action::Create { key },
            GeneratedBy::Keyferry if ready.is_some() => Action::Import { key },
            GeneratedBy::Keyferry if self.observed.generating.contains(&key) => return,
            GeneratedBy::Keyferry => Action::Generate { key },
        };
        self.propose(account, Class::Make, action);
    }

    /// Whether the private half of a pair is in the agent, or about to be.
    fn holds_half(&self, row: &Generation) -> bool {
        let n = row.copy_of.unwrap_or(row.n);
        self.is_in_agent(&row.key, n) || self.observed.halves.contains(&(row.key.clone(), n))
    }

    fn publish(&mut self, id: GenerationId) {
        let (key, n) = &id;
        let is_done = self.observed.published.get(key) == Some(n) || self.observed.publishing.contains(key);
        let subject = Subject::Publishing(key.clone());
        // No file changes how the disk fares: only time and the user do.
        let known = self.observed.retries.get(&subject);
        let (spec, account) = known
            .map(|retry| (retry.spec.clone(), retry.account.clone()))
            .unwrap_or_default();
        if !is_done && self.is_open(&subject, spec.as_ref(), account.as_ref()) {
            self.plan.actions.push(Action::Publish { id });
        }
    }

    /// The next generation need not wait for the account of this one.
    fn doubt(&mut self, generation: &Generation) {
        let subject = Subject::Generation(generation.key.clone(), generation.n);
        let known = self.observed.retries.get(&subject);
        let spec = known.and_then(|retry| retry.spec.clone());
        let account = self.desired.accounts.get(&generation.account);
        // Closed while the disk refuses to note it. What failed at the account as it was is another thing.
        if self.is_open(&subject, spec.as_ref(), account) {
            self.plan.actions.push(Action::Doubt { id: generation.id() });
        }
    }
}
