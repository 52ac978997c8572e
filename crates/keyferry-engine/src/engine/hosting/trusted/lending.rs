//! The recovery identity where keys are lost: who may log in with it, and to whom the agent offers it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keyferry_hosts::Identity;

use crate::engine::Engine;
use crate::ledger::PlacementState;
use crate::plan::needs_touch;

/// What the agent offers in place of lost keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Lent {
    public_blob: Vec<u8>,
    agent: PathBuf,
    host_keys: BTreeSet<Vec<u8>>,
}

impl Engine {
    /// As the recovery identity may log in by itself: a key whose owner has to touch it only while a person waits for that.
    pub(in crate::engine) fn recovery_identity_at(&self, host: &str) -> Option<Identity> {
        let identity = self.recovery_identity()?;
        let recovery = self.desired.daemon.recovery.as_ref()?;
        let may_sign = !needs_touch(&recovery.public_key) || self.observed.recovering.contains_key(host);
        may_sign.then_some(identity)
    }

    /// Has the agent offer the recovery identity to hosts where no key of ours logs in now, and to no others.
    pub(in crate::engine) fn lend(&mut self, host_keys: BTreeSet<Vec<u8>>) {
        let recovery = self.desired.daemon.recovery.as_ref();
        let identity = recovery.and_then(|recovery| {
            let agent = recovery.agent.clone().or_else(|| self.user_agent.clone())?;
            Some((keyferry_hosts::public_blob(&recovery.public_key)?, agent))
        });
        let wanted = identity
            .filter(|_| !host_keys.is_empty())
            .map(|(public_blob, agent)| Lent {
                public_blob,
                agent,
                host_keys,
            });
        if wanted == self.lent {
            return;
        }
        if let Some(lent) = self.lent.take()
            && wanted
                .as_ref()
                .is_none_or(|wanted| wanted.public_blob != lent.public_blob)
        {
            self.key_ring.unlend(&lent.public_blob);
        }
        if let Some(wanted) = wanted {
            let host_keys = wanted.host_keys.iter().cloned().collect();
            match self
                .key_ring
                .lend(&wanted.public_blob, RECOVERY, wanted.agent.clone(), host_keys)
            {
                Ok(()) => {
                    tracing::info!(
                        hosts = wanted.host_keys.len(),
                        "the recovery identity is offered to hosts"
                    );
                }
                // Not tried again until something of it changes.
                Err(error) => tracing::warn!(error, "the recovery identity cannot be offered"),
            }
            self.lent = Some(wanted);
        }
    }

    /// What the ledger knows of the recovery identity that is named now.
    pub(in crate::engine) fn remember_recovery(&mut self) {
        let named = self.desired.daemon.recovery.as_ref();
        let named = named.map(|recovery| recovery.public_key.clone());
        if named == self.recovery {
            return;
        }
        let rows =
            self.view.trusted.values().filter(|row| {
                row.state == PlacementState::Verified && Some(&row.public_key) == named.as_ref()
            });
        let verified = rows.filter_map(|row| Some((row.host.clone(), row.verified_at?)));
        self.observed.recovery_verified = verified.collect();
        self.recovery = named;
    }
}

/// The comment that clients show beside it.
const RECOVERY: &str = "keyferry: recovery identity";
