//! Registering the public half of a loaded generation once more: in another region, or where its pair was taken away.

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{Manifest, RegionRule};

use super::failure::{Failure, Pace};
use super::{Engine, Job, Step};
use crate::desired::{GeneratedBy, KeySpec};
use crate::error::EngineError;
use crate::ledger::{EffectKind, Generation, GenerationState, KeyRow, Stage, Write};
use crate::naming::{NameParts, pair_name};
use crate::plan::Subject;
use crate::private_key::PublicKey;

impl Engine {
    /// The loaded generation's public half, with a row of its own.
    pub(super) async fn begin_copy(&mut self, key: &str, region: Option<String>) -> Result<(), EngineError> {
        let subject = Subject::Copying(key.to_owned(), region.clone());
        let loaded = self.observed.loaded.get(key).map(|&n| (key.to_owned(), n));
        let original = loaded.and_then(|id| self.view.generations.get(&id)).cloned();
        let spec = self.desired.keys.get(key).cloned();
        let (Some(original), Some(spec)) = (original, spec) else {
            return Ok(());
        };
        let Some(public) = original.blob.as_deref().and_then(PublicKey::from_blob) else {
            let message = "the ledger's public half of the loaded key cannot be read".to_owned();
            let remedy = "nothing: the key works, and the next generation has a new one";
            self.fail(subject, &Failure::local("internal", message, remedy, Pace::Never));
            return Ok(());
        };
        let manifest = match self.manifest(&original.plugin) {
            Ok(manifest) => manifest,
            Err(problem) => {
                let message = format!("plugin {} {problem}", original.plugin);
                let remedy = format!(
                    "install or pin it, or correct plugin in accounts/{}.toml; then keyferry resume",
                    original.account
                );
                self.fail(subject, &Failure::local("plugin", message, &remedy, Pace::Never));
                return Ok(());
            }
        };
        if !manifest.operations.contains_key(&OperationKind::Import)
            || !manifest.algorithms.import.contains(&original.algorithm)
        {
            let message = format!(
                "plugin {} cannot import this {} key, so its pair cannot be made again",
                original.plugin, original.algorithm
            );
            let remedy = "the loaded key goes on; for a pair of its own, declare another key";
            self.fail(
                subject,
                &Failure::local("unsupported", message, remedy, Pace::Never),
            );
            return Ok(());
        }
        let row = self.view.key(key);
        let n = row.last_n + 1;
        let name = match self.name_of_copy(&original, &spec, region.as_deref(), n, &manifest) {
            Ok(name) => name,
            Err(reason) => {
                let message = format!("no name for the pair fits plugin {}: {reason}", original.plugin);
                let remedy = format!("correct name in keys/{key}.toml");
                self.fail(subject, &Failure::local("invalid", message, &remedy, Pace::Never));
                return Ok(());
            }
        };
        let generation = Generation {
            n,
            copy_of: Some(original.n),
            made_by: GeneratedBy::Keyferry,
            region,
            pair_name: name,
            provider_id: None,
            provider_fingerprint: None,
            state: GenerationState::Requested,
            requested_at: self.clock.now().wall_ms(),
            repeated_at: None,
            loaded_at: None,
            note: None,
            missing_since: None,
            delete_asked_at: None,
            stage: Stage::Active,
            promoted_at: None,
            superseded_at: None,
            ..original
        };
        let effect = self.intent(EffectKind::Import, &generation);
        let step = Step::Effect(effect.id, EffectKind::Import);
        let write = Write {
            keys: vec![KeyRow { last_n: n, ..row }],
            generations: vec![generation.clone()],
            effects: vec![effect],
            ..Write::default()
        };
        if let Err(message) = self.record(write).await? {
            self.fail_for_disk(subject, message);
            return Ok(());
        }
        let job = Job::Import {
            name: generation.pair_name.clone(),
            public_key: public.line(&generation.pair_name),
            idempotency_token: self.token(&generation, EffectKind::Import),
        };
        self.send(&generation, job, step);
        Ok(())
    }

    /// The generation's own name where each region has names of its own and it is free there, else one with a number of
    /// its own.
    fn name_of_copy(
        &self,
        original: &Generation,
        spec: &KeySpec,
        region: Option<&str>,
        n: u64,
        manifest: &Manifest,
    ) -> Result<String, String> {
        let taken = |name: &str| {
            let of_region = |row: &&Generation| {
                row.account == original.account
                    && (row.region.as_deref() == region || manifest.region == RegionRule::Optional)
            };
            let mut rows = self.view.generations.values().filter(of_region);
            rows.any(|row| row.pair_name == name) || self.view.foreign_names.contains(name)
        };
        if !taken(&original.pair_name) {
            return Ok(original.pair_name.clone());
        }
        let parts = NameParts {
            key: &spec.name,
            pair_name: spec.pair_name.as_deref(),
            installation: &self.view.installation,
            n,
        };
        pair_name(parts, &manifest.names, taken)
    }
}
