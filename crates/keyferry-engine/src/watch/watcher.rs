//! The operating system's watches, and what they report.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecursiveMode};
use tokio::sync::Notify;

use super::places::Places;

/// Watches folders and says when one may have changed what is read.
pub(super) struct Watcher {
    ear: Arc<Ear>,
    open: Open,
    system: Option<Box<dyn notify::Watcher + Send>>,
    watched: BTreeMap<PathBuf, Identity>,
    trouble: Option<String>,
}

/// Makes the system's watcher, which reports to the ear.
pub(super) type Open = fn(Arc<Ear>) -> notify::Result<Box<dyn notify::Watcher + Send>>;

/// The watcher of this system: inotify, FSEvents.
pub(super) fn open(ear: Arc<Ear>) -> notify::Result<Box<dyn notify::Watcher + Send>> {
    let watcher = notify::recommended_watcher(move |event| {
        ear.hear(event);
    })?;
    Ok(Box::new(watcher))
}

/// Device and inode.
type Identity = (u64, u64);

impl Watcher {
    pub(super) fn new(ear: Arc<Ear>, open: Open) -> Self {
        Self {
            ear,
            open,
            system: None,
            watched: BTreeMap::new(),
            trouble: None,
        }
    }

    /// Makes the watches those of `places`. Says whether a folder is watched now that was not before: what happened
    /// there in between was not reported.
    pub(super) fn follow(&mut self, places: Places) -> bool {
        self.trouble = None;
        let doubtful = self.ear.attend(places.clone());
        let system = match &mut self.system {
            Some(system) => system,
            None => match (self.open)(Arc::clone(&self.ear)) {
                Ok(system) => self.system.insert(system),
                Err(error) => {
                    self.trouble = Some(explain(&error));
                    return false;
                }
            },
        };
        let wanted: BTreeMap<&PathBuf, Option<Identity>> = places
            .folders()
            .map(|folder| (folder, identity(folder)))
            .collect();
        self.watched.retain(|folder, known| {
            let stays = wanted.get(folder) == Some(&Some(*known)) && !doubtful.include(folder);
            if !stays {
                // It may be gone already, and its watch with it.
                let _ = system.unwatch(folder);
            }
            stays
        });
        let mut is_new = false;
        for (folder, identity) in wanted {
            if self.watched.contains_key(folder) {
                continue;
            }
            match system.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched
                        .extend(identity.map(|identity| (folder.clone(), identity)));
                    is_new = true;
                }
                // It went away just now: looking again shows where to watch instead.
                Err(error) if is_missing(&error) => is_new = true,
                Err(error) => self.trouble = Some(explain(&error)),
            }
        }
        is_new
    }

    /// Why changes may go unreported; none: they are all reported.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Has every watch made anew at the next occasion.
    pub(super) fn doubt(&self) {
        self.ear.lock().doubtful = Doubtful::All;
    }

    /// Reports a change.
    pub(super) fn wake(&self) {
        self.ear.changed.notify_one();
    }
}

/// Hears what the system reports and wakes the reader where it matters.
pub(super) struct Ear {
    changed: Arc<Notify>,
    attention: Mutex<Attention>,
}

#[derive(Default)]
struct Attention {
    places: Places,
    doubtful: Doubtful,
}

/// Folders whose watch may be gone, since they were removed, renamed or made anew.
enum Doubtful {
    All,
    Some(BTreeSet<PathBuf>),
}

impl Default for Doubtful {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Doubtful {
    fn include(&self, folder: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Some(folders) => folders.contains(folder),
        }
    }
}

impl Ear {
    pub(super) fn new(changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            changed,
            attention: Mutex::default(),
        })
    }

    /// Hears one report; says whether it mattered.
    pub(super) fn hear(&self, report: notify::Result<Event>) -> bool {
        let matters = match report {
            Ok(event) if !event.need_rescan() => self.judge(&event),
            // The queue overflowed or broke: anything may have happened, and watches may have gone.
            Ok(_) | Err(_) => {
                self.lock().doubtful = Doubtful::All;
                true
            }
        };
        if matters {
            self.changed.notify_one();
        }
        matters
    }

    fn judge(&self, event: &Event) -> bool {
        let moved = match event.kind {
            // Our own reading is reported, too.
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => return false,
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => false,
            _ => true,
        };
        let mut attention = self.lock();
        let mut matters = false;
        for path in &event.paths {
            matters |= attention.places.matter(path);
            if moved
                && attention.places.has(path)
                && let Doubtful::Some(folders) = &mut attention.doubtful
            {
                folders.insert(path.clone());
            }
        }
        matters
    }

    /// Turns to new places; gives the folders that became doubtful meanwhile.
    fn attend(&self, places: Places) -> Doubtful {
        let mut attention = self.lock();
        attention.places = places;
        std::mem::take(&mut attention.doubtful)
    }

    fn lock(&self) -> MutexGuard<'_, Attention> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn explain(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system's inotify watches are used up: raise fs.inotify.max_user_watches (sysctl)".to_owned()
        }
        // inotify_init(2)
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "no inotify instance can be had: raise fs.inotify.max_user_instances (sysctl) or the limit of open files"
                .to_owned()
        }
        _ => format!("the config directory cannot be watched: {error}"),
    }
}
