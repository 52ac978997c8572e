//! Answers about other public keys than keyferry's own.

use std::time::Duration;

use keyferry_engine::engine::Grant;
use tokio::time::timeout;

use super::Control;
use crate::control::Answer;
use crate::control::trust::{TrustAnswer, TrustRequest};

impl Control {
    pub(super) async fn about_trust(&self, request: TrustRequest) -> Answer {
        if self.engine_ended.get().is_some() {
            return self.ended();
        }
        self.read_again().await;
        // The engine has to have seen what was read.
        self.engine.refresh().await;
        let engine = &self.engine;
        let answer = async {
            match request {
                TrustRequest::Grant {
                    public_key,
                    key,
                    until,
                    hosts,
                } => {
                    let grant = Grant {
                        public_key,
                        key,
                        until,
                        hosts,
                    };
                    engine.grant(grant).await.map(TrustAnswer::Granted)
                }
                TrustRequest::FollowRevocation { selector, hosts } => {
                    let revoked = engine.follow_revocation(selector, hosts).await;
                    revoked.map(|revoked| TrustAnswer::Revoked {
                        revoked,
                        own: Vec::new(),
                    })
                }
                TrustRequest::NoteRevocation {
                    selector,
                    hosts,
                    accept_loss,
                } => {
                    let noted = engine.note_revocation(selector, hosts, accept_loss).await;
                    noted.map(|()| TrustAnswer::Noted)
                }
                TrustRequest::PreviewRevocation {
                    selector,
                    hosts,
                    accept_loss,
                } => {
                    let preview = engine.preview_revocation(selector, hosts, accept_loss).await;
                    preview.map(TrustAnswer::Previewed)
                }
                TrustRequest::Recover { hosts } => engine.recover(hosts).await.map(TrustAnswer::Recovered),
                TrustRequest::Revoke {
                    selector,
                    hosts,
                    accept_loss,
                } => {
                    let revoked = engine.revoke(selector, hosts, accept_loss).await;
                    revoked.map(|(revoked, own)| TrustAnswer::Revoked { revoked, own })
                }
            }
        };
        match timeout(HOST_TIME, answer).await {
            _ if self.engine_ended.get().is_some() => self.ended(),
            Ok(Ok(answer)) => Answer::Trust(answer),
            Ok(Err(refusal)) => Answer::Refused(refusal.to_string()),
            Err(_) => Answer::Trust(TrustAnswer::UnderWay),
        }
    }
}

/// A person waits; a client waits a little longer.
const HOST_TIME: Duration = Duration::from_secs(120);
