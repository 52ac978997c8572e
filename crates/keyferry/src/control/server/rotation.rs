//! Answers about rotations, hosts and history.

use std::time::{Duration, SystemTime};

use keyferry_engine::ledger;
use keyferry_engine::snapshot::{RotationAsked, Snapshot, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{Answer, Control, MAX_WAIT, Request, write};
use crate::history;
use crate::rotation::course::{self, Course};

impl Control {
    /// Requests with one answer.
    pub(super) async fn about_rotation(&self, request: Request) -> Answer {
        if let Request::History { key, since } = request {
            return self.history(key, since).await;
        }
        if self.engine_ended.get().is_some() {
            return self.ended();
        }
        // What is asked is meant of the files as they are now.
        self.read_again().await;
        let engine = &self.engine;
        let answer = match request {
            Request::ForgetHost { host, force } => {
                engine.host_forget(host, force).await.map(Answer::HostForgotten)
            }
            Request::GiveUpInstances { key, instances } => engine
                .give_up_instances(key, instances)
                .await
                .map(|()| Answer::Noted),
            Request::Hold { keys, until, reason } => {
                engine.pause(keys, until, reason).await.map(|()| Answer::Noted)
            }
            Request::Plan { keys } => engine.plan(keys).await.map(Answer::Planned),
            Request::PlanToRetire { key, accept_loss } => {
                engine.plan_to_retire(key, accept_loss).await.map(Answer::Planned)
            }
            Request::RetryHosts { hosts } => engine.host_retry(hosts).await.map(Answer::HostsTried),
            Request::Rollback { key } => engine.rollback(key).await.map(Answer::RolledBack),
            Request::TrustHost { host } => engine.host_trust(host).await.map(Answer::HostsTried),
            // Answered elsewhere.
            other => return Answer::Refused(format!("the request is not understood: {other:?}")),
        };
        answer.unwrap_or_else(|refusal| Answer::Refused(refusal.to_string()))
    }

    async fn history(&self, key: Option<String>, since: Option<Timestamp>) -> Answer {
        let directory = self.state_directory.clone();
        // Reading takes the disk's time, not this thread's.
        let read = tokio::task::spawn_blocking(move || {
            let history = ledger::read_history(&directory).map_err(|error| error.to_string())?;
            history::known(&history, key.as_deref())?;
            Ok::<_, String>(history::excerpt(&history, key.as_deref(), since))
        });
        match read.await {
            Ok(Ok(excerpt)) => Answer::History(excerpt),
            Ok(Err(refusal)) => Answer::Refused(refusal),
            Err(error) => Answer::Refused(format!("the history could not be read: {error}")),
        }
    }

    /// Asks for rotations, and tells how they go for that long.
    pub(super) async fn rotate(
        &self,
        keys: Vec<String>,
        time: Option<Duration>,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        if self.engine_ended.get().is_some() {
            return write(writing, &self.ended()).await;
        }
        self.read_again().await;
        let asked = match self.engine.rotate(keys).await {
            Ok(asked) => asked,
            Err(refusal) => return write(writing, &Answer::Refused(refusal.to_string())).await,
        };
        self.engine.refresh().await;
        let answer = Answer::Rotating {
            asked: asked.clone(),
            snapshot: self.current_of(&asked),
        };
        write(writing, &answer).await?;
        let Some(time) = time else { return Ok(()) };
        let until = SystemTime::now() + time.min(MAX_WAIT);
        let is_over = |current: &Snapshot| {
            let now = SystemTime::now();
            let mut courses = asked.iter().map(|asked| course::of(asked, current, now, until));
            courses.all(|course| course != Course::UnderWay)
        };
        self.follow(&asked, time, is_over, writing).await
    }

    /// Has a key taken off its hosts, and tells how that goes for that long.
    pub(super) async fn retire(
        &self,
        key: String,
        accept_loss: Vec<String>,
        time: Option<Duration>,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        if self.engine_ended.get().is_some() {
            return write(writing, &self.ended()).await;
        }
        self.read_again().await;
        if let Err(refusal) = self.engine.retire(key.clone(), accept_loss).await {
            return write(writing, &Answer::Refused(refusal.to_string())).await;
        }
        self.engine.refresh().await;
        write(writing, &Answer::Noted).await?;
        let Some(time) = time else { return Ok(()) };
        let asked = [RotationAsked {
            key,
            from: 0,
            waiting: None,
        }];
        let is_over = |current: &Snapshot| {
            let course = course::of_retirement(&asked[0].key, current, SystemTime::now());
            course != Course::UnderWay
        };
        self.follow(&asked, time, is_over, writing).await
    }

    /// Tells how keys fare until it is over, or the time is.
    pub(super) async fn follow(
        &self,
        asked: &[RotationAsked],
        time: Duration,
        is_over: impl Fn(&Snapshot) -> bool,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        let end = Instant::now() + time.min(MAX_WAIT);
        let shown = || self.current_of(asked);
        let answer = match self.tell_until(end, is_over, shown, writing).await? {
            Some(answer) => answer(shown()),
            None => self.ended(),
        };
        write(writing, &answer).await
    }

    /// How the keys are that a rotation was asked for.
    fn current_of(&self, asked: &[RotationAsked]) -> Box<Snapshot> {
        let mut snapshot = self.current();
        snapshot
            .keys
            .retain(|key| asked.iter().any(|asked| asked.key == key.name));
        Box::new(snapshot)
    }
}
