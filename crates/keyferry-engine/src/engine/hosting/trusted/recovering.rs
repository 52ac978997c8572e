//! Trying whether the recovery identity logs in.

use keyferry_hosts::{HostError, HostErrorKind, Reply, Work};

use super::Trusting;
use crate::engine::Engine;
use crate::engine::failure::Failure;
use crate::engine::hosting::{OnHost, nonsense};
use crate::error::EngineError;
use crate::ledger::{PlacementState, Trusted, Write};
use crate::plan::Subject;

impl Engine {
    /// Nothing is changed by it, so there is nothing to write down before.
    pub(in crate::engine::hosting) fn begin_verifying_recovery(&mut self, key: &str, host: String) {
        let named = self.desired.daemon.recovery.as_ref();
        let Some(public_key) = named.map(|recovery| recovery.public_key.clone()) else {
            return;
        };
        let id = (key.to_owned(), host.clone(), public_key);
        let Some(before) = self.view.trusted.get(&id).cloned() else {
            return;
        };
        let Some(identity) = self.recovery_identity() else {
            self.recovery_failed(key, &host, &no_agent());
            return;
        };
        let work = Work::Verify {
            identity,
            proof: self.proof(key),
        };
        self.start_on_host(host, work, OnHost::Trusted(Trusting::Verify { before }));
    }

    pub(super) async fn recovery_tried(
        &mut self,
        host: String,
        before: Trusted,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let now = self.clock.now().wall_ms();
        let key = before.key.clone();
        let named = self.desired.daemon.recovery.as_ref();
        let is_named = named.is_some_and(|recovery| recovery.public_key == before.public_key);
        let row = match result {
            Ok(Reply::Verified { .. }) => {
                tracing::info!(key, host, "the recovery identity logs in");
                self.observed
                    .retries
                    .remove(&Subject::Recovery(key.clone(), host.clone()));
                self.reached(&host);
                if is_named {
                    self.observed.recovery_verified.insert(host.clone(), now);
                }
                Trusted {
                    state: PlacementState::Verified,
                    verified_at: Some(now),
                    note: None,
                    ..before.clone()
                }
            }
            Ok(_) => {
                self.recovery_failed(&key, &host, &nonsense());
                return Ok(());
            }
            Err(error) => {
                self.recovery_failed(&key, &host, &error);
                let is_refused = matches!(error.kind, HostErrorKind::AnotherKey | HostErrorKind::Refused);
                if !is_refused {
                    return Ok(());
                }
                // The line may have been taken away: it is put there again, which changes nothing where it is.
                if is_named {
                    self.observed.recovery_verified.remove(&host);
                }
                Trusted {
                    state: PlacementState::Placing,
                    verified_at: None,
                    note: Some(error.message),
                    ..before.clone()
                }
            }
        };
        if !self.stands_as(&before) {
            return Ok(());
        }
        let write = Write {
            trusted: vec![Trusted {
                changed_at: now,
                ..row
            }],
            ..Write::default()
        };
        self.settle_trusted(&key, &host, write).await?;
        Ok(())
    }

    /// The recovery identity logs in at a host no more: its lines there, to be tried again wherever that is wanted.
    pub(in crate::engine::hosting) fn recovery_was_refused(&mut self, host: &str) -> Vec<Trusted> {
        self.observed.recovery_verified.remove(host);
        let changed_at = self.clock.now().wall_ms();
        let named = self.desired.daemon.recovery.as_ref();
        let rows = self.view.trusted.values().filter(|row| {
            row.host == host
                && row.state == PlacementState::Verified
                && named.is_some_and(|recovery| recovery.public_key == row.public_key)
        });
        let rows = rows.map(|row| Trusted {
            state: PlacementState::Placed,
            verified_at: None,
            changed_at,
            ..row.clone()
        });
        rows.collect()
    }

    fn recovery_failed(&mut self, key: &str, host: &str, error: &HostError) {
        let subject = Subject::Recovery(key.to_owned(), host.to_owned());
        self.fail(subject, &Failure::of_host(error));
    }
}

/// Nobody can be asked to log in with the recovery identity.
pub(in crate::engine::hosting) fn no_agent() -> HostError {
    HostError {
        kind: HostErrorKind::Settings,
        message: "there is no agent that has the recovery identity: [recovery] names none, and the daemon was started without SSH_AUTH_SOCK".to_owned(),
        remedy: "write `agent = \"/path/of/its/socket\"` into [recovery] of keyferry.toml".to_owned(),
        outcome: keyferry_hosts::Outcome::Unchanged,
    }
}
