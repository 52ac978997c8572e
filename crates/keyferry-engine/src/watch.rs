//! Watching the config directory: every change is read, and nothing wakes up while there is none.
//!
//! [`run`] is the one task. It reads on a blocking thread, publishes what the files ask for, and waits for the
//! operating system to report a change, for somebody to ask for a rescan, or, where no watch can be had, for two
//! seconds to pass.
//!
//! What is not seen by itself: a folder above the config directory's parent that is renamed, and a file system
//! that is mounted over it. Asking for a rescan finds those.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::config::{self, Plugins, Problem, State};
use crate::desired::{Desired, FileReport, FileState};

mod places;
mod watcher;

use places::Places;
use watcher::{Ear, Watcher, open};

/// Plugins as the watching task holds them.
pub type SharedPlugins = Arc<dyn Plugins + Send + Sync>;

/// Reads the config directory, publishes what it asks for, and goes on doing so whenever something changes.
///
/// The first reading is always published, the later ones where they differ. Each request that arrives on `rescan`
/// is answered after a reading that began later has been published. Ends when all senders of `rescan` or all
/// receivers of `tx` are gone.
pub async fn run(
    dir: PathBuf,
    plugins: SharedPlugins,
    tx: watch::Sender<Arc<Desired>>,
    rescan: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let changed = Arc::new(Notify::new());
    let watcher = Watcher::new(Ear::new(Arc::clone(&changed)), open);
    run_with(Reading::new(dir, plugins, watcher), &changed, tx, rescan).await;
}

async fn run_with(
    reading: Reading,
    changed: &Notify,
    tx: watch::Sender<Arc<Desired>>,
    mut rescan: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut reading = reading;
    let mut first = true;
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    loop {
        // What could have gone unnoticed is what somebody asks for.
        let doubt = !waiting.is_empty();
        let task = spawn_blocking(move || {
            reading.round(doubt);
            reading
        });
        reading = match task.await {
            Ok(reading) => reading,
            Err(error) => {
                // What is in force stays in force, but nobody watches any more.
                if error.is_panic() {
                    tracing::error!(
                        "reading the config directory failed: changes need a restart of the daemon"
                    );
                }
                return;
            }
        };
        let desired = reading.desired();
        tx.send_if_modified(|current| {
            let differs = first || **current != *desired;
            *current = desired;
            differs
        });
        first = false;
        for answer in waiting.drain(..) {
            // Whoever asked may have gone.
            let _ = answer.send(());
        }
        tokio::select! {
            () = changed.notified() => settle(changed).await,
            request = rescan.recv() => match request {
                Some(answer) => waiting.push(answer),
                None => return,
            },
            () = tokio::time::sleep(POLL), if reading.watcher.trouble().is_some() => (),
            () = tx.closed() => return,
        }
        while let Ok(answer) = rescan.try_recv() {
            waiting.push(answer);
        }
    }
}

/// Waits until changes stop coming for a moment, but not for long: somebody may write without end.
async fn settle(changed: &Notify) {
    let latest = Instant::now() + PATIENCE;
    while timeout(QUIET, changed.notified()).await.is_ok() && Instant::now() < latest {}
}

/// What the blocking thread works on.
struct Reading {
    dir: PathBuf,
    plugins: SharedPlugins,
    watcher: Watcher,
    state: Option<State>,
}

impl Reading {
    fn new(dir: PathBuf, plugins: SharedPlugins, watcher: Watcher) -> Self {
        Self {
            dir,
            plugins,
            watcher,
            state: None,
        }
    }

    /// Reads, and reads again while the folders to watch change: what happened before a watch was there would be
    /// missed. With `doubt`, every watch is made anew.
    fn round(&mut self, doubt: bool) {
        if doubt {
            self.watcher.doubt();
        }
        for _ in 0..MAX_READINGS {
            let state = config::read(&self.dir, &*self.plugins, self.state.as_ref());
            let places = Places::of(&self.dir, state.links());
            self.state = Some(state);
            if !self.watcher.follow(places) {
                return;
            }
        }
        self.watcher.wake();
    }

    fn desired(&self) -> Arc<Desired> {
        let desired = self.state.as_ref().map(State::desired).unwrap_or_default();
        let Some(trouble) = self.watcher.trouble() else {
            return desired;
        };
        let message = format!(
            "changes are looked for every {} s only: {trouble}",
            POLL.as_secs()
        );
        let mut desired = Desired::clone(&desired);
        let problem = Problem { place: None, message };
        desired.files.push(FileReport::new(
            self.dir.clone(),
            FileState::Loaded,
            vec![problem],
        ));
        desired.files.sort_by(|one, other| one.path.cmp(&other.path));
        Arc::new(desired)
    }
}

/// How long it must be quiet before a change is read: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(15);
/// How long a change waits for quiet.
const PATIENCE: Duration = Duration::from_millis(60);
/// How often the directory is read where it cannot be watched.
const POLL: Duration = Duration::from_secs(2);
/// How often a round reads at most. Folders that change faster are read again after a moment.
const MAX_READINGS: usize = 5;

#[cfg(test)]
mod tests;
