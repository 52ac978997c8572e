//! Beginning what was planned. Each step that reaches outside has its row on the disk first.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use keyferry_plugin::contract::{Algorithm, PairReference};

use super::failure::{Failure, Pace};
use super::{Engine, Finished, Job, Permit, Step, Task};
use crate::desired::GeneratedBy;
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, Generation, GenerationState, KeyRow, Write};
use crate::naming::{NameParts, pair_name};
use crate::plan::{Action, GenerationId, Subject, max_per_second};
use crate::private_key::{PrivateKey, PrivateKeyError, PublicKey};
use crate::public_files;

impl Engine {
    /// Begins an action. Whatever comes of it changes what is observed, so that it is not planned again.
    pub(super) async fn begin(&mut self, action: Action) -> Result<(), EngineError> {
        match action {
            Action::Confirm { id } => {
                self.look(&id, Step::Confirm);
                Ok(())
            }
            Action::Copy { key, region } => self.begin_copy(&key, region).await,
            Action::Create { key } => self.begin_generation(&key, None).await,
            Action::Delete { id } => {
                self.look(&id, Step::Compare);
                Ok(())
            }
            Action::Doubt { id } => self.doubt(&id).await,
            Action::Forget { key } => {
                self.ready.remove(&key);
                self.observed.ready.remove(&key);
                Ok(())
            }
            Action::Generate { key } => {
                self.begin_generating(key);
                Ok(())
            }
            Action::Import { key } => {
                self.observed.ready.remove(&key);
                match self.ready.remove(&key) {
                    Some(half) => self.begin_generation(&key, Some(half)).await,
                    None => Ok(()),
                }
            }
            Action::ImportAgain { id } => self.import_again(id).await,
            Action::Load { id } => self.load(id).await,
            Action::Look { id } => {
                self.look(&id, Step::Look);
                Ok(())
            }
            Action::Publish { id } => {
                self.publish(id);
                Ok(())
            }
            Action::Survey { account } => {
                self.begin_survey(&account);
                Ok(())
            }
            Action::ListHosts { .. }
            | Action::ListInstances { .. }
            | Action::Promote { .. }
            | Action::Put { .. }
            | Action::PutTrusted { .. }
            | Action::Replace { .. }
            | Action::Revoke { .. }
            | Action::TakeOffTrusted { .. }
            | Action::VerifyRecovery { .. }
            | Action::TakeOff { .. }
            | Action::Unload { .. }
            | Action::Verify { .. } => self.begin_on_hosts(action).await,
        }
    }

    /// The next generation: with a private half to import, or one to be created at the provider.
    async fn begin_generation(&mut self, key: &str, half: Option<PrivateKey>) -> Result<(), EngineError> {
        let Some(spec) = self.desired.keys.get(key).cloned() else {
            return Ok(());
        };
        let Some(account) = self.desired.accounts.get(&spec.account).cloned() else {
            return Ok(());
        };
        let making = Subject::Making(key.to_owned());
        let manifest = match self.manifest(&account.plugin) {
            Ok(manifest) => manifest,
            Err(problem) => {
                self.keep_ready(key, half);
                let message = format!("plugin {} {problem}", account.plugin);
                let remedy = format!(
                    "install or pin it, or correct plugin in accounts/{}.toml; then keyferry resume",
                    account.name
                );
                self.fail(making, &Failure::local("plugin", message, &remedy, Pace::Never));
                return Ok(());
            }
        };
        let row = self.view.key(key);
        let n = row.last_n + 1;
        let installation = self.view.installation.clone();
        let parts = NameParts {
            key,
            pair_name: spec.pair_name.as_deref(),
            installation: &installation,
            n,
        };
        let taken = |name: &str| {
            self.view
                .generations
                .values()
                .any(|other| other.pair_name == name)
        };
        let name = match pair_name(parts, &manifest.names, taken) {
            Ok(name) => name,
            Err(reason) => {
                self.keep_ready(key, half);
                let remedy = format!("correct name in keys/{key}.toml");
                let message = format!("no name for the pair fits plugin {}: {reason}", account.plugin);
                self.fail(making, &Failure::local("invalid", message, &remedy, Pace::Never));
                return Ok(());
            }
        };

        let now = self.clock.now().wall_ms();
        let generation = Generation {
            key: key.to_owned(),
            n,
            copy_of: None,
            made_by: spec.generated_by,
            algorithm: spec.algorithm,
            account: account.name.clone(),
            plugin: account.plugin.clone(),
            region: spec.region.clone().or_else(|| account.region.clone()),
            blob: half.as_ref().map(|half| half.public_key().blob().to_vec()),
            pair_name: name,
            provider_id: None,
            provider_fingerprint: None,
            state: GenerationState::Requested,
            requested_at: now,
            repeated_at: None,
            loaded_at: None,
            note: None,
            endpoint: account.endpoint.clone(),
            missing_since: None,
            delete_asked_at: None,
            stage: self.stage_of_next(key),
            promoted_at: None,
            superseded_at: None,
            place: Some(account.place.clone()),
        };
        let kind = match spec.generated_by {
            GeneratedBy::Keyferry => EffectKind::Import,
            GeneratedBy::Provider => EffectKind::Create,
        };
        let effect = self.intent(kind, &generation);
        let effect_id = effect.id;
        let write = Write {
            keys: vec![KeyRow { last_n: n, ..row }],
            generations: vec![generation.clone()],
            effects: vec![effect],
            ..Write::default()
        };
        if let Err(message) = self.record(write).await? {
            self.keep_ready(key, half);
            self.fail_for_disk(making, message);
            return Ok(());
        }
        let idempotency_token = self.token(&generation, kind);
        let job = match &half {
            None => Job::Create {
                name: generation.pair_name.clone(),
                algorithm: generation.algorithm,
                idempotency_token,
            },
            Some(half) => Job::Import {
                name: generation.pair_name.clone(),
                public_key: half.public_key().line(&generation.pair_name),
                idempotency_token,
            },
        };
        if let Some(half) = half {
            self.hold_half(generation.id(), half);
        }
        self.send(&generation, job, Step::Effect(effect_id, kind));
        Ok(())
    }

