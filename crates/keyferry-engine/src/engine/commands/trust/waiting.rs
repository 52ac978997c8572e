//! Telling those who wait what came of what they asked about other public keys.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use super::super::Refusal;
use super::Revoked;
use crate::engine::Engine;
use crate::ledger::{PlacementState, RevocationId, Selector, Trusted, TrustedId};
use crate::plan::Subject;
use crate::snapshot::{LineState, Recovered, RevokedStatus, Timestamp, TrustedStatus};

/// Somebody waits for what happens on hosts.
pub(in crate::engine) enum TrustWait {
    Granted {
        ids: Vec<TrustedId>,
        reply: oneshot::Sender<Result<Vec<TrustedStatus>, Refusal>>,
    },
    Recovered {
        /// When it was asked (milliseconds since 1970 UTC).
        asked_at: i64,
        /// Keys and hosts.
        open: Vec<(String, String)>,
        done: Vec<Recovered>,
        reply: oneshot::Sender<Result<Vec<Recovered>, Refusal>>,
    },
    Revoked {
        ids: Vec<RevocationId>,
        own: Vec<TrustedId>,
        /// As they were before they were gone.
        known: BTreeMap<TrustedId, Trusted>,
        reply: oneshot::Sender<Result<Revoked, Refusal>>,
    },
}

impl Engine {
    /// Tells those who wait what came of it.
    pub(in crate::engine) fn answer_about_trust(&mut self) {
        for wait in std::mem::take(&mut self.trust_asked) {
            match wait {
                TrustWait::Granted { ids, reply } if !reply.is_closed() => {
                    let statuses = self.settled(&ids, &BTreeMap::new());
                    match statuses {
                        Some(statuses) => _ = reply.send(Ok(statuses)),
                        None => self.trust_asked.push(TrustWait::Granted { ids, reply }),
                    }
                }
                TrustWait::Revoked {
                    ids,
                    own,
                    known,
                    reply,
                } if !reply.is_closed() => {
                    let revoked: Option<Vec<RevokedStatus>> = ids.iter().map(|id| self.revoked(id)).collect();
                    match (revoked, self.settled(&own, &known)) {
                        (Some(revoked), Some(own)) => _ = reply.send(Ok((revoked, own))),
                        _ => self.trust_asked.push(TrustWait::Revoked {
                            ids,
                            own,
                            known,
                            reply,
                        }),
                    }
                }
                TrustWait::Recovered {
                    asked_at,
                    open,
                    mut done,
                    reply,
                } if !reply.is_closed() => {
                    let mut left = Vec::new();
                    for (key, host) in open {
                        match self.recovered(&key, &host, asked_at) {
                            Some(recovered) => done.push(recovered),
                            None => left.push((key, host)),
                        }
                    }
                    match left.is_empty() {
                        true => {
                            done.sort_by(|one, other| (&one.host, &one.key).cmp(&(&other.host, &other.key)));
                            _ = reply.send(Ok(done));
                        }
                        false => self.trust_asked.push(TrustWait::Recovered {
                            asked_at,
                            open: left,
                            done,
                            reply,
                        }),
                    }
                }
                // Nobody waits any more.
                TrustWait::Granted { .. } | TrustWait::Recovered { .. } | TrustWait::Revoked { .. } => {}
            }
        }
        let waits = self.trust_asked.iter().flat_map(|wait| match wait {
            TrustWait::Recovered { open, .. } => open.as_slice(),
            TrustWait::Granted { .. } | TrustWait::Revoked { .. } => &[],
        });
        let hosts: BTreeSet<&String> = waits.map(|(_, host)| host).collect();
        self.observed.recovering.retain(|host, _| hosts.contains(host));
    }

    /// How lines fare, when there is nothing more to wait for.
    fn settled(&self, ids: &[TrustedId], known: &BTreeMap<TrustedId, Trusted>) -> Option<Vec<TrustedStatus>> {
        let status = |id: &TrustedId| match self.view.trusted.get(id) {
            Some(row) => {
                let status = self.status_of(row);
                let is_over =
                    row.is_there() && row.state != PlacementState::Removing && !known.contains_key(id);
                (is_over || status.error.is_some()).then_some(status)
            }
            None => {
                let row = known.get(id)?;
                let gone = Trusted {
                    state: PlacementState::Removed,
                    ..row.clone()
                };
                Some(TrustedStatus {
                    error: self.still_let_in(&gone.host, &gone.fingerprint()),
                    ..self.status_of(&gone)
                })
            }
        };
        // One that ended meanwhile is no one's to wait for.
        let ids = ids
            .iter()
            .filter(|id| self.view.trusted.contains_key(*id) || known.contains_key(*id));
        ids.map(status).collect()
    }

    fn revoked(&self, id: &RevocationId) -> Option<RevokedStatus> {
        let status = self
            .revoked_status()
            .into_iter()
            .find(|status| status.host == id.0 && status.lines_of == id.1.to_string());
        match status {
            Some(status) => status.error.is_some().then_some(status),
            None => Some(RevokedStatus {
                host: id.0.clone(),
                lines_of: id.1.to_string(),
                state: LineState::Removed,
                lines: Vec::new(),
                error: match &id.1 {
                    Selector::Grant(fingerprint) => self.still_let_in(&id.0, fingerprint),
                    Selector::Key(_) | Selector::Machine(_) | Selector::Owner(_) => None,
                },
            }),
        }
    }

    fn recovered(&self, key: &str, host: &str, asked_at: i64) -> Option<Recovered> {
        let generation = self.generation_at(key, host);
        let verified_at = self.observed.recovery_verified.get(host).copied();
        let making = self.observed.retries.get(&Subject::Making(key.to_owned()));
        let not_loaded = making.filter(|_| !self.observed.loaded.contains_key(key));
        let error = self
            .failed_at(key, host)
            .or_else(|| not_loaded.map(|retry| retry.error.clone()));
        let is_done = generation.is_some() && verified_at.is_some_and(|at| at >= asked_at);
        let error = error.or_else(|| self.stands_still(key).filter(|_| !is_done));
        (is_done || error.is_some()).then(|| Recovered {
            host: host.to_owned(),
            key: key.to_owned(),
            generation,
            recovery_verified_at: verified_at.map(Timestamp::from_ms),
            error,
        })
    }
}
