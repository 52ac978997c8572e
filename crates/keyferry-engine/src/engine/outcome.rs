//! What comes of what was begun. The rules for unknown outcomes stand here.

use std::time::SystemTime;

use keyferry_plugin::contract::Pair;
use keyferry_plugin::manifest::FingerprintForm;

mod deletion;
mod making;

pub(super) use deletion::disagreement;

use super::acting::making;
use super::failure::{Failure, Outcome, Pace};
use super::{Engine, Finished, JobError, JobReply, Step, Task};
use crate::error::EngineError;
use crate::fingerprint::{self, Comparison};
use crate::ledger::{Effect, EffectKind, EffectOutcome, Generation, GenerationState, Write};
use crate::plan::{GenerationId, Subject};
use crate::private_key::{PrivateKey, PublicKey};

/// When a generation that was not there is looked for again, in milliseconds after it was asked for (a request can be
/// under way for long) or, if it had been there, after it was missed.
const LOOKS: [i64; 3] = [10_000, 60_000, 900_000];

/// So often an import finds its name taken and the pair not there, before the next name is taken. A provider that
/// shows a pair some time after it was made does so meanwhile; one whose policy hides it never does.
const MAX_HIDDEN: u32 = 5;

impl Engine {
    pub(super) async fn finish(&mut self, task: Task, finished: Finished) -> Result<(), EngineError> {
        match (task, finished) {
            (Task::Attach(attaching), finished) => {
                self.observed.jobs.remove(&attaching.id);
                self.asked_since.remove(&attaching.id);
                let result = self.reply(&attaching.account, finished);
                let result = result.map_err(|error| Failure::of_job(error, &attaching.account));
                self.attached(attaching, result).await
            }
            (Task::Generate { key }, finished) => {
                self.observed.generating.remove(&key);
                if let Finished::Generated(generated) = finished {
                    self.generated(key, generated);
                }
                Ok(())
            }
            (Task::Publish { id }, finished) => {
                self.observed.publishing.remove(&id.0);
                self.published(id, finished);
                Ok(())
            }
            (Task::Deploy { id, hosts }, finished) => self.deployed(id, hosts, finished).await,
            (Task::ListHosts { key }, finished) => {
                self.hosts_listed(key, finished);
                Ok(())
            }
            (Task::ListKeyFiles, finished) => {
                self.key_files_listed(finished);
                Ok(())
            }
            (
                Task::OnHost {
                    host,
                    on_host,
                    lock_changes,
                },
                finished,
            ) => self.done_on_host(host, *on_host, lock_changes, finished).await,
            (
                Task::List {
                    account,
                    region,
                    expected,
                },
                finished,
            ) => {
                let result = self.reply(&account, finished);
                let result = result.map_err(|error| Failure::of_job(error, &account));
                self.listed(&account, region, expected, result).await
            }
            (Task::Request { id, account, step }, finished) => {
                self.observed.jobs.remove(&id);
                self.asked_since.remove(&id);
                let result = self.reply(&account, finished);
                let result = result.map_err(|error| Failure::of_job(error, &account));
                self.answered(id, step, result).await
            }
        }
    }

    /// What came of a request, and what that says about its account.
    fn reply(&mut self, account: &str, finished: Finished) -> Result<JobReply, JobError> {
        let result = match finished {
            Finished::Answered(result) => result,
            _ => Err(JobError::Lost {
                message: "the request was given up inside keyferry".to_owned(),
            }),
        };
        if result.is_ok() {
            self.account_errors.remove(account);
            if let Some(rate) = self.observed.rates.get_mut(account) {
                rate.refusals = 0;
            }
        }
        result
    }