    async fn import_again(&mut self, id: GenerationId) -> Result<(), EngineError> {
        let Some(mut generation) = self.view.generations.get(&id).cloned() else {
            return Ok(());
        };
        let half = self.halves.get(&id).map(PrivateKey::public_key);
        let recorded = generation.blob.as_deref().and_then(PublicKey::from_blob);
        // Of a copy there never was a private half here.
        let Some(public) = half.or(recorded.as_ref().filter(|_| generation.copy_of.is_some())) else {
            return Ok(());
        };
        let public_key = public.line(&generation.pair_name);
        generation.repeated_at = Some(self.clock.now().wall_ms());
        let effect = self.intent(EffectKind::Import, &generation);
        let step = Step::Effect(effect.id, EffectKind::Import);
        if let Err(message) = self
            .record(Write {
                generations: vec![generation.clone()],
                effects: vec![effect],
                ..Write::default()
            })
            .await?
        {
            self.fail_for_disk(making(&generation), message);
            return Ok(());
        }
        self.observed.absent.remove(&id);
        let idempotency_token = self.token(&generation, EffectKind::Import);
        let name = generation.pair_name.clone();
        self.send(
            &generation,
            Job::Import {
                name,
                public_key,
                idempotency_token,
            },
            step,
        );
        Ok(())
    }

    /// Deletes a pair that was just compared with the ledger.
    pub(super) async fn begin_delete(&mut self, mut generation: Generation) -> Result<(), EngineError> {
        // The files may have changed since it was compared.
        let account = self.desired.accounts.get(&generation.account);
        if !account.is_some_and(|account| generation.is_of(account)) {
            return Ok(());
        }
        // And so may what the user wants, and what is known of the key.
        if self.is_wanted_again(&generation) || self.view.key(&generation.key).is_behind() {
            return Ok(());
        }
        generation.state = GenerationState::Unwanted;
        generation.delete_asked_at = Some(self.clock.now().wall_ms());
        let effect = self.intent(EffectKind::Delete, &generation);
        let idempotency_token = self.token_of(&effect);
        let step = Step::Effect(effect.id, EffectKind::Delete);
        let write = Write {
            generations: vec![generation.clone()],
            effects: vec![effect],
            ..Write::default()
        };
        if let Err(message) = self.record(write).await? {
            self.fail_for_disk(Subject::Generation(generation.key, generation.n), message);
            return Ok(());
        }
        let permit = Permit {
            id: generation.provider_id.clone(),
            fingerprint: generation.provider_fingerprint.clone(),
        };
        self.send(
            &generation,
            Job::Delete {
                pair: reference(&generation),
                permit,
                idempotency_token,
            },
            step,
        );
        Ok(())
    }

    fn look(&mut self, id: &GenerationId, step: Step) {
        if let Some(generation) = self.view.generations.get(id).cloned() {
            self.send(&generation, Job::Get(reference(&generation)), step);
        }
    }

    fn begin_generating(&mut self, key: String) {
        let Some(spec) = self.desired.keys.get(&key) else {
            return;
        };
        let algorithm = spec.algorithm;
        match algorithm {
            // A few dozen microseconds.
            Algorithm::Ed25519 | Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::EcdsaP521 => {
                let generated = PrivateKey::generate(algorithm);
                self.generated(key, generated);
            }
            Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => {
                let order = self.pool.generate(algorithm);
                let task = self.tasks.spawn(async move { Finished::Generated(order.await) });
                self.observed.generating.insert(key.clone());
                self.running.insert(task.id(), Task::Generate { key });
            }
        }
    }

