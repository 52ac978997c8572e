//! What comes of deleting: the comparison before it, and its own answer. Only a pair that agrees with the ledger goes.

use keyferry_plugin::contract::Pair;
use keyferry_plugin::fingerprint::same;
use keyferry_plugin::manifest::FingerprintForm;

use crate::engine::Engine;
use crate::engine::failure::{Failure, Outcome, Pace};
use crate::error::EngineError;
use crate::fingerprint::{self, Comparison};
use crate::ledger::{EffectOutcome, Generation, GenerationState};
use crate::plan::Subject;
use crate::private_key::PublicKey;

impl Engine {
    /// A pair that is to be deleted was looked at.
    pub(super) async fn compared(
        &mut self,
        mut generation: Generation,
        pair: &Pair,
    ) -> Result<(), EngineError> {
        let forms = self.forms(&generation.plugin);
        match disagreement(&generation, pair, &forms) {
            None => {
                // An earlier failure counts on: the deletion itself may be what fails.
                // It is our key, whatever the provider said of it at first: what it says now is what the permit is for.
                generation.provider_id = pair.id.clone().or(generation.provider_id);
                generation.provider_fingerprint =
                    pair.fingerprint.clone().or(generation.provider_fingerprint);
                self.begin_delete(generation).await
            }
            Some(what) => {
                generation.state = GenerationState::Blocked;
                generation.note = Some(format!(
                    "pair {} at the provider has another {what} than the one made here, so it is left alone",
                    generation.pair_name
                ));
                self.settle(generation, None).await
            }
        }
    }

    pub(super) async fn deleted(
        &mut self,
        mut generation: Generation,
        effect: Option<i64>,
    ) -> Result<(), EngineError> {
        tracing::info!(
            key = generation.key,
            generation = generation.n,
            "the pair is deleted"
        );
        // There is room now.
        for (subject, retry) in &mut self.observed.retries {
            if subject.key() == generation.key && retry.needs_room {
                retry.not_before = Some(0);
            }
        }
        generation.delete_asked_at = None;
        if self.is_wanted_again(&generation) {
            // The key was to end when that was asked, and is wanted again: so is a pair for it.
            generation.state = GenerationState::Missing;
            generation.missing_since = Some(self.clock.now().wall_ms());
            generation.note = Some("its pair was deleted while the key was to end".to_owned());
            return self
                .settle(generation, effect.map(|effect| (effect, EffectOutcome::Done)))
                .await;
        }
        // Of two imports one may have arrived; now that it is gone, so may the other.
        generation.state = if generation.repeated_at.is_some() && self.look_later(&generation) {
            GenerationState::Doubtful
        } else {
            GenerationState::Deleted
        };
        self.settle(generation, effect.map(|effect| (effect, EffectOutcome::Done)))
            .await
    }

    pub(super) async fn delete_failed(
        &mut self,
        mut generation: Generation,
        effect: i64,
        mut failure: Failure,
    ) -> Result<(), EngineError> {
        if failure.kind == "not_found" {
            return self.deleted(generation, Some(effect)).await;
        }
        if failure.pace == Pace::Never && !failure.of_account {
            // The advice for making a key is none for deleting a pair.
            failure.remedy = format!(
                "look at pair {} at the provider; keyferry resume {} tries again",
                generation.pair_name, generation.key
            );
        }
        let outcome = match failure.outcome {
            Outcome::None => {
                generation.delete_asked_at = None;
                EffectOutcome::Refused
            }
            Outcome::Unknown => EffectOutcome::Unknown,
        };
        self.fail(
            Subject::Generation(generation.key.clone(), generation.n),
            &failure,
        );
        self.settle(generation, Some((effect, outcome))).await
    }
}

/// In what a pair at the provider differs from the one in the ledger, of what both tell.
pub(in crate::engine) fn disagreement(
    generation: &Generation,
    pair: &Pair,
    forms: &[FingerprintForm],
) -> Option<&'static str> {
    if let (Some(ours), Some(theirs)) = (&generation.provider_id, &pair.id)
        && ours != theirs
    {
        return Some("identifier");
    }
    let same = match (&generation.provider_fingerprint, &pair.fingerprint) {
        (Some(ours), Some(theirs)) => Some(same(ours, theirs)),
        _ => None,
    };
    if same == Some(true) {
        return None;
    }
    match generation.blob.as_deref().and_then(PublicKey::from_blob) {
        Some(public) => match fingerprint::compare(pair, forms, &public, None) {
            Comparison::Match => None,
            Comparison::Mismatch => Some("key"),
            Comparison::Unknown => (same == Some(false)).then_some("fingerprint"),
        },
        None => (same == Some(false)).then_some("fingerprint"),
    }
}