    async fn answered(
        &mut self,
        id: GenerationId,
        step: Step,
        result: Result<JobReply, Failure>,
    ) -> Result<(), EngineError> {
        let Some(generation) = self.view.generations.get(&id).cloned() else {
            return Ok(());
        };
        // An answer about another pair, or to another question, is no answer.
        let is_of_another = |pair: &Pair| pair.name != generation.pair_name;
        let result = match result {
            Ok(reply) if reply.pair().is_some_and(is_of_another) => Err(nonsense(format!(
                "the plugin answered about another pair than {}",
                generation.pair_name
            ))),
            result => result,
        };
        match (step, result) {
            (Step::Effect(effect, EffectKind::Create), Ok(JobReply::Created { pair, private_key })) => {
                self.created(generation, effect, &pair, private_key).await
            }
            (Step::Effect(effect, EffectKind::Import), Ok(JobReply::Imported(pair))) => {
                self.imported(generation, effect, &pair).await
            }
            (Step::Effect(effect, EffectKind::Delete), Ok(JobReply::Deleted)) => {
                self.deleted(generation, Some(effect)).await
            }
            (Step::Instances, result) => {
                self.instances_listed(&generation, result);
                Ok(())
            }
            (Step::Confirm, result) => self.confirmed(generation, result).await,
            (Step::Look, Ok(JobReply::Got(pair))) => self.found(generation, &pair).await,
            (Step::Compare, Ok(JobReply::Got(pair))) => self.compared(generation, &pair).await,
            (Step::Effect(effect, EffectKind::Delete), Err(failure)) => {
                self.delete_failed(generation, effect, failure).await
            }
            (Step::Effect(effect, _), Err(failure)) => self.request_failed(generation, effect, failure).await,
            (Step::Look, Err(failure)) if failure.kind == "not_found" => self.not_found(generation).await,
            (Step::Compare, Err(failure)) if failure.kind == "not_found" => {
                if generation.delete_asked_at.is_some() {
                    self.deleted(generation, None).await
                } else {
                    self.missing(generation).await
                }
            }
            (Step::Look | Step::Compare, Err(failure)) => {
                self.fail(Subject::Generation(id.0, id.1), &failure);
                Ok(())
            }
            (step, Ok(_)) => {
                let failure = nonsense("the plugin answered another question".to_owned());
                match step {
                    Step::Effect(effect, EffectKind::Delete) => {
                        self.delete_failed(generation, effect, failure).await
                    }
                    Step::Effect(effect, _) => self.request_failed(generation, effect, failure).await,
                    Step::Look | Step::Compare | Step::Confirm | Step::Instances => {
                        self.fail(Subject::Generation(id.0, id.1), &failure);
                        Ok(())
                    }
                }
            }
        }
    }

    /// A pair was looked for and is there.
    async fn found(&mut self, mut generation: Generation, pair: &Pair) -> Result<(), EngineError> {
        let id = generation.id();
        self.observed.looks.remove(&id);
        self.hidden.remove(&id);
        if generation.missing_since.take().is_some() {
            if self.is_serving(&generation) && generation.copy_of.is_none() {
                generation.state = GenerationState::Live;
                generation.note = None;
                self.observed.suspects.insert(id);
                return self.settle(generation, None).await;
            }
            // Whether it is still the one that was there shows when it is compared.
            generation.state = GenerationState::Unwanted;
            generation.note = Some("it had not been seen for a while".to_owned());
            return self.settle(generation, None).await;
        }
        if self.taken.contains(&id) || is_older(pair, &generation) {
            generation.state = GenerationState::Foreign;
            generation.note = Some("the name was another key's when it was asked for".to_owned());
            return self.settle(generation, None).await;
        }
        let forms = self.forms(&generation.plugin);
        let half = self.halves.get(&id);
        let recorded = generation.blob.as_deref().and_then(PublicKey::from_blob);
        let ours = half.map(PrivateKey::public_key).or(recorded.as_ref());
        let comparison = ours.map_or(Comparison::Unknown, |ours| {
            fingerprint::compare(pair, &forms, ours, half)
        });
        if comparison == Comparison::Mismatch {
            generation.state = GenerationState::Foreign;
            generation.note = Some("the name is another key's".to_owned());
            let half = self.drop_half(&id);
            if generation.made_by == crate::desired::GeneratedBy::Keyferry {
                self.keep_ready(&id.0, half);
            }
            return self.settle(generation, None).await;
        }
        generation.provider_id = pair.id.clone().or(generation.provider_id);
        generation.provider_fingerprint = pair.fingerprint.clone().or(generation.provider_fingerprint);
        match half {
            Some(half) => {
                generation.blob = Some(half.public_key().blob().to_vec());
                generation.state = GenerationState::Live;
                self.observed.retries.remove(&Subject::Making(id.0));
            }
            // Whether anybody needs it still is for the plan to say.
            None if generation.copy_of.is_some() => {
                generation.state = GenerationState::Live;
                self.observed.retries.remove(&making(&generation));
            }
            None => {
                generation.state = GenerationState::Unwanted;
                generation.note = Some("its private half was lost".to_owned());
            }
        }
        self.settle(generation, None).await
    }

