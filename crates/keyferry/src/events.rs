//! Events: what a person may want to hear of, told to a program (`on_event`) and, when a person is needed, on the desktop.
//!
//! They come from what status shows: each change between two snapshots. Nothing waits for whoever is told; who is slow
//! misses some.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyferry_engine::desired::Desired;
use keyferry_engine::engine::EngineHandle;
use keyferry_engine::snapshot::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

mod changes;
mod desktop;

use crate::hosts::program;
use changes::Changes;

/// One event, as `on_event` gets it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Event {
    /// What happened.
    pub(crate) event: Kind,
    /// When it was seen.
    pub(crate) at: Timestamp,
    /// The key.
    pub(crate) key: String,
    /// The generation it is about, if one.
    pub(crate) generation: Option<u64>,
    /// The host it is about, if one.
    pub(crate) host: Option<String>,
    /// In words.
    pub(crate) message: String,
    /// What a person does about it; null: nothing.
    pub(crate) remedy: Option<String>,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A pair was deleted or replaced at the provider, and not by keyferry.
    Drift,
    /// An earlier generation stands nowhere any more, and the agent has forgotten it.
    GenerationEnded,
    /// Another generation is offered everywhere.
    GenerationPromoted,
    /// A host wants a person.
    HostBlocked,
    /// Nothing that keyferry has logs in at a host.
    HostLost,
    /// A host cannot be reached.
    HostParked,
    /// A key logs in again at a host that was parked, blocked or lost.
    HostReached,
    /// A key could not be made.
    KeyFailed,
    /// A key's private half is gone, and no new one is made.
    KeyLost,
    /// A next generation is in the agent, and brought to its hosts.
    RotationBegun,
    /// The generation that is offered was seen to log in at every host in reach.
    RotationFinished,
}

impl Kind {
    /// Whether nothing but a person helps.
    fn needs_person(self) -> bool {
        matches!(self, Self::HostBlocked | Self::HostLost | Self::KeyLost)
    }
}

/// Tells of events until the engine ends, or the future is dropped. They begin when the config directory was read and planned
/// for: before, nobody knows which keys are lost.
pub(crate) async fn run(engine: EngineHandle, mut desired: watch::Receiver<Arc<Desired>>) {
    if desired.changed().await.is_ok() {
        engine.refresh().await;
    }
    let mut snapshots = engine.snapshots();
    // It ends when nobody has a handle.
    drop(engine);
    let (to_program, for_program) = mpsc::channel(MOST_WAITING);
    let (to_desktop, for_desktop) = mpsc::channel(MOST_WAITING);
    let watching = async {
        let mut changes = Changes::since(&snapshots.borrow_and_update().clone());
        let mut is_full = false;
        // What was lost with the process before is told now.
        snapshots.mark_changed();
        while snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            for event in changes.to(&snapshot, Timestamp(SystemTime::now())) {
                let settings = Arc::clone(&desired.borrow());
                if event.event.needs_person() && settings.daemon.notify != Some(false) {
                    // Those that are shown say that there are more.
                    let _ = to_desktop.try_send(event.clone());
                }
                if settings.daemon.on_event.is_empty() {
                    continue;
                }
                let was_full = std::mem::replace(&mut is_full, to_program.try_send(event).is_err());
                if is_full && !was_full {
                    tracing::warn!("events are left out: on_event has {MOST_WAITING} to work through");
                }
            }
        }
        // What was queued is told.
        drop((to_program, to_desktop));
    };
    let telling = tell_program(for_program, desired.clone());
    tokio::join!(watching, telling, desktop::tell(for_desktop));
}

/// Starts the program for each event, one at a time.
async fn tell_program(mut events: mpsc::Receiver<Event>, desired: watch::Receiver<Arc<Desired>>) {
    let mut failure = None;
    while let Some(event) = events.recv().await {
        let command = desired.borrow().daemon.on_event.clone();
        let Ok(mut line) = serde_json::to_vec(&event) else {
            continue;
        };
        line.push(b'\n');
        if command.is_empty() {
            continue;
        }
        let result = program::run(&command, line, PROGRAM_TIME).await.err();
        if let (Some(why), true) = (&result, result != failure) {
            tracing::warn!(program = command[0], "on_event {why}; the same is not said again");
        }
        failure = result;
    }
}

/// Events that wait for a program, or for the desktop.
const MOST_WAITING: usize = 100;
/// For one event.
const PROGRAM_TIME: Duration = Duration::from_secs(30);
