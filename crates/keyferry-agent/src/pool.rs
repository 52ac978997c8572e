//! Work that takes long enough to be kept off the threads that serve clients.
//!
//! The threads are plain ones with a queue of their own: a thread that ends a job takes the next one at once.
//! Through tokio's blocking pool behind a semaphore every job would first wait for a serving thread to hand
//! it over.

use crate::message::Refusal;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::oneshot;

/// Runs at most so many jobs at a time, the others wait in order. A job runs to its end even if nobody waits
/// any more. Threads start when there is work for them and stay, asleep, until the pool is dropped.
pub(crate) struct Pool {
    name: &'static str,
    limit: usize,
    shared: Arc<Shared>,
}

impl Pool {
    pub(crate) fn new(name: &'static str, limit: usize) -> Self {
        Self {
            name,
            limit,
            shared: Arc::default(),
        }
    }

    /// # Errors
    /// [`Refusal::WorkLost`] if the job panicked, or no thread can be started and there is none.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, outcome) = oneshot::channel();
        self.push(Box::new(move || {
            // Fails when nobody waits any more, and then nobody is missing anything.
            let _ = sender.send(job());
        }));
        outcome.await.map_err(|_| Refusal::WorkLost)
    }

    fn push(&self, job: Job) {
        let mut state = self.shared.state();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            drop(state);
            self.shared.ready.notify_one();
        } else if state.threads < self.limit {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new()
                .name(self.name.to_owned())
                .spawn(move || shared.work())
            {
                Ok(_) => state.threads += 1,
                Err(error) => {
                    tracing::warn!(%error, "cannot start a thread to sign");
                    if state.threads == 0 {
                        state.jobs.clear();
                    }
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.ready.notify_all();
    }
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
    is_closed: bool,
}

impl Shared {
    /// What each thread does.
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A panic costs the one who asked for this job, whose end of the channel closes; and nobody
                // else.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
            } else if state.is_closed {
                return;
            } else {
                state.idle += 1;
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_panic_costs_one_job_only() {
        let pool = Pool::new("test", 1);
        let lost = pool.run(|| panic!("on purpose")).await;
        assert!(matches!(lost, Err::<(), _>(Refusal::WorkLost)));
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn jobs_run_side_by_side_up_to_the_limit() {
        let pool = Arc::new(Pool::new("test", 2));
        // Both must be there at once for either to end.
        let both = Arc::new(Barrier::new(2));
        let meet = || {
            let both = Arc::clone(&both);
            pool.run(move || both.wait().is_leader())
        };
        let (first, second) = tokio::join!(meet(), meet());
        assert_ne!(first.unwrap(), second.unwrap());

        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs: Vec<_> = (0..50)
            .map(|_| {
                let (pool, now, most) = (Arc::clone(&pool), Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    let count = move || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    };
                    pool.run(count).await.unwrap();
                })
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn a_dropped_pool_ends_its_threads_and_no_sooner_than_their_jobs() {
        let pool = Pool::new("test", 2);
        pool.run(|| ()).await.unwrap();
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        while shared.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
