//! Attaching pairs to instances. Only a person's command leads here: nothing plans it, and nothing repeats it.
//!
//! A pair that is attached counts as deployed: its generation may stand on that host from before the request on, with a line
//! that the vendor writes. So it is kept, offered and seen to log in as any other, however the request ends: one whose
//! answer was lost may have been done, and one that is asked for again is done once.

use keyferry_plugin::contract::OperationKind;
use tokio::sync::oneshot;

use super::acting::reference;
use super::failure::{Failure, Outcome, Pace};
use super::hosting::OnHost;
use super::outcome::nonsense;
use super::{Engine, Job, JobError, JobReply, Refusal, Task};
use crate::error::EngineError;
use crate::ledger::{
    Effect, EffectKind, EffectOutcome, Generation, GenerationState, Placement, PlacementState, Write,
};
use crate::plan::{GenerationId, max_concurrent, max_per_second};
use crate::snapshot::{Attachable, Attached, StatusError};

/// A person waits for pairs to be attached.
pub(super) struct AttachWait {
    /// Not begun yet.
    open: Vec<Attachable>,
    under_way: Vec<Attachable>,
    done: Vec<Attached>,
    reply: oneshot::Sender<Result<Vec<Attached>, Refusal>>,
}

impl AttachWait {
    pub(super) fn new(
        agreed: Vec<Attachable>,
        reply: oneshot::Sender<Result<Vec<Attached>, Refusal>>,
    ) -> Self {
        Self {
            open: agreed,
            under_way: Vec::new(),
            done: Vec::new(),
            reply,
        }
    }
}

/// One request: a pair, and the instances that it is attached to.
#[derive(Clone, Debug)]
pub(super) struct Attaching {
    pub(super) id: GenerationId,
    pub(super) account: String,
    bound: Vec<Bound>,
}

#[derive(Clone, Debug)]
struct Bound {
    what: Attachable,
    effect: Effect,
    /// Whether nothing of the generation was known to stand on the host before.
    is_first: bool,
}

impl Engine {
    /// Begins what persons have agreed to, as soon as pair and account have nothing else to do. One request for each pair.
    pub(super) async fn begin_attaching(&mut self) -> Result<(), EngineError> {
        let mut waits = std::mem::take(&mut self.attach_waits);
        for wait in &mut waits {
            if wait.reply.is_closed() {
                // Nobody waits any more, and nobody would hear of it.
                wait.open.clear();
            }
            let mut left = Vec::new();
            while let Some(first) = wait.open.first().cloned() {
                let is_of_pair = |other: &Attachable| (&other.key, &other.pair) == (&first.key, &first.pair);
                let (group, others) = std::mem::take(&mut wait.open).into_iter().partition(is_of_pair);
                wait.open = others;
                match self.pair_of(&first) {
                    None => wait.done.extend(failed(group, &changed(&first.key))),
                    Some(pair) if !self.has_room_for(&pair) => left.extend(group),
                    Some(pair) => match self.attach_to(&pair, group.clone()).await? {
                        Ok(()) => wait.under_way.extend(group),
                        Err(error) => wait.done.extend(failed(group, &error)),
                    },
                }
            }
            wait.open = left;
        }
        self.attach_waits = waits;
        Ok(())
    }

    /// Tells those who wait what came of it, when there is nothing more to wait for.
    pub(super) fn answer_about_attaching(&mut self) {
        for mut wait in std::mem::take(&mut self.attach_waits) {
            if !wait.open.is_empty() || !wait.under_way.is_empty() {
                self.attach_waits.push(wait);
                continue;
            }
            wait.done.sort_by(|one, other| one.host.cmp(&other.host));
            // Whoever asked may have gone.
            let _ = wait.reply.send(Ok(wait.done));
        }
    }

    /// The row of a pair, if it still is what a person has agreed to.
    fn pair_of(&self, agreed: &Attachable) -> Option<Generation> {
        let is_offered = self.observed.loaded.get(&agreed.key) == Some(&agreed.generation);
        let mut rows = self.view.of_key(&agreed.key).filter(|_| is_offered);
        let row = rows.find(|row| {
            row.pair_name == agreed.pair
                && row.region == agreed.region
                && row.holds(agreed.generation)
                && row.state == GenerationState::Live
        })?;
        let account = self.desired.accounts.get(&row.account)?;
        row.is_of(account).then(|| row.clone())
    }

    /// Whether a request about a pair may be begun now. If only time is missing, the engine wakes then.
    fn has_room_for(&mut self, pair: &Generation) -> bool {
        let Some(account) = self.desired.accounts.get(&pair.account) else {
            return false;
        };
        let in_flight = self.observed.jobs.values().chain(&self.observed.surveying);
        let taken = in_flight.filter(|busy| **busy == account.name).count();
        if self.observed.jobs.contains_key(&pair.id()) || taken >= max_concurrent(&self.desired, account) {
            return false;
        }
        let per_second = max_per_second(&self.desired, account);
        let rate = self
            .observed
            .rates
            .get(&account.name)
            .copied()
            .unwrap_or_default();
        let next = rate.next(per_second);
        let is_due = next <= self.clock.now().uptime;
        if !is_due {
            self.wake_at = Some(self.wake_at.map_or(next, |earlier| earlier.min(next)));
        }
        is_due
    }

