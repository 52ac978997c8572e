//! A lock of the agent (`ssh-add -x`), under which it signs nothing: what fails for it says nothing about hosts.

use keyferry_hosts::{HostError, HostErrorKind};

use super::Engine;
use crate::snapshot::LOCKED;

impl Engine {
    /// Notes whether the agent is locked, for the plan.
    pub(super) fn look_at_lock(&mut self) {
        let is_locked = *self.lock_changes.borrow_and_update() % 2 == 1;
        if is_locked != self.observed.locked {
            tracing::info!(is_locked, "the agent was locked or unlocked");
            self.observed.locked = is_locked;
        }
    }

    /// What failed on a host, unless the agent was locked meanwhile and that may be why. It may have been unlocked again, too.
    pub(super) fn unless_locked(&self, error: HostError, host: &str, lock_changes: u64) -> HostError {
        let now = *self.lock_changes.borrow();
        let was_locked = now % 2 == 1 || now != lock_changes;
        if !was_locked || !error.kind.is_of_the_login() {
            return error;
        }
        tracing::info!(
            host,
            message = error.message,
            "it failed while the agent was locked"
        );
        HostError {
            kind: HostErrorKind::Locked,
            message: format!("{host}: {LOCKED}"),
            remedy: "ssh-add -X unlocks it, and everything goes on".to_owned(),
            outcome: error.outcome,
        }
    }
}
