//! The worker's side of a courier: starts the process, gives it jobs, and answers what it needs.

use std::collections::HashMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_plugin::contract::{Effect, Pair};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::job::{JobError, JobRequest, JobResult};
use crate::setup::{Launch, Setup};
use crate::wire::{self, FromCourier, ToCourier};

mod command;
mod needs;
mod stderr;
mod streams;

pub use needs::{Environment, Hooks};

/// A courier process and the line to it.
///
/// When this is dropped the process is killed. It is reaped in any case.
#[derive(Debug)]
pub struct Courier {
    inner: Arc<Inner>,
    process_id: Option<u32>,
    /// Dropped to have the process killed.
    _kill: oneshot::Sender<()>,
    ended: watch::Receiver<bool>,
}

impl Courier {
    /// Starts a courier. It must be called within a tokio runtime and does not block; a setup that the courier refuses
    /// is the error of its jobs.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(launch: &Launch, setup: Setup, hooks: Hooks) -> std::io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let socket = UnixStream::from_std(ours)?;
        let first =
            wire::encode(&ToCourier::Setup(Box::new(setup.clone()))).map_err(std::io::Error::other)?;
        let mut child = Command::new(&launch.program)
            .args(&launch.args)
            .env_clear()
            .envs(
                ENVIRONMENT
                    .iter()
                    .filter_map(|name| std::env::var_os(name).map(|value| (name, value))),
            )
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own: a terminal's interrupt is for the daemon, which ends its couriers in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(output) = child.stderr.take() {
            tokio::spawn(stderr::drain(output, setup.account.name.clone()));
        }
        let process_id = child.id();
        let (outgoing, frames) = mpsc::unbounded_channel();
        // The receiver is alive: it is `frames`.
        let _ = outgoing.send(Outgoing::from(first));
        let inner = Arc::new(Inner {
            account: setup.account.name.clone(),
            outgoing,
            state: Mutex::new(State::default()),
            next: AtomicU64::new(1),
        });
        let (kill, killed) = oneshot::channel();
        let (ending, ended) = watch::channel(false);
        let (reader, writer) = socket.into_split();
        tokio::spawn(streams::write(writer, frames));
        let conversation = streams::Conversation {
            inner: Arc::clone(&inner),
            start_time: setup.limits.start_time,
            needs: needs::Needs::new(setup, hooks, inner.outgoing.clone()),
        };
        tokio::spawn(conversation.hold(reader, child, killed, ending));
        Ok(Self {
            inner,
            process_id,
            _kill: kill,
            ended,
        })
    }

    /// Runs a job. Jobs run side by side, as many as the setup allows; the others wait. Dropping the future cancels
    /// the job, after the request that it may be sending.
    ///
    /// # Errors
    /// [`JobError`]; its [effect](JobError::effect) says whether the operation may have taken effect all the same.
    pub fn run(
        &self,
        request: JobRequest,
    ) -> impl Future<Output = Result<JobResult, JobError>> + Send + 'static {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        // Made here, not when the future is first polled: it may be dropped before that.
        let started = self.inner.start(id, request).map(|result| {
            let guard = CancelOnDrop {
                inner: Arc::clone(&self.inner),
                id,
                armed: true,
            };
            (result, guard)
        });
        async move {
            let (result, mut guard) = started?;
            let outcome = result.await;
            guard.armed = false;
            // The sender is kept with the job and dropped only together with the courier's state.
            outcome.unwrap_or_else(|_| {
                Err(JobError::Lost {
                    message: "the courier is gone".to_owned(),
                    effect: Effect::Unknown,
                })
            })
        }
    }

    /// The process's id.
    pub fn process_id(&self) -> Option<u32> {
        self.process_id
    }

    /// Seconds that this machine's clock is behind the provider's, as its last reply told; negative: ahead. None before a job
    /// has ended for which the provider replied.
    pub fn clock_behind(&self) -> Option<i64> {
        self.inner.state().clock_behind
    }

    /// Whether no job runs or waits.
    pub fn idle(&self) -> bool {
        self.inner.state().jobs.is_empty()
    }

    /// Whether the process has ended; every further job fails.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Ends the process and waits until it is reaped. Its jobs are [lost](JobError::Lost).
    pub async fn shutdown(self) {
        let Self {
            inner,
            process_id: _,
            _kill,
            mut ended,
        } = self;
        inner.close("the courier was ended");
        drop(_kill);
        // An error means that the task is over, and so is the process.
        let _ = ended.wait_for(|&ended| ended).await;
    }
}

/// What jobs, tasks and handle share.
#[derive(Debug)]
struct Inner {
    account: String,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    state: Mutex<State>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<u64, Running>,
    /// Why nothing more is taken on.
    closed: Option<Closed>,
    clock_behind: Option<i64>,
}

