//! What status shows of other public keys than ours.

use super::remark;
use crate::engine::Engine;
use crate::ledger::{PlacementState, Purpose, RevocationState, Trusted};
use crate::plan::Subject;
use crate::snapshot::{LineState, RevokedStatus, StatusError, Timestamp, TrustedStatus};

impl Engine {
    pub(super) fn trusted_status(&self) -> Vec<TrustedStatus> {
        self.view
            .trusted
            .values()
            .map(|row| self.status_of(row))
            .collect()
    }

    pub(in crate::engine) fn status_of(&self, row: &Trusted) -> TrustedStatus {
        TrustedStatus {
            key: row.key.clone(),
            host: row.host.clone(),
            fingerprint: row.fingerprint(),
            purpose: row.purpose,
            state: match row.state {
                PlacementState::Placing => LineState::Placing,
                PlacementState::Placed => LineState::Placed,
                PlacementState::Verified => LineState::Verified,
                PlacementState::Removing => LineState::Removing,
                PlacementState::Removed => LineState::Removed,
            },
            until: row.until.map(Timestamp::from_ms),
            verified_at: row.verified_at.map(Timestamp::from_ms),
            error: self.why_it_waits(row),
        }
    }

    /// That a key whose line is gone has another one, which nobody told keyferry to take.
    pub(in crate::engine) fn still_let_in(&self, host: &str, fingerprint: &str) -> Option<StatusError> {
        let id = (host.to_owned(), fingerprint.to_owned());
        self.observed.still_let_in.contains(&id).then(|| {
            let message = format!("{fingerprint} is still let in by a line that is not keyferry's");
            let remedy = "take that line out of the host's authorized_keys by hand";
            remark("still_let_in", message, remedy)
        })
    }

    pub(in crate::engine) fn revoked_status(&self) -> Vec<RevokedStatus> {
        let rows = self.view.revocations.values();
        rows.map(|row| {
            let failed = self.observed.retries.get(&Subject::Revocation(row.host.clone()));
            let left = (row.state == RevocationState::Left).then(|| {
                let why = row.note.clone().unwrap_or_default();
                let remedy = format!(
                    "put another key there, or keyferry revoke ... --accept-loss {}",
                    row.host
                );
                remark("last_way_in", format!("the lines were left: {why}"), &remedy)
            });
            RevokedStatus {
                host: row.host.clone(),
                lines_of: row.selector.to_string(),
                state: match row.state {
                    RevocationState::Asked | RevocationState::Removing => LineState::Removing,
                    RevocationState::Left => LineState::Left,
                    RevocationState::Removed => LineState::Removed,
                },
                lines: row.lines.lines().map(str::to_owned).collect(),
                error: left.or_else(|| failed.map(|retry| retry.error.clone())),
            }
        })
        .collect()
    }

    /// Whether a key logs in at a host now, as far as it was seen.
    pub(in crate::engine) fn generation_at(&self, key: &str, host: &str) -> Option<u64> {
        let placements = self.view.placements_of(key).filter(|placement| {
            placement.host == host
                && placement.state == PlacementState::Verified
                && self.observed.in_agent.contains(&(key.to_owned(), placement.n))
        });
        placements.map(|placement| placement.n).max()
    }

    /// What failed last at a host, for a key.
    pub(in crate::engine) fn failed_at(&self, key: &str, host: &str) -> Option<StatusError> {
        let subject = |of: fn(String, String) -> Subject| of(key.to_owned(), host.to_owned());
        let subjects = [
            subject(Subject::Trusted),
            subject(Subject::Recovery),
            subject(Subject::Host),
        ];
        let mut failed = subjects
            .iter()
            .filter_map(|subject| self.observed.retries.get(subject));
        failed.next().map(|retry| retry.error.clone())
    }

    fn why_it_waits(&self, row: &Trusted) -> Option<StatusError> {
        if let Some(why) = self.trust_waits.get(&row.id()) {
            let remedy = format!(
                "name a recovery identity in keyferry.toml, or keyferry revoke --grant {} --accept-loss {}",
                row.fingerprint(),
                row.host
            );
            return Some(remark("last_way_in", why.clone(), &remedy));
        }
        let own = Subject::Trusted(row.key.clone(), row.host.clone());
        let recovery = Subject::Recovery(row.key.clone(), row.host.clone());
        let recovery = Some(recovery).filter(|_| row.purpose == Purpose::Recovery);
        let mut failed = std::iter::once(own).chain(recovery);
        if let Some(retry) = failed.find_map(|subject| self.observed.retries.get(&subject)) {
            return Some(retry.error.clone());
        }
        if row.is_there() {
            return None;
        }
        let (key, host) = (&row.key, &row.host);
        let failed = self.failed_at(key, host).or_else(|| self.stands_still(key));
        failed.or_else(|| {
            let is_unseen = self.generation_at(key, host).is_none();
            is_unseen.then(|| waiting(format!("key {key} was not seen to log in at {host} yet")))
        })
    }

    /// That nothing is done for a key, since the user said so.
    pub(in crate::engine) fn stands_still(&self, key: &str) -> Option<StatusError> {
        let row = self.view.keys.get(key)?;
        let what = match row {
            row if row.held_at.is_some() => "is held",
            row if row.is_behind() => "is left alone, since the ledger is older than its pairs",
            row if row.is_paused(self.clock.now().wall_ms()) => "is on hold",
            row if row.retire_asked_at.is_some() => "is being retired",
            _ => return None,
        };
        Some(waiting(format!("key {key} {what}")))
    }
}

fn waiting(message: String) -> StatusError {
    remark("waiting", message, "nothing: it goes on when that is over")
}