    /// Nobody can say whether a pair is there: its account is gone. It is looked for when the account is back.
    pub(super) async fn doubt(&mut self, id: &GenerationId) -> Result<(), EngineError> {
        let Some(mut generation) = self.view.generations.get(id).cloned() else {
            return Ok(());
        };
        generation.state = GenerationState::Doubtful;
        generation.note = Some("its answer was lost, and its account is gone".to_owned());
        self.settle(generation, None).await?;
        // Whatever comes of it, nobody is going to use it: the next generation takes its place.
        self.drop_half(id);
        self.observed.absent.remove(id);
        self.hidden.remove(id);
        Ok(())
    }

    /// A pair was looked for and is not there.
    async fn not_found(&mut self, mut generation: Generation) -> Result<(), EngineError> {
        let id = generation.id();
        let is_import = generation.made_by == crate::desired::GeneratedBy::Keyferry;
        let can_repeat = match generation.copy_of {
            Some(original) => self.observed.loaded.get(&id.0) == Some(&original),
            None => is_import && self.halves.contains_key(&id),
        };
        if generation.state == GenerationState::Requested && can_repeat {
            let hidden = self.hidden.get(&id).copied().unwrap_or(0);
            if hidden < MAX_HIDDEN {
                if hidden > 0 {
                    self.fail(making(&generation), &hides(&generation));
                }
                self.observed
                    .retries
                    .remove(&Subject::Generation(id.0.clone(), id.1));
                self.observed.absent.insert(id);
                return Ok(());
            }
            self.hidden.remove(&id);
        }
        self.drop_half(&id);
        if self.look_later(&generation) {
            self.observed.retries.remove(&Subject::Generation(id.0, id.1));
            if generation.state == GenerationState::Doubtful {
                return Ok(());
            }
            generation.state = GenerationState::Doubtful;
            generation.note = Some("its answer was lost, and it was not there".to_owned());
        } else if generation.missing_since.is_some() {
            tracing::warn!(
                key = generation.key,
                generation = generation.n,
                pair = generation.pair_name,
                "the pair is not there any more, and it was not keyferry that deleted it: if its account has other credentials \
                 now, it may be left in the other account"
            );
            generation.state = GenerationState::Gone;
        } else {
            generation.state = GenerationState::Absent;
        }
        self.settle(generation, None).await
    }

    /// A pair that was there and was to be deleted is not there, and no deletion of ours is to thank for it. A provider
    /// may show a pair some time after it was made, and other credentials show another account's pairs.
    async fn missing(&mut self, mut generation: Generation) -> Result<(), EngineError> {
        generation.missing_since = Some(self.clock.now().wall_ms());
        generation.state = GenerationState::Doubtful;
        generation.note = Some("it was made, and is not there".to_owned());
        self.look_later(&generation);
        self.settle(generation, None).await
    }

    /// Sets the time of the next look at a generation of which a request may still arrive; false: none can any more.
    fn look_later(&mut self, generation: &Generation) -> bool {
        let now = self.clock.now();
        let asked_at = generation.repeated_at.unwrap_or(generation.requested_at);
        let since = generation.missing_since.unwrap_or(asked_at);
        let age = now.wall_ms().saturating_sub(since).max(0);
        let Some(look) = LOOKS.into_iter().find(|&look| look > age) else {
            return false;
        };
        let wait = u64::try_from(look - age).unwrap_or_default();
        self.observed
            .looks
            .insert(generation.id(), now.uptime.saturating_add(wait));
        true
    }

