//! The threads that clients are served on.
//!
//! Each lane is a thread with a runtime of its own. A runtime that spreads its tasks over threads wakes a second one
//! whenever the first has something to do, which for one client is as much work as a signature; a lane wakes nobody.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// The lanes of one socket. Their threads end when this is dropped, and what still runs on them is dropped there.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
}

struct Lane {
    runtime: Handle,
    /// Connections that are open on it.
    load: Arc<AtomicUsize>,
    /// Dropped to end the thread.
    _stop: oneshot::Sender<()>,
}

impl Lanes {
    /// As many as there are cores, [`MOST`] at most. Where no thread can be had there are fewer, and without any the
    /// caller's own runtime does the work.
    pub(super) fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let lanes = (0..cores.min(MOST)).filter_map(|_| Lane::start()).collect();
        Self { lanes }
    }

    /// None: the caller's own runtime does the work.
    pub(crate) fn none() -> Self {
        Self { lanes: Vec::new() }
    }

    /// Whether nothing but clients is served on them.
    pub(super) fn are_ours(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Runs a task on the lane that has the fewest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let Some(lane) = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.load.load(Ordering::Relaxed))
        else {
            return tokio::spawn(task).abort_handle();
        };
        lane.load.fetch_add(1, Ordering::Relaxed);
        let load = Load(Arc::clone(&lane.load));
        let task = lane.runtime.spawn(async move {
            let _load = load;
            task.await;
        });
        task.abort_handle()
    }
}

impl Lane {
    fn start() -> Option<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .ok()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("agent".to_owned());
        thread
            .spawn(move || {
                // An error says that the sender is gone, which is the signal.
                let _ = runtime.block_on(stopped);
            })
            .ok()?;
        Some(Self {
            runtime: handle,
            load: Arc::default(),
            _stop: stop,
        })
    }
}

/// One task's share of a lane's load, also when it is aborted before it began.
struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// More would be idle: at that many signatures a second the clients are what takes the time.
const MOST: usize = 4;
