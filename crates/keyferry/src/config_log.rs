//! Says in the log what is wrong with the config directory: whoever starts the daemon by hand looks there first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use keyferry_engine::desired::{Desired, FileReport};
use tokio::sync::watch;

/// Logs every problem when it comes, and once that it is gone. Ends with the config side.
pub(crate) async fn run(mut wanted: watch::Receiver<Arc<Desired>>) {
    let mut known: BTreeMap<PathBuf, String> = BTreeMap::new();
    wanted.mark_changed();
    while wanted.changed().await.is_ok() {
        let now = problems(&wanted.borrow_and_update().files);
        let is_new = |(path, words): &(&PathBuf, &String)| known.get(*path) != Some(*words);
        let new: Vec<&String> = now.iter().filter(is_new).map(|(_, words)| words).collect();
        for words in new.iter().take(MOST) {
            tracing::warn!("{words}");
        }
        if new.len() > MOST {
            tracing::warn!("and {} files more: see keyferry status", new.len() - MOST);
        }
        for path in known.keys().filter(|path| !now.contains_key(*path)).take(MOST) {
            tracing::info!("{}: nothing is wrong with it any more", path.display());
        }
        known = now;
    }
}

/// What is wrong, by path, in the words of `keyferry status`.
fn problems(files: &[FileReport]) -> BTreeMap<PathBuf, String> {
    let words = |file: &FileReport| {
        let (path, state) = (file.path.display(), file.state.name());
        let message = file.message.as_ref()?;
        let words = match (file.line, file.column) {
            (Some(line), Some(column)) => format!("{path}:{line}:{column} ({state}): {message}"),
            _ => format!("{path} ({state}): {message}"),
        };
        Some((file.path.clone(), words))
    };
    files.iter().filter_map(words).collect()
}

/// So many lines at a time: an unmounted home is not 500 of them.
const MOST: usize = 20;
