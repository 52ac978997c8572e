//! Answers about attaching pairs to instances.

use tokio::time::timeout;

use super::{CLOUD_TIME, Control};
use crate::control::Answer;
use crate::control::attach::{AttachAnswer, AttachRequest};

impl Control {
    pub(super) async fn about_attaching(&self, request: AttachRequest) -> Answer {
        if self.engine_ended.get().is_some() {
            return self.ended();
        }
        self.read_again().await;
        // The engine has to have seen what was read.
        self.engine.refresh().await;
        let answer = async {
            match request {
                AttachRequest::Attach { agreed } => {
                    self.engine.attach(agreed).await.map(AttachAnswer::Attached)
                }
                AttachRequest::Preview(asked) => {
                    let preview = self.engine.preview_attaching(asked).await;
                    preview.map(AttachAnswer::Previewed)
                }
            }
        };
        match timeout(CLOUD_TIME, answer).await {
            _ if self.engine_ended.get().is_some() => self.ended(),
            Ok(Ok(answer)) => Answer::Attach(answer),
            Ok(Err(refusal)) => Answer::Refused(refusal.to_string()),
            Err(_) => Answer::Attach(AttachAnswer::UnderWay),
        }
    }
}
