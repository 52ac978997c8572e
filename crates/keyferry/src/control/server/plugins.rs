//! What status shows of the plugins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_engine::snapshot::PluginStatus;
use tokio::time::timeout;

use crate::catalogue::Catalogue;

/// The plugins as they were last seen. Their libraries are on disks that may hang: then that is what is shown.
#[derive(Default)]
pub(crate) struct SeenPlugins {
    last: Mutex<Vec<PluginStatus>>,
    /// One look at a time: each that hangs keeps a thread.
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl SeenPlugins {
    pub(super) async fn statuses(&self, catalogue: &Arc<Catalogue>) -> Vec<PluginStatus> {
        let catalogue = Arc::clone(catalogue);
        let look = async {
            let only = Arc::clone(&self.looking).lock_owned().await;
            // Reads libraries that changed, which is the disk's time and not this thread's.
            let seen = tokio::task::spawn_blocking(move || {
                let statuses = catalogue.statuses();
                drop(only);
                statuses
            });
            seen.await.ok()
        };
        let last = |seen: Option<Vec<PluginStatus>>| {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(seen) = seen {
                *last = seen;
            }
            last.clone()
        };
        last(timeout(LOOK_TIME, look).await.ok().flatten())
    }
}

const LOOK_TIME: Duration = Duration::from_secs(5);