    /// The inner error says why nothing was begun.
    async fn attach_to(
        &mut self,
        pair: &Generation,
        group: Vec<Attachable>,
    ) -> Result<Result<(), StatusError>, EngineError> {
        let now = self.clock.now().wall_ms();
        let mut bound = Vec::new();
        let (mut placements, mut put_meanwhile) = (Vec::new(), Vec::new());
        for (count, what) in (0..).zip(group) {
            let intent = self.intent(EffectKind::Attach, pair);
            let effect = Effect {
                id: intent.id + count,
                host: Some(what.host.clone()),
                instance: Some(what.instance.clone()),
                ..intent
            };
            let placement = Placement {
                key: what.key.clone(),
                n: what.generation,
                host: what.host.clone(),
                state: PlacementState::Placing,
                verified_at: None,
                // The vendor writes it.
                line: None,
                file: None,
                file_hash: None,
                changed_at: now,
            };
            let is_known = self.view.placements.contains_key(&placement.id());
            let being_put = self.before_putting(&what).map(|before| before.is_none());
            let is_first = being_put.unwrap_or(!is_known);
            match being_put {
                // Its row is there already, and goes where that fails.
                Some(true) => put_meanwhile.push((what.clone(), placement)),
                Some(false) => {}
                None => placements.extend(Some(placement).filter(|_| is_first)),
            }
            bound.push(Bound {
                what,
                effect,
                is_first,
            });
        }
        let write = Write {
            hosts: bound
                .iter()
                .map(|bound| self.host_row(&bound.what.host))
                .collect(),
            placements,
            effects: bound.iter().map(|bound| bound.effect.clone()).collect(),
            ..Write::default()
        };
        if let Err(message) = self.record(write).await? {
            let remedy = format!("{}; nothing was attached", self.ledger_remedy());
            let failure = Failure::local("ledger", message, &remedy, Pace::Never);
            return Ok(Err(failure.status()));
        }
        for (what, placement) in put_meanwhile {
            if let Some(before) = self.before_putting(&what) {
                *before = Some(placement);
            }
        }
        let Some(idempotency_token) = bound.first().map(|bound| self.token_of(&bound.effect)) else {
            return Ok(Ok(()));
        };
        // What the provider said of it before says nothing any more.
        self.observed.instances.remove(&pair.id());
        let instances = bound.iter().map(|bound| bound.what.instance.clone());
        let job = Job::Attach {
            pair: reference(pair),
            instances: instances.collect(),
            idempotency_token,
        };
        let attaching = Attaching {
            id: pair.id(),
            account: pair.account.clone(),
            bound,
        };
        self.ask_provider(pair, job, Task::Attach(attaching));
        Ok(Ok(()))
    }

    /// What came of a request, for each instance.
    pub(super) async fn attached(
        &mut self,
        attaching: Attaching,
        result: Result<JobReply, Failure>,
    ) -> Result<(), EngineError> {
        let Attaching { id, account, bound } = attaching;
        if let (Err(failure), Some(settings)) = (&result, self.desired.accounts.get(&account).cloned())
            && failure.kind == "throttled"
        {
            self.slow_down(&settings, failure);
        }
        let now = self.clock.now().wall_ms();
        let (mut write, mut ended) = (Write::default(), Vec::new());
        for Bound {
            what,
            effect,
            is_first,
        } in bound
        {
            let failure = failure_at(&what, &result);
            let outcome = match failure.as_ref().map(|failure| failure.outcome) {
                None => EffectOutcome::Done,
                Some(Outcome::None) => EffectOutcome::Refused,
                Some(Outcome::Unknown) => EffectOutcome::Unknown,
            };
            if outcome == EffectOutcome::Refused && is_first {
                write.placements.extend(self.never_attached(&what, now));
            }
            write.effects.push(Effect {
                outcome_at: Some(now),
                outcome: Some(outcome),
                ..effect
            });
            tracing::info!(
                key = what.key,
                generation = what.generation,
                host = what.host,
                instance = what.instance,
                outcome = outcome.name(),
                "the pair was to be attached to the instance"
            );
            let is_known = outcome != EffectOutcome::Unknown;
            let error = failure.map(|failure| self.shown_of_attaching(&what, &failure));
            ended.push(Attached {
                is_known,
                ..told(&what, error)
            });
        }
        // Its instances are others now, and so may be those of the pairs that it replaced.
        self.observed.instances.retain(|other, _| other.0 != id.0);
        if let Err(message) = self.record(write).await? {
            // Without an outcome it is as if its answer were lost, which is true of the next start.
            tracing::warn!(message, "what came of attaching could not be noted");
        }
        for one in ended {
            self.attaching_ended(one);
        }
        Ok(())
    }

