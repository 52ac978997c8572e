//! The answering side, in the daemon.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use keyferry_agent::Listener;
use keyferry_engine::desired::{Desired, Standstill};
use keyferry_engine::engine::EngineHandle;
use keyferry_engine::snapshot::{KeyState, Snapshot, StatusError, StrayPair};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

mod adopt;
mod attach;
mod exec;
mod plugins;
mod questions;
mod rotation;
mod silent;
mod trust;

use super::{Answer, MAX_REQUEST, Request};
use crate::catalogue::Catalogue;
use crate::clouds::Couriers;
use crate::hosts::SshHosts;
use crate::prompts::Desk;
pub(crate) use plugins::SeenPlugins;
use silent::Silent;

/// What the answers are made of.
pub(crate) struct Control {
    /// The agent's socket.
    pub(crate) agent_socket: PathBuf,
    /// The config directory.
    pub(crate) config_directory: PathBuf,
    /// What the config directory asks for.
    pub(crate) desired: watch::Receiver<Arc<Desired>>,
    /// Logins on hosts.
    pub(crate) hosts: Arc<SshHosts>,
    /// Passes questions of ssh on.
    pub(crate) questions: Desk,
    /// The state directory, for the history.
    pub(crate) state_directory: PathBuf,
    /// The engine.
    pub(crate) engine: EngineHandle,
    /// Why the engine has ended, if it has: then nothing new is made, and the agent goes on.
    pub(crate) engine_ended: Arc<OnceLock<String>>,
    /// The couriers, for looks at accounts.
    pub(crate) couriers: Arc<Couriers>,
    /// The plugins.
    pub(crate) catalogue: Arc<Catalogue>,
    /// What was last seen of them.
    pub(crate) plugins: SeenPlugins,
    /// Has the config directory read again.
    pub(crate) rescan: mpsc::Sender<oneshot::Sender<()>>,
}