    pub(super) fn generated(&mut self, key: String, generated: Result<PrivateKey, PrivateKeyError>) {
        match generated {
            Ok(half) => self.keep_ready(&key, Some(half)),
            Err(error) => {
                let remedy = "nothing: keyferry tries again";
                let failure = Failure::local("internal", error.to_string(), remedy, Pace::Soon);
                self.fail(Subject::Making(key), &failure);
            }
        }
    }

    /// Keeps a private half for the next try. One of an algorithm without a name is of no use.
    pub(super) fn keep_ready(&mut self, key: &str, half: Option<PrivateKey>) {
        if let Some(half) = half
            && let Some(algorithm) = half.public_key().algorithm()
        {
            self.observed.ready.insert(key.to_owned(), algorithm);
            self.ready.insert(key.to_owned(), half);
        }
    }

    pub(super) fn hold_half(&mut self, id: GenerationId, half: PrivateKey) {
        self.observed.halves.insert(id.clone());
        self.halves.insert(id, half);
    }

    pub(super) fn drop_half(&mut self, id: &GenerationId) -> Option<PrivateKey> {
        self.observed.halves.remove(id);
        self.halves.remove(id)
    }

    fn publish(&mut self, id: GenerationId) {
        let row = self.view.generations.get(&id);
        let known = row.and_then(|row| {
            let public = PublicKey::from_blob(row.blob.as_deref()?)?;
            Some((public, row.pair_name.clone()))
        });
        let Some((public, comment)) = known else {
            // Without a mark it would be planned again at once, for ever.
            let message = "the ledger's public half of the loaded key cannot be read".to_owned();
            let remedy = "nothing: the key works, and the next generation has a new one";
            let failure = Failure::local("public_file", message, remedy, Pace::Never);
            self.fail(Subject::Publishing(id.0), &failure);
            return;
        };
        let (directory, key) = (self.state_directory.clone(), id.0.clone());
        let task = self.tasks.spawn_blocking(move || {
            Finished::Published(public_files::write(&directory, &key, &public, &comment))
        });
        self.observed.publishing.insert(id.0.clone());
        self.running.insert(task.id(), Task::Publish { id });
    }

    pub(super) fn send(&mut self, generation: &Generation, job: Job, step: Step) {
        // The planner asks for nothing without the account; the files may have changed since.
        let Some(account) = self.desired.accounts.get(&generation.account) else {
            return;
        };
        let request = self
            .clouds
            .run(Arc::clone(account), generation.region.clone(), job);
        let task = self.tasks.spawn(async move { Finished::Answered(request.await) });
        let (id, account) = (generation.id(), generation.account.clone());
        self.count_request(&account);
        self.observed.served.insert(id.0.clone(), self.requests);
        self.observed.jobs.insert(id.clone(), account.clone());
        self.asked_since.insert(id.clone(), self.clock.now());
        self.running
            .insert(task.id(), Task::Request { id, account, step });
    }

    /// Counts a request for its account's rate, and for whose turn is next.
    pub(super) fn count_request(&mut self, account: &str) {
        self.requests += 1;
        if let Some(settings) = self.desired.accounts.get(account) {
            let per_second = max_per_second(&self.desired, settings);
            let rate = self.observed.rates.entry(account.to_owned()).or_default();
            rate.begun(self.clock.now().uptime, per_second);
        }
    }

    pub(super) fn intent(&self, kind: EffectKind, generation: &Generation) -> Effect {
        Effect {
            id: self.view.last_effect + 1,
            kind,
            key: generation.key.clone(),
            n: generation.n,
            intent_at: self.clock.now().wall_ms(),
            attempt: 0,
            outcome_at: None,
            outcome: None,
            host: None,
        }
    }

    /// The same for every attempt at one generation, and for no other.
    pub(super) fn token(&self, generation: &Generation, kind: EffectKind) -> String {
        hex_digest(&format!(
            "{}\n{}\n{}\n{}",
            self.view.installation,
            generation.key,
            generation.n,
            kind.name()
        ))
    }

    /// For this attempt alone.
    fn token_of(&self, effect: &Effect) -> String {
        let Effect { id, key, n, kind, .. } = effect;
        let installation = &self.view.installation;
        hex_digest(&format!("{installation}\n{key}\n{n}\n{}\n{id}", kind.name()))
    }
}

/// 32 hex digits that stand for a text.
fn hex_digest(text: &str) -> String {
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref()[..16]
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// What failed when a pair could not be registered.
pub(super) fn making(generation: &Generation) -> Subject {
    match generation.copy_of {
        Some(_) => Subject::Copying(generation.key.clone(), generation.region.clone()),
        None => Subject::Making(generation.key.clone()),
    }
}

pub(super) fn reference(generation: &Generation) -> PairReference {
    PairReference {
        name: generation.pair_name.clone(),
        id: generation.provider_id.clone(),
    }
}