    /// The row that goes where nothing was attached; none: somebody put the line there meanwhile, or is about to.
    fn never_attached(&mut self, what: &Attachable, now: i64) -> Option<Placement> {
        let is_untouched = |row: &Placement| row.state == PlacementState::Placing && row.line.is_none();
        if let Some(before) = self.before_putting(what) {
            before.take_if(|row| is_untouched(row));
            return None;
        }
        let place = (what.key.clone(), what.generation, what.host.clone());
        let row = self.view.placements.get(&place).filter(|row| is_untouched(row))?;
        Some(Placement {
            state: PlacementState::Removed,
            changed_at: now,
            ..row.clone()
        })
    }

    /// What a line that is being put on the host at this moment was before; none: none is.
    fn before_putting(&mut self, what: &Attachable) -> Option<&mut Option<Placement>> {
        let id = (what.key.clone(), what.generation);
        self.running.values_mut().find_map(|task| match task {
            Task::OnHost { host, on_host, .. } if *host == what.host => match &mut **on_host {
                OnHost::Put(putting) => putting.before_of(&id),
                _ => None,
            },
            _ => None,
        })
    }

    fn attaching_ended(&mut self, ended: Attached) {
        let is_of = |what: &Attachable| (&what.pair, &what.instance) == (&ended.pair, &ended.instance);
        for wait in &mut self.attach_waits {
            if let Some(at) = wait.under_way.iter().position(is_of) {
                wait.under_way.remove(at);
                wait.done.push(ended);
                return;
            }
        }
    }

    /// What its plugin says that an account has to be allowed for that, in parentheses; empty: it does not say.
    fn permissions_to_attach(&mut self, account: &str) -> String {
        let account = self.desired.accounts.get(account);
        let plugin = account.map(|account| account.plugin.clone()).unwrap_or_default();
        let manifest = self.manifest(&plugin);
        let rules = manifest
            .as_ref()
            .ok()
            .and_then(|manifest| manifest.operations.get(&OperationKind::Attach));
        match rules.map(|rules| rules.permissions.join(", ")) {
            Some(needed) if !needed.is_empty() => {
                format!(" ({needed}, which `keyferry account policy` leaves out)")
            }
            _ => String::new(),
        }
    }

    /// A failure with what a person does about it: nothing is tried again by itself.
    fn shown_of_attaching(&mut self, what: &Attachable, failure: &Failure) -> StatusError {
        let (account, instance) = (&what.account, &what.instance);
        let remedy = match (failure.kind, failure.outcome) {
            ("unauthorized", _) => format!(
                "allow account {account} that at the vendor{}, or attach the pair in the provider's console: keyferry sees the \
                 key log in",
                self.permissions_to_attach(account)
            ),
            ("credentials" | "plugin" | "settings" | "process", Outcome::None) => {
                format!("{}; then run the command again", failure.remedy)
            }
            (_, Outcome::Unknown) => format!(
                "look at {instance} in the provider's console, or run the command again: what was done is not done twice"
            ),
            ("not_found", _) => format!(
                "see that {instance} is in the region of the pair, and of account {account}; then run the command again"
            ),
            _ => format!("look at {instance} in the provider's console; then run the command again"),
        };
        StatusError {
            remedy: Some(remedy),
            ..failure.status()
        }
    }
}

/// How it failed at an instance; none: it did not.
fn failure_at(what: &Attachable, result: &Result<JobReply, Failure>) -> Option<Failure> {
    match result {
        Ok(JobReply::Attached(results)) => match results.iter().find(|one| one.instance == what.instance) {
            Some(one) => {
                let error = one.error.clone()?;
                Some(Failure::of_job(JobError::Provider(error), &what.account))
            }
            None => Some(nonsense(format!(
                "nothing was said of instance {}",
                what.instance
            ))),
        },
        Ok(_) => Some(nonsense("the plugin answered another question".to_owned())),
        // A provider in disorder may have acted before it failed, whatever the plugin makes of it.
        Err(failure) if failure.kind == "internal" => Some(Failure {
            outcome: Outcome::Unknown,
            ..failure.clone()
        }),
        Err(failure) => Some(failure.clone()),
    }
}

fn failed(group: Vec<Attachable>, error: &StatusError) -> impl Iterator<Item = Attached> {
    group.into_iter().map(|what| told(&what, Some(error.clone())))
}

fn told(what: &Attachable, error: Option<StatusError>) -> Attached {
    Attached {
        host: what.host.clone(),
        instance: what.instance.clone(),
        key: what.key.clone(),
        generation: what.generation,
        pair: what.pair.clone(),
        is_known: true,
        error,
    }
}

/// It changed while it waited for its turn.
fn changed(key: &str) -> StatusError {
    let message = format!("key {key} has changed since that was shown, and nothing was attached");
    let remedy = "run the command again, and look at what it shows";
    Failure::local("changed", message, remedy, Pace::Never).status()
}
