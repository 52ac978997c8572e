//! What comes of creating and importing: a pair that is held against its private half, or a failure that is sorted.

use keyferry_plugin::contract::Pair;
use keyferry_plugin::manifest::FingerprintForm;
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::engine::acting::making;
use crate::engine::failure::{Failure, Outcome, Pace};
use crate::error::EngineError;
use crate::fingerprint::{self, Comparison};
use crate::ledger::{EffectOutcome, Generation, GenerationState};
use crate::private_key::{PrivateKey, PublicKey};

impl Engine {
    pub(super) async fn created(
        &mut self,
        mut generation: Generation,
        effect: i64,
        pair: &Pair,
        private_key: Zeroizing<Vec<u8>>,
    ) -> Result<(), EngineError> {
        let half = PrivateKey::parse(&private_key);
        drop(private_key);
        generation.provider_id = pair.id.clone();
        generation.provider_fingerprint = pair.fingerprint.clone();
        let forms = self.forms(&generation.plugin);
        let problem = match &half {
            Err(error) => Some(("private_key", error.to_string())),
            Ok(half) if half.public_key().algorithm() != Some(generation.algorithm) => {
                let message = format!(
                    "the provider made another kind of key than {}",
                    generation.algorithm
                );
                Some(("mismatch", message))
            }
            Ok(half) => mismatch(&generation, pair, &forms, half.public_key(), Some(half)),
        };
        // Also of a pair that will be deleted: it is how that pair is told from another.
        generation.blob = half.as_ref().ok().map(|half| half.public_key().blob().to_vec());
        match (problem, half) {
            (None, Ok(half)) => {
                generation.state = GenerationState::Live;
                self.hold_half(generation.id(), half);
            }
            (problem, _) => {
                let (kind, message) = problem.unwrap_or(("private_key", String::new()));
                self.reject(&mut generation, kind, message);
            }
        }
        self.settle(generation, Some((effect, EffectOutcome::Done))).await
    }

    pub(super) async fn imported(
        &mut self,
        mut generation: Generation,
        effect: i64,
        pair: &Pair,
    ) -> Result<(), EngineError> {
        generation.provider_id = pair.id.clone();
        generation.provider_fingerprint = pair.fingerprint.clone();
        let id = generation.id();
        let forms = self.forms(&generation.plugin);
        let half = self.halves.get(&id);
        let recorded = generation.blob.as_deref().and_then(PublicKey::from_blob);
        let copied = recorded.as_ref().filter(|_| generation.copy_of.is_some());
        let problem = match half.map(PrivateKey::public_key).or(copied) {
            Some(public) => mismatch(&generation, pair, &forms, public, half),
            None => Some(("internal", "the private half is gone".to_owned())),
        };
        match problem {
            None => {
                generation.state = GenerationState::Live;
                if copied.is_some() {
                    self.observed.retries.remove(&making(&generation));
                }
            }
            Some((kind, message)) => {
                self.drop_half(&id);
                self.reject(&mut generation, kind, message);
            }
        }
        self.settle(generation, Some((effect, EffectOutcome::Done))).await
    }

    /// A create or an import that failed, or whose answer was lost.
    pub(super) async fn request_failed(
        &mut self,
        mut generation: Generation,
        effect: i64,
        failure: Failure,
    ) -> Result<(), EngineError> {
        let id = generation.id();
        let repeated = generation.repeated_at.is_some();
        let is_taken = failure.kind == "already_exists";
        // A provider in disorder may have acted before it failed, whatever the plugin makes of it.
        let unknown = !is_taken && (failure.outcome == Outcome::Unknown || failure.kind == "internal");
        let outcome = if unknown {
            EffectOutcome::Unknown
        } else {
            EffectOutcome::Refused
        };
        if unknown || repeated {
            // Read back: whether it is there now decides. A repeated import that was refused is sent again,
            // unless the name is taken: then the earlier one may have arrived after all.
            if !unknown && !is_taken {
                self.observed.absent.insert(id.clone());
            }
            if is_taken {
                *self.hidden.entry(id.clone()).or_default() += 1;
            }
        } else {
            if is_taken {
                self.taken.insert(id.clone());
            }
            generation.state = if is_taken {
                GenerationState::Foreign
            } else {
                GenerationState::Absent
            };
            generation.note = Some(failure.message.clone());
            let half = self.drop_half(&id);
            self.keep_ready(&id.0, half);
        }
        if !(is_taken && repeated) {
            self.fail(making(&generation), &failure);
        }
        self.settle(generation, Some((effect, outcome))).await
    }

    /// A pair that is ours and of no use: to be deleted, and the reason shown.
    fn reject(&mut self, generation: &mut Generation, kind: &'static str, message: String) {
        generation.state = GenerationState::Unwanted;
        generation.note = Some(message.clone());
        let remedy = "nothing for now: keyferry deletes that pair and tries again; if it stays, report it to the plugin's author";
        self.fail(
            making(generation),
            &Failure::local(kind, message, remedy, Pace::Soon),
        );
    }
}

fn mismatch(
    generation: &Generation,
    pair: &Pair,
    forms: &[FingerprintForm],
    public: &PublicKey,
    half: Option<&PrivateKey>,
) -> Option<(&'static str, String)> {
    let comparison = fingerprint::compare(pair, forms, public, half);
    (comparison == Comparison::Mismatch).then(|| {
        let name = &generation.pair_name;
        (
            "mismatch",
            format!(
                "the provider reports another public key or fingerprint for pair {name} than it has here"
            ),
        )
    })
}
