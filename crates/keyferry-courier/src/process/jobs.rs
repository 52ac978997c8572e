//! Jobs side by side: as many threads as the account allows, started when they are needed.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use keyferry_plugin::contract::Effect;

use super::Shared;
use crate::job::{JobError, JobRequest, JobResult};
use crate::operation::Job;
use crate::wire::FromCourier;

/// The jobs of a courier.
pub(super) struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Of all jobs, waiting or running.
    cancelled: HashMap<u64, Arc<AtomicBool>>,
    threads: usize,
    idle: usize,
}

impl Jobs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared,
                state: Mutex::default(),
                more: Condvar::new(),
            }),
        }
    }

    /// Takes a job on. It begins when a thread is free.
    pub(super) fn start(&self, id: u64, request: JobRequest) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut state = self.inner.state();
        state.cancelled.insert(id, Arc::clone(&cancelled));
        state.waiting.push_back(Job {
            id,
            request,
            cancelled,
        });
        if state.idle < state.waiting.len()
            && state.threads < self.inner.shared.setup.limits.max_concurrent.max(1)
        {
            let inner = Arc::clone(&self.inner);
            // Without a new thread those that are there take the job; without any, it is said.
            match std::thread::Builder::new()
                .name("job".to_owned())
                .spawn(move || inner.work())
            {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    let message = format!("cannot start a thread: {error}");
                    state.waiting.pop_back();
                    drop(state);
                    self.inner.finished(id, Err(JobError::Setup { message }));
                    return;
                }
                Err(_) => {}
            }
        }
        self.inner.more.notify_one();
    }

    /// Drops a waiting job, and lets a running one end after the request that it is sending.
    pub(super) fn cancel(&self, id: u64) {
        let mut state = self.inner.state();
        if let Some(cancelled) = state.cancelled.remove(&id) {
            cancelled.store(true, Ordering::Relaxed);
        }
        state.waiting.retain(|job| job.id != id);
    }
}

impl Inner {
    fn work(&self) {
        loop {
            let job = self.next();
            let run = AssertUnwindSafe(|| job.run(&self.shared));
            let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
                Err(JobError::Lost {
                    message: "the courier had an internal error, which its log places: report it to the authors of keyferry".to_owned(),
                    effect: Effect::Unknown,
                })
            });
            self.state().cancelled.remove(&job.id);
            self.finished(job.id, result);
        }
    }

    fn finished(&self, id: u64, result: Result<JobResult, JobError>) {
        let line = &self.shared.line;
        let clock_behind = self.shared.client.clock.behind();
        let finished = |result| FromCourier::Finished {
            id,
            result,
            clock_behind,
        };
        if let Err(error) = line.send(&finished(result)) {
            let result = Err(JobError::Plugin {
                message: format!(
                    "plugin {} made a result that cannot be passed on: {error}",
                    self.shared.setup.library.name
                ),
                effect: Effect::Unknown,
            });
            // This one is short.
            let _ = line.send(&finished(result));
        }
    }

    fn next(&self) -> Job {
        let mut state = self.state();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                return job;
            }
            state.idle += 1;
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Nothing that panics runs under this lock.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
