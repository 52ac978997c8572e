//! Seeing whether a generation logs in at a host.

use keyferry_hosts::{HostError, HostErrorKind, Reply, Work};

use super::{OnHost, nonsense};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ledger::{Placement, PlacementState, Write};
use crate::plan::{GenerationId, Subject};

impl Engine {
    /// Nothing is changed by it, so there is nothing to write down before.
    pub(super) fn begin_verifying(&mut self, id: GenerationId, host: String) {
        let Some(identity) = self.identity(&id) else {
            self.has_no_public_half(&id, &host);
            return;
        };
        let proof = self.proof(&id.0);
        let work = Work::Verify { identity, proof };
        self.start_on_host(host, work, OnHost::Verify { id });
    }

    pub(super) async fn verified(
        &mut self,
        host: String,
        id: GenerationId,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        let login = (id.0.clone(), id.1, host.clone());
        let result = match result {
            Ok(reply @ Reply::Verified { .. }) => Ok(reply),
            Ok(_) => Err(nonsense()),
            Err(error) => Err(error),
        };
        let mut row = self.row_after(&host, &result);
        let before = self.view.placements.get(&login).cloned();
        let now = self.clock.now().wall_ms();
        match result {
            Ok(reply) => {
                tracing::info!(key = id.0, generation = id.1, host, "it logs in");
                if let Reply::Verified { host_key } = reply {
                    row.pinned_host_key = Some(host_key);
                }
                let is_unfinished = before.as_ref().is_some_and(|before| {
                    before.state == PlacementState::Placing && before.verified_at.is_some()
                });
                let verified_at = before.as_ref().and_then(|before| self.seen_since(before));
                let changed_at = before.as_ref().map_or(now, |before| before.changed_at);
                // A line that nobody put there for us is somebody else's.
                let line = before.as_ref().and_then(|before| before.line.clone());
                let file = before.as_ref().and_then(|before| before.file.clone());
                let file_hash = before.and_then(|before| before.file_hash);
                let placement = Placement {
                    key: id.0.clone(),
                    n: id.1,
                    host: host.clone(),
                    state: PlacementState::Verified,
                    verified_at: verified_at.or(Some(now)),
                    line,
                    file,
                    file_hash,
                    changed_at,
                };
                let write = Write {
                    hosts: vec![row],
                    placements: vec![placement],
                    ..Write::default()
                };
                if self.settle_on_host(&id.0, &host, write).await? {
                    self.observed.refused_logins.remove(&login);
                    // That it logs in as before does not mean that its line was written anew.
                    if !is_unfinished {
                        self.observed.retries.remove(&Subject::Host(id.0, host.clone()));
                    }
                    self.reached(&host);
                }
            }
            Err(mut error) => {
                let is_refusal = matches!(error.kind, HostErrorKind::AnotherKey | HostErrorKind::Refused);
                let state = before.as_ref().map(|before| before.state);
                let is_placed = state == Some(PlacementState::Placed);
                if is_refusal {
                    self.observed.refused_logins.insert(login);
                }
                // Somebody took its line away: it is put there again.
                let taken = before.filter(|_| is_refusal && state == Some(PlacementState::Verified));
                let taken = taken.map(|before| Placement {
                    state: PlacementState::Placing,
                    verified_at: None,
                    changed_at: now,
                    ..before
                });
                // What a program of the user's did is not known so well.
                if is_refusal && is_placed && self.deploy(&id.0).command.is_empty() {
                    error = self.not_taken(&id, &host, error);
                }
                // A key that is not there yet is refused: that is no failure.
                if !is_refusal || is_placed {
                    self.host_failed(&id.0, &host, &error);
                }
                if error.kind != HostErrorKind::Unreachable {
                    self.reached(&host);
                }
                let write = Write {
                    hosts: vec![row],
                    placements: taken.into_iter().collect(),
                    ..Write::default()
                };
                self.settle_on_host(&id.0, &host, write).await?;
            }
        }
        Ok(())
    }

    /// Since when a generation is seen to log in at a host whose line was written anew, or that is only looked at again:
    /// nothing begins anew by that. Where another was seen there later, it does.
    fn seen_since(&self, before: &Placement) -> Option<i64> {
        let seen = before.verified_at?;
        let mut others = self.view.placements_of(&before.key);
        let is_later = others.any(|other| other.host == before.host && other.verified_at > Some(seen));
        (!is_later && before.state != PlacementState::Removing).then_some(seen)
    }

    /// A refusal where the line was put: then it is sshd that does not read it, or does not let that login in.
    fn not_taken(&self, id: &GenerationId, host: &str, error: HostError) -> HostError {
        let file = self.file_for(&id.0);
        HostError {
            message: format!(
                "{host}: the line of generation {} stands in {file}, and sshd does not take it",
                id.1
            ),
            remedy: format!(
                "see `AuthorizedKeysFile` and `StrictModes` in sshd_config there: where it reads another file, name that one as \
                 path in [deploy] of keys/{}.toml; and see that the login is not locked or expired",
                id.0
            ),
            ..error
        }
    }
}
