//! Writing to the ledger, and what of the user's word a disk refused.

use std::collections::BTreeSet;

use super::Engine;
use crate::error::EngineError;
use crate::ledger::{KeyRow, Write};
use crate::snapshot::StatusError;

/// Keys whose rows the view has and the disk does not: the user's word holds in this process whatever the disk says, and
/// goes to the disk with the next write that it takes.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    keys: BTreeSet<String>,
    /// When it is tried again if nothing else is written before (milliseconds of uptime).
    try_at: u64,
}

impl Unwritten {
    /// When to plan again if nothing happens before (milliseconds of uptime).
    pub(super) fn wake_at(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.try_at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Engine {
    /// Puts rows into ledger and view. The inner error says why the disk refused: then neither has changed.
    pub(super) async fn record(&mut self, mut write: Write) -> Result<Result<(), String>, EngineError> {
        for name in &self.unwritten.keys {
            // A row that is written now was made from the one that is not.
            if !write.keys.iter().any(|row| row.name == *name) {
                write.keys.push(self.view.key(name));
            }
        }
        match self.ledger.write(write.clone()).await {
            Ok(()) => {
                self.ledger_error = None;
                self.unwritten.keys.clear();
                self.view.apply(write);
                Ok(Ok(()))
            }
            Err(EngineError::LedgerStopped) => Err(EngineError::LedgerStopped),
            Err(error) => {
                tracing::error!(%error, "the ledger could not be written");
                self.ledger_error = Some(shown(&error));
                Ok(Err(error.to_string()))
            }
        }
    }

    /// Notes whether the ledger's files still are where they were opened.
    pub(super) fn look_at_ledger(&mut self) {
        match self.ledger.check() {
            Err(error) => self.ledger_error = Some(shown(&error)),
            Ok(()) => {
                let known = self.ledger_error.take();
                self.ledger_error = known.filter(|error| error.kind != MOVED);
            }
        }
    }

    /// What to do about the ledger that could not be written.
    pub(super) fn ledger_remedy(&self) -> String {
        let remedy = self.ledger_error.as_ref().and_then(|error| error.remedy.clone());
        remedy.unwrap_or_else(|| MAKE_ROOM.to_owned())
    }

    /// Puts a key's row into the ledger, or into the view alone until the disk takes it.
    pub(super) async fn record_word(&mut self, key: KeyRow) -> Result<(), EngineError> {
        let name = key.name.clone();
        let write = Write {
            keys: vec![key],
            ..Write::default()
        };
        if self.record(write.clone()).await?.is_err() {
            self.view.apply(write);
            self.unwritten.keys.insert(name);
            self.unwritten.try_at = self.clock.now().uptime.saturating_add(PAUSE);
        }
        Ok(())
    }

    /// Tries again to write what the disk refused, when it is time.
    pub(super) async fn write_what_is_left(&mut self) -> Result<(), EngineError> {
        let now = self.clock.now().uptime;
        if self.unwritten.wake_at().is_some_and(|at| at <= now)
            && self.record(Write::default()).await?.is_err()
        {
            self.unwritten.try_at = now.saturating_add(PAUSE);
        }
        Ok(())
    }
}

fn shown(error: &EngineError) -> StatusError {
    let (kind, remedy) = match error {
        EngineError::LedgerMoved { .. } => (MOVED, PUT_BACK),
        _ => ("ledger", MAKE_ROOM),
    };
    StatusError {
        kind: kind.to_owned(),
        code: None,
        message: error.to_string(),
        request_id: None,
        remedy: Some(remedy.to_owned()),
        retry_at: None,
    }
}

const MOVED: &str = "ledger_moved";
const MAKE_ROOM: &str = "make room on the disk of the state directory and see that it can be written";
const PUT_BACK: &str = "move the state directory's files back (a copy is another file), and keyferry goes on; or stop keyferry, \
                        put a ledger there and start it again: without one it no longer knows the pairs it made";

/// Milliseconds.
const PAUSE: u64 = 60_000;
