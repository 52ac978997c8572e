//! Work that takes long enough to be kept off the threads that serve clients.

use crate::message::Refusal;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Runs at most so many jobs at a time, the others wait in order. A job runs to its end even if nobody waits any more.
pub(crate) struct Pool {
    places: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// # Errors
    /// [`Refusal::WorkLost`] if the job panicked or the runtime is shutting down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| Refusal::WorkLost)?;
        let run = move || {
            let outcome = job();
            drop(place);
            outcome
        };
        tokio::task::spawn_blocking(run)
            .await
            .map_err(|_| Refusal::WorkLost)
    }
}
