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
        self.looked_at(catalogue, LOOK_TIME).await
    }

    async fn looked_at(&self, catalogue: &Arc<Catalogue>, time: Duration) -> Vec<PluginStatus> {
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
        last(timeout(time, look).await.ok().flatten())
    }
}

const LOOK_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_leaves_what_was_seen_last() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join(keyferry_sandbox::library::file_name("broken"));
        std::fs::write(&library, "no library").unwrap();
        let catalogue = Arc::new(Catalogue::new(&[folder.path().to_owned()], None).unwrap());
        let plugins = SeenPlugins::default();
        let seen = plugins.statuses(&catalogue).await;
        assert_eq!(seen.len(), 1, "{seen:?}");

        // A look that does not end.
        let hanging = Arc::clone(&plugins.looking).lock_owned().await;
        std::fs::remove_file(&library).unwrap();
        assert_eq!(
            plugins.looked_at(&catalogue, Duration::from_millis(10)).await,
            seen
        );

        drop(hanging);
        assert_eq!(plugins.statuses(&catalogue).await, []);
    }
}