/// Answers clients, each on a task of its own, until the future is dropped.
pub(crate) async fn serve(listener: Listener, control: Arc<Control>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut silent = Silent::default();
    loop {
        silent.make_room().await;
        match listener.accept_own().await {
            Ok(Some(stream)) => {
                let control = Arc::clone(&control);
                let places = Arc::clone(&places);
                silent.add(tokio::spawn(async move {
                    if let Ok(received) = Received::from(stream).await {
                        tokio::spawn(answer(control, received, places));
                    }
                }));
            }
            // Somebody else's process: refused, and logged where it was.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(control: Arc<Control>, mut received: Received, places: Arc<Semaphore>) {
    let answered = match places.try_acquire() {
        Ok(_place) => control.converse(received).await,
        Err(_) => {
            let why = format!(
                "{MAX_CLIENTS} commands talk with the daemon already: end some of them, and try again"
            );
            write(&mut received.writing, &Answer::Refused(why)).await
        }
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "a control client went away");
    }
}

/// A client's request, and the way back.
struct Received {
    line: Vec<u8>,
    reader: BufReader<tokio::io::Take<OwnedReadHalf>>,
    writing: OwnedWriteHalf,
}

impl Received {
    async fn from(stream: UnixStream) -> std::io::Result<Self> {
        let (reading, writing) = stream.into_split();
        let mut line = Vec::new();
        let mut reader = BufReader::new(reading.take(MAX_REQUEST));
        timeout(REQUEST_TIME, reader.read_until(b'\n', &mut line)).await??;
        Ok(Self {
            line,
            reader,
            writing,
        })
    }
}

impl Control {
    async fn converse(&self, received: Received) -> std::io::Result<()> {
        let Received {
            line,
            reader,
            mut writing,
        } = received;
        let request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(_) if line.len() as u64 >= MAX_REQUEST => {
                let answer =
                    Answer::Refused("the request is too long: name fewer keys, or none for all".to_owned());
                return write(&mut writing, &answer).await;
            }
            Err(error) => {
                let answer = Answer::Refused(format!("the request is not understood: {error}"));
                return write(&mut writing, &answer).await;
            }
        };
        if let Some(why) = self.standstill(&request).await {
            return write(&mut writing, &Answer::Refused(why.to_string())).await;
        }
        match request {
            Request::Adopt(request) => self.adopt(request, &mut writing).await,
            Request::Attach(request) => {
                let answer = self.about_attaching(request).await;
                write(&mut writing, &answer).await
            }
            Request::CheckAccounts { name } => {
                let answer = match self.couriers.check(name.as_deref()).await {
                    Ok(reports) => Answer::AccountsChecked(reports),
                    Err(why) => Answer::Refused(why),
                };
                write(&mut writing, &answer).await
            }
            Request::DeleteOrphans { pairs } => {
                let answer = self.delete_orphans(pairs).await;
                write(&mut writing, &answer).await
            }
            Request::Survey { names } => {
                let answer = self.survey(names).await;
                write(&mut writing, &answer).await
            }
            Request::Exec(request) => {
                let reading = reader.into_inner().into_inner();
                self.exec(request, &reading, &mut writing).await
            }
            Request::Questions { keys, hosts } => {
                // Answers go past every buffer that is not wiped.
                let reading = reader.into_inner().into_inner();
                self.pass_questions_on(keys, hosts, reading, &mut writing).await
            }
            Request::Resume { keys } => {
                let answer = self.resume(keys).await;
                write(&mut writing, &answer).await
            }
            Request::Status => {
                self.engine.refresh().await;
                let snapshot = self.snapshot().await;
                write(&mut writing, &Answer::Status(snapshot)).await
            }
            Request::Retire {
                key,
                accept_loss,
                timeout_ms,
            } => {
                let time = timeout_ms.map(Duration::from_millis);
                self.retire(key, accept_loss, time, &mut writing).await
            }
            Request::Rotate { keys, timeout_ms } => {
                let time = timeout_ms.map(Duration::from_millis);
                self.rotate(keys, time, &mut writing).await
            }
            Request::ForgetHost { .. }
            | Request::GiveUpInstances { .. }
            | Request::History { .. }
            | Request::Hold { .. }
            | Request::Plan { .. }
            | Request::PlanToRetire { .. }
            | Request::RetryHosts { .. }
            | Request::Rollback { .. }
            | Request::TrustHost { .. } => {
                let answer = self.about_rotation(request).await;
                write(&mut writing, &answer).await
            }
            Request::Trust(request) => {
                let answer = self.about_trust(request).await;
                write(&mut writing, &answer).await
            }
            Request::Wait { timeout_ms } => self.wait(Duration::from_millis(timeout_ms), &mut writing).await,
        }
    }

    /// Why what is asked cannot be begun now; none: it can, or an engine that has ended has the word.
    async fn standstill(&self, request: &Request) -> Option<Standstill> {
        let acts = match request {
            Request::Adopt(_)
            | Request::Attach(_)
            | Request::CheckAccounts { .. }
            | Request::DeleteOrphans { .. }
            | Request::Exec(_)
            | Request::Plan { .. }
            | Request::PlanToRetire { .. }
            | Request::Retire { .. }
            | Request::RetryHosts { .. }
            | Request::Rollback { .. }
            | Request::Rotate { .. }
            | Request::Survey { .. }
            | Request::Trust(_)
            | Request::TrustHost { .. } => true,
            Request::ForgetHost { .. }
            | Request::GiveUpInstances { .. }
            | Request::History { .. }
            | Request::Hold { .. }
            | Request::Questions { .. }
            | Request::Resume { .. }
            | Request::Status
            | Request::Wait { .. } => false,
        };
        if !acts || self.engine_ended.get().is_some() {
            return None;
        }
        if self.desired.borrow().standstill().is_some() {
            // It may have been mended a moment ago.
            self.read_again().await;
        }
        self.desired.borrow().standstill()
    }

    async fn resume(&self, keys: Vec<String>) -> Answer {
        match self.engine.resume(keys).await {
            _ if self.engine_ended.get().is_some() => self.ended(),
            Ok(resumed) => Answer::Resumed(resumed),
            Err(refusal) => Answer::Refused(refusal.to_string()),
        }
    }

    /// Reads the files again too: whoever asks to look means what is written there now.
    async fn survey(&self, names: Vec<String>) -> Answer {
        if self.engine_ended.get().is_some() {
            return self.ended();
        }
        self.read_again().await;
        let reports = match timeout(CLOUD_TIME, self.engine.survey(names)).await {
            _ if self.engine_ended.get().is_some() => return self.ended(),
            Ok(Ok(reports)) => reports,
            Ok(Err(error)) => {
                return Answer::Refused(format!("{error}; `keyferry status --json` lists both"));
            }
            Err(_) => {
                return Answer::Refused(
                    "the providers take long to answer, and are still being asked; `keyferry status` shows what is found"
                        .to_owned(),
                );
            }
        };
        self.engine.refresh().await;
        let snapshot = Box::new(self.current());
        Answer::Surveyed { reports, snapshot }
    }

    /// Has the config directory read. What takes longer than a moment is not waited for: what is known so far counts.
    async fn read_again(&self) {
        let _ = timeout(READ_TIME, self.reread()).await;
    }

    async fn reread(&self) {
        let (asked, read_again) = oneshot::channel();
        if self.rescan.send(asked).await.is_ok() {
            let _ = read_again.await;
        }
    }

    async fn delete_orphans(&self, pairs: Vec<StrayPair>) -> Answer {
        match timeout(CLOUD_TIME, self.engine.delete_orphans(pairs)).await {
            _ if self.engine_ended.get().is_some() => self.ended(),
            Ok(results) => Answer::OrphansDeleted(results),
            Err(_) => Answer::Refused(
                "the provider takes long to answer, and the deletions go on; run keyferry orphans again"
                    .to_owned(),
            ),
        }
    }

    fn ended(&self) -> Answer {
        let reason = self.engine_ended.get().map_or("the engine ended", String::as_str);
        Answer::Refused(format!(
            "{reason}; loaded keys go on serving; start keyferry again when you can do without them for a moment"
        ))
    }

    async fn wait(&self, time: Duration, writing: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<()> {
        let end = Instant::now() + time.min(MAX_WAIT);
        if timeout_at(end.max(Instant::now() + READ_TIME), self.reread())
            .await
            .is_err()
        {
            return write(writing, &Answer::TimedOut(self.snapshot().await)).await;
        }
        self.engine.refresh().await;
        // A key may settle by time alone: when its next try moves further away than a moment ago it has changed, and when its
        // next try comes it changes too. So changes are all there is to wait for.
        let is_over = |current: &Snapshot| current.settled(SystemTime::now());
        let shown = || Box::new(self.current());
        let answer = match self.tell_until(end, is_over, shown, writing).await? {
            Some(answer) => answer(self.snapshot().await),
            None => self.ended(),
        };
        write(writing, &answer).await
    }

    /// Tells how it goes until it is over, or the time is: gives what the last answer is made with. None: the engine has ended.
    async fn tell_until(
        &self,
        end: Instant,
        is_over: impl Fn(&Snapshot) -> bool,
        shown: impl Fn() -> Box<Snapshot>,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<Option<fn(Box<Snapshot>) -> Answer>> {
        let mut snapshots = self.engine.snapshots();
        let mut told = Instant::now();
        loop {
            snapshots.mark_unchanged();
            if is_over(&self.current()) {
                return Ok(Some(Answer::Status));
            }
            match timeout_at(end.min(Instant::now() + HEARTBEAT), snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(None),
                // Whether somebody still waits shows only when something is said.
                Err(_) if Instant::now() < end => {}
                Err(_) => return Ok(Some(Answer::TimedOut)),
            }
            if told.elapsed() >= PROGRESS_PAUSE {
                told = Instant::now();
                write(writing, &Answer::Progress(shown())).await?;
            }
        }
    }

    /// What the engine says; if it has ended, that.
    fn current(&self) -> Snapshot {
        let mut snapshot = Snapshot::clone(&self.engine.snapshots().borrow());
        if let Some(reason) = self.engine_ended.get() {
            for key in &mut snapshot.keys {
                if !matches!(key.state, KeyState::Held | KeyState::Loaded) {
                    key.state = KeyState::Failed;
                }
                key.error = Some(StatusError {
                    kind: "internal".to_owned(),
                    code: None,
                    message: reason.clone(),
                    request_id: None,
                    remedy: Some(
                        "loaded keys go on serving; start keyferry again when you can do without them for a moment"
                            .to_owned(),
                    ),
                    retry_at: None,
                });
            }
        }
        snapshot
    }

    async fn snapshot(&self) -> Box<Snapshot> {
        let mut snapshot = self.current();
        snapshot.plugins = self.plugins.statuses(&self.catalogue).await;
        Box::new(snapshot)
    }
}

async fn write(writing: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(WRITE_TIME, writing.write_all(&line)).await?
}

/// Commands that wait or run count for as long as they do.
const MAX_CLIENTS: usize = 256;
/// Two requests of a courier at their longest; a client waits a little longer.
const CLOUD_TIME: Duration = Duration::from_secs(130);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const REQUEST_TIME: Duration = Duration::from_secs(5);
const WRITE_TIME: Duration = Duration::from_secs(10);
/// How long a client that went away may keep its place.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// What reading the config directory may take however little time the client has.
const READ_TIME: Duration = Duration::from_secs(5);
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);
/// A day: longer than anybody waits, and short enough for a clock.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