#[derive(Clone, Debug)]
enum Closed {
    Lost(String),
    Setup(String),
}

/// A job that the courier has.
#[derive(Debug)]
struct Running {
    result: oneshot::Sender<Result<JobResult, JobError>>,
    emitted: Vec<Pair>,
    /// A request that changes something may have left.
    sending: bool,
}

/// A frame and the descriptors that go with it.
#[derive(Debug)]
struct Outgoing {
    whole: Zeroizing<Vec<u8>>,
    descriptors: Vec<OwnedFd>,
}

impl From<Zeroizing<Vec<u8>>> for Outgoing {
    fn from(whole: Zeroizing<Vec<u8>>) -> Self {
        Self {
            whole,
            descriptors: Vec::new(),
        }
    }
}

impl Inner {
    fn start(
        &self,
        id: u64,
        request: JobRequest,
    ) -> Result<oneshot::Receiver<Result<JobResult, JobError>>, JobError> {
        let whole = wire::encode(&ToCourier::Job {
            id,
            request: Box::new(request),
        })
        .map_err(|error| JobError::Setup {
            message: format!("the job cannot be given to the courier: {error}"),
        })?;
        let (result, receiver) = oneshot::channel();
        let mut state = self.state();
        match &state.closed {
            Some(Closed::Setup(message)) => {
                return Err(JobError::Setup {
                    message: message.clone(),
                });
            }
            Some(Closed::Lost(message)) => {
                return Err(JobError::Lost {
                    message: message.clone(),
                    effect: Effect::None,
                });
            }
            None => {}
        }
        let running = Running {
            result,
            emitted: Vec::new(),
            sending: false,
        };
        state.jobs.insert(id, running);
        drop(state);
        // When the writer is gone, so is the process, and the job is lost with the others.
        let _ = self.outgoing.send(Outgoing::from(whole));
        Ok(receiver)
    }

    /// A message of the courier that is about jobs.
    fn received(&self, message: FromCourier) {
        let mut state = self.state();
        match message {
            FromCourier::Sending { id } => {
                if let Some(job) = state.jobs.get_mut(&id) {
                    job.sending = true;
                }
            }
            FromCourier::Emitted { id, pairs } => {
                if let Some(job) = state.jobs.get_mut(&id) {
                    job.emitted.extend(pairs);
                }
            }
            FromCourier::Finished {
                id,
                result,
                clock_behind,
            } => {
                state.clock_behind = clock_behind.or(state.clock_behind);
                if let Some(job) = state.jobs.remove(&id) {
                    let result = result.map(|result| match result {
                        JobResult::Pairs(rest) => {
                            JobResult::Pairs(job.emitted.into_iter().chain(rest).collect())
                        }
                        other => other,
                    });
                    // Whoever waited may have gone.
                    let _ = job.result.send(result);
                }
            }
            FromCourier::SetupFailed { message } => {
                state.closed = Some(Closed::Setup(message.clone()));
                for (_, job) in state.jobs.drain() {
                    let _ = job.result.send(Err(JobError::Setup {
                        message: message.clone(),
                    }));
                }
            }
            FromCourier::Ready | FromCourier::NeedVariables { .. } | FromCourier::NeedCommand { .. } => {}
        }
    }

    /// All jobs are lost, and no other is taken on.
    fn close(&self, message: &str) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.closed = Some(Closed::Lost(message.to_owned()));
        }
        for (_, job) in state.jobs.drain() {
            let effect = if job.sending {
                Effect::Unknown
            } else {
                Effect::None
            };
            let message = format!("{message} before the job was done");
            let _ = job.result.send(Err(JobError::Lost { message, effect }));
        }
    }

    /// Nothing that panics runs under this lock.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the courier that nobody waits for a job any more.
struct CancelOnDrop {
    inner: Arc<Inner>,
    id: u64,
    armed: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.inner.state().jobs.remove(&self.id);
        if let Ok(whole) = wire::encode(&ToCourier::Cancel { id: self.id }) {
            let _ = self.inner.outgoing.send(Outgoing::from(whole));
        }
    }
}

/// Reaps the process; how it ended, in words.
async fn end(child: &mut Child) -> String {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Err(error) => format!("the courier ended ({error})"),
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("the courier was ended by signal {signal}"),
            (None, Some(0)) => "the courier ended".to_owned(),
            (None, code) => format!(
                "the courier failed (exit status {}, its last words are in the log)",
                code.unwrap_or(-1)
            ),
        },
    }
}

/// Where TLS finds the system's certificate authorities, on systems that keep them elsewhere. Nothing else is passed on.
const ENVIRONMENT: [&str; 2] = ["SSL_CERT_DIR", "SSL_CERT_FILE"];
