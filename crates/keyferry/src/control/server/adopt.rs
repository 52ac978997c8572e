//! Answers to somebody who adopts a key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyferry_engine::engine::Hosts;
use keyferry_engine::ledger::LedgerView;
use keyferry_engine::plan;
use keyferry_engine::snapshot::{KeyState, RotationAsked, Snapshot, StatusError};
use keyferry_hosts::{HostError, Identity, Proof, Reply, Task, Work};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Answer, Control, write};
use crate::control::adopt::{AdoptAnswer, AdoptRequest, Lifetime, Tried};
use crate::rotation::course::{self, Course};

impl Control {
    pub(super) async fn adopt(
        &self,
        request: AdoptRequest,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        match request {
            AdoptRequest::Follow { key, timeout_ms } => {
                self.follow_adopted(key, Duration::from_millis(timeout_ms), writing)
                    .await
            }
            AdoptRequest::Lifetimes => {
                let lifetimes = self.hosts.lifetimes_of_added().into_iter();
                let lifetimes = lifetimes.map(|(fingerprint, left)| Lifetime {
                    fingerprint,
                    left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                });
                let answer = AdoptAnswer::Lifetimes(lifetimes.collect());
                write(writing, &Answer::Adopt(answer)).await
            }
            AdoptRequest::Places => {
                let places = AdoptAnswer::Places {
                    agent_socket: self.agent_socket.clone(),
                    config_directory: self.config_directory.clone(),
                };
                write(writing, &Answer::Adopt(places)).await
            }
            AdoptRequest::Try { fingerprint, hosts } => self.try_key(fingerprint, hosts, writing).await,
        }
    }

    /// Beside the engine: nothing is changed by it, and no key of keyferry's takes part.
    async fn try_key(
        &self,
        fingerprint: String,
        hosts: Vec<String>,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        if !self.hosts.has_added(&fingerprint) {
            let refusal = format!("the agent does not have the key {fingerprint}, or it is locked");
            return write(writing, &Answer::Refused(refusal)).await;
        }
        let settings = self.desired.borrow().daemon.clone();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        // Ended with this client.
        let mut logins = JoinSet::new();
        for host in hosts {
            let identity = Identity::Agent {
                socket: std::path::PathBuf::new(),
                public_key: fingerprint.clone(),
            };
            let task = Task {
                host: plan::host_of(None, &settings, &host, &LedgerView::default()),
                work: Work::Verify {
                    identity,
                    proof: Proof::Session,
                },
            };
            let (runner, places) = (Arc::clone(&self.hosts), Arc::clone(&places));
            logins.spawn(async move {
                let _place = places.acquire_owned().await;
                (host, runner.run(task).await)
            });
        }
        while let Some(tried) = logins.join_next().await {
            let Ok((host, result)) = tried else {
                continue;
            };
            let is_refused = result.as_ref().is_err_and(HostError::is_final_refusal);
            let error = match result {
                Ok(Reply::Verified { .. }) => None,
                Ok(_) => Some(unclear()),
                Err(error) => Some(of_host(&error)),
            };
            let tried = Tried {
                host,
                error,
                is_refused,
            };
            write(writing, &Answer::Adopt(AdoptAnswer::Tried(tried))).await?;
        }
        write(writing, &Answer::Adopt(AdoptAnswer::TriedAll)).await
    }

    async fn follow_adopted(
        &self,
        key: String,
        time: Duration,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        if self.engine_ended.get().is_some() {
            return write(writing, &self.ended()).await;
        }
        self.read_again().await;
        self.engine.refresh().await;
        let asked = [RotationAsked {
            key,
            // Whichever generation there is.
            from: 0,
            waiting: None,
        }];
        self.follow(
            &asked,
            time,
            |snapshot| is_over(&asked[0], snapshot, SystemTime::now()),
            writing,
        )
        .await
    }
}

/// Whether nothing more happens soon to a key whose first generation may be on its way.
fn is_over(asked: &RotationAsked, snapshot: &Snapshot, now: SystemTime) -> bool {
    let key = snapshot.keys.iter().find(|key| key.name == asked.key);
    match key.map(|key| key.state) {
        Some(KeyState::Creating | KeyState::Pending) => false,
        Some(KeyState::Loaded) => course::of(asked, snapshot, now, now) != Course::UnderWay,
        Some(KeyState::Failed) => key
            .and_then(|key| key.error.as_ref()?.retry_at)
            .is_none_or(|at| at.0 > now + SOON),
        Some(KeyState::Held | KeyState::Lost) | None => true,
    }
}

fn of_host(error: &HostError) -> StatusError {
    StatusError {
        kind: error.kind.name().to_owned(),
        code: None,
        message: error.message.clone(),
        request_id: None,
        remedy: Some(error.remedy.clone()),
        retry_at: None,
    }
}

fn unclear() -> StatusError {
    StatusError {
        kind: "internal".to_owned(),
        code: None,
        message: "the host's answer is one to another question".to_owned(),
        request_id: None,
        remedy: None,
        retry_at: None,
    }
}

/// As many logins as a key's deployment has at the same time.
const AT_ONCE: usize = 16;
/// A try that near is waited for.
const SOON: Duration = Duration::from_secs(5);
