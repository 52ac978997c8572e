//! The connections that are open, and which of them gives way when there are too many.

use super::lanes::Lanes;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// All connections of one socket.
pub(super) struct Connections {
    limit: u32,
    places: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    start: Instant,
    /// Nothing but clients is served where these are.
    have_lanes: bool,
    stopping: AtomicBool,
}

struct Open {
    state: Arc<State>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    /// Nanoseconds from [`Connections::start`] to the last reply, or to the connection's beginning.
    last_served: AtomicU64,
    /// A request came and is not answered yet.
    is_busy: AtomicBool,
}

impl Connections {
    pub(super) fn new(limit: usize, have_lanes: bool) -> Arc<Self> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).clamp(1, MAX_CONNECTIONS);
        Arc::new(Self {
            limit,
            places: Arc::new(Semaphore::new(limit as usize)),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            start: Instant::now(),
            have_lanes,
            stopping: AtomicBool::new(false),
        })
    }

    /// A place for one more connection, if need be that of the one quiet longest.
    pub(super) async fn admit(&self) -> Place {
        if self.places.available_permits() == 0 {
            self.evict();
        }
        let permit = Arc::clone(&self.places).acquire_owned().await;
        Place(permit.expect("nobody closes this semaphore"))
    }

    /// Closes the connection that was served longest ago. Whatever a client does, that is never one that was
    /// just served, as long as others are quiet.
    pub(super) fn evict(&self) {
        let open = self.open();
        if let Some(quietest) = open
            .values()
            .min_by_key(|open| open.state.last_served.load(Ordering::Relaxed))
        {
            tracing::debug!("closing the connection that was quiet longest");
            quietest.task.abort();
        }
    }

    /// Starts a connection's task.
    pub(super) fn spawn<F>(self: &Arc<Self>, place: Place, lanes: &Lanes, run: impl FnOnce(Connection) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State {
            last_served: AtomicU64::new(self.now()),
            ..State::default()
        });
        let connection = Connection {
            id,
            state: Arc::clone(&state),
            all: Arc::clone(self),
            _place: place,
        };
        // Locked until the entry is in: the task may end before this function does.
        let mut open = self.open();
        let task = lanes.spawn(run(connection));
        open.insert(id, Open { state, task });
    }

    /// Lets every connection answer what it was asked, for so long at most, and closes it.
    pub(super) async fn drain(&self, limit: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        let deadline = tokio::time::Instant::now() + limit;
        self.abort(|state| !state.is_busy.load(Ordering::Relaxed));
        let _ = tokio::time::timeout_at(deadline, self.places.acquire_many(self.limit)).await;
        self.abort(|_| true);
    }

    /// Closes what is open when the value that this returns goes.
    pub(super) fn abort_on_drop(self: &Arc<Self>) -> impl Drop + use<> {
        struct AbortOnDrop(Arc<Connections>);
        impl Drop for AbortOnDrop {
            fn drop(&mut self) {
                self.0.abort(|_| true);
            }
        }
        AbortOnDrop(Arc::clone(self))
    }

    fn abort(&self, which: impl Fn(&State) -> bool) {
        for open in self.open().values().filter(|open| which(&open.state)) {
            open.task.abort();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to have one connection open.
pub(super) struct Place(
    #[expect(
        dead_code,
        reason = "held, not looked at: it returns to the semaphore when it is dropped"
    )]
    OwnedSemaphorePermit,
);

/// One connection's entry among all, for as long as its task runs.
pub(crate) struct Connection {
    id: u64,
    state: Arc<State>,
    all: Arc<Connections>,
    _place: Place,
}

impl Connection {
    /// Whether this is the only one that is open, and nobody else waits for its thread.
    pub(crate) fn is_alone(&self) -> bool {
        self.all.have_lanes && self.all.places.available_permits() + 1 == self.all.limit as usize
    }

    /// Bytes came from the client.
    pub(crate) fn begin(&self) {
        self.state.is_busy.store(true, Ordering::Relaxed);
    }

    /// All that was asked has been answered. Returns whether to go on.
    pub(crate) fn served(&self) -> bool {
        self.state.last_served.store(self.all.now(), Ordering::Relaxed);
        self.state.is_busy.store(false, Ordering::Relaxed);
        !self.all.stopping.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open().remove(&self.id);
    }
}

const MAX_CONNECTIONS: u32 = 1 << 20;
