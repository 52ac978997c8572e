//! Clients that have not said yet what they want.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until};

/// The tasks that wait for a request, the oldest first. When they are too many, those that have said nothing for
/// [`PATIENCE`] go, so that connections which are opened and left keep nobody out.
#[derive(Default)]
pub(super) struct Silent(VecDeque<(Instant, AbortHandle)>);

impl Silent {
    pub(super) fn add(&mut self, task: JoinHandle<()>) {
        self.0.push_back((Instant::now(), task.abort_handle()));
    }

    /// Waits until there is a place for one more.
    pub(super) async fn make_room(&mut self) {
        self.0.retain(|(_, task)| !task.is_finished());
        while self.0.len() >= MAX_SILENT {
            let Some((since, task)) = self.0.pop_front() else {
                return;
            };
            // A client says what it wants as soon as it is there; it may be a busy machine.
            sleep_until(since + PATIENCE).await;
            task.abort();
            self.0.retain(|(_, task)| !task.is_finished());
        }
    }
}

const MAX_SILENT: usize = 64;
const PATIENCE: Duration = Duration::from_millis(100);