    fn published(&mut self, id: GenerationId, finished: Finished) {
        let subject = Subject::Publishing(id.0.clone());
        let error = match finished {
            Finished::Published(Ok(())) => {
                self.observed.retries.remove(&subject);
                self.observed.published.insert(id.0, id.1);
                return;
            }
            Finished::Published(Err(error)) => error.to_string(),
            _ => "the writer was given up inside keyferry".to_owned(),
        };
        let path = crate::public_files::path(&self.state_directory, &id.0);
        let message = format!(
            "the public half could not be written to {}: {error}",
            path.display()
        );
        let remedy =
            "see that the state directory can be written: keyferry tries again; the key itself works";
        self.fail(
            subject,
            &Failure::local("public_file", message, remedy, Pace::Soon),
        );
    }

    /// Writes a generation's new state, and an effect's outcome. If the disk refuses, the old state stays and is worked on again
    /// later: nothing is believed that is not written.
    pub(super) async fn settle(
        &mut self,
        generation: Generation,
        effect: Option<(i64, EffectOutcome)>,
    ) -> Result<(), EngineError> {
        let subject = Subject::Generation(generation.key.clone(), generation.n);
        let now = self.clock.now().wall_ms();
        let id = generation.id();
        let is_final = generation.state.is_final();
        let state_changed = self
            .view
            .generations
            .get(&id)
            .is_none_or(|before| before.state != generation.state);
        let effects = effect.map(|(id, outcome)| Effect {
            id,
            // Only the outcome is taken from a row that is there already.
            kind: EffectKind::Create,
            key: generation.key.clone(),
            n: generation.n,
            intent_at: now,
            attempt: 0,
            outcome_at: Some(now),
            outcome: Some(outcome),
            host: None,
            instance: None,
        });
        let write = Write {
            generations: vec![generation],
            effects: effects.into_iter().collect(),
            ..Write::default()
        };
        match self.record(write).await? {
            Err(message) => self.fail_for_disk(subject, message),
            Ok(()) => {
                if state_changed {
                    self.observed.retries.remove(&subject);
                }
                if is_final {
                    self.taken.remove(&id);
                    self.observed.looks.remove(&id);
                    self.observed.absent.remove(&id);
                    self.drop_half(&id);
                }
            }
        }
        Ok(())
    }

    pub(super) fn forms(&mut self, plugin: &str) -> Vec<FingerprintForm> {
        self.manifest(plugin)
            .map(|manifest| manifest.fingerprints.clone())
            .unwrap_or_default()
    }
}

impl JobReply {
    fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Created { pair, .. } | Self::Got(pair) | Self::Imported(pair) => Some(pair),
            Self::Attached(_) | Self::Deleted | Self::Instances(_) | Self::Listed(_) => None,
        }
    }
}

/// The name is taken, and nobody shows by what.
fn hides(generation: &Generation) -> Failure {
    let name = &generation.pair_name;
    Failure::local(
        "already_exists",
        format!("the provider says that there is a pair {name}, and that there is none"),
        "nothing: keyferry asks again, and then takes the next name; if it stays, check that the account may list key pairs (keyferry plugin info)",
        Pace::Soon,
    )
}

/// Whether a pair was there before a generation of which nothing but its name is known was asked for: then it is somebody
/// else's. The clocks of two machines differ by less than ten minutes.
fn is_older(pair: &Pair, generation: &Generation) -> bool {
    let made_at = pair.created_at.as_deref().and_then(|text| {
        let time = humantime::parse_rfc3339_weak(text).ok()?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    });
    let is_unseen = generation.blob.is_none() && generation.provider_id.is_none();
    is_unseen && made_at.is_some_and(|at| at < generation.requested_at.saturating_sub(CLOCKS_DIFFER))
}

/// Milliseconds.
const CLOCKS_DIFFER: i64 = 600_000;

pub(super) fn nonsense(message: String) -> Failure {
    Failure {
        outcome: Outcome::Unknown,
        ..Failure::local(
            "plugin",
            message,
            "report this to the plugin's author; keyferry tries again",
            Pace::Soon,
        )
    }
}
