//! Looks at every host's file all the while.
//!
//! A file is replaced by renaming, so that whatever is read is a state that a login may meet.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keyferry_tests::daemon::Options;
use keyferry_tests::fleet::{AuthorizedKey, Fleet, parse};
use keyferry_tests::wait;

use crate::rows::generation_rows;
use crate::world::{DEADLINE, KEY, MadeBy, Setting, WayIn, World};

/// Watches that a host which let in a key that the agent held, as of one life of the daemon, goes on to let in such a key,
/// or one of a later life. What a life before held is no way in any more: with the worker its private halves are gone.
/// Ended on drop.
pub(crate) struct Watcher {
    stopping: Arc<AtomicBool>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Of each life of the daemon the number of the last generation before it.
    lives: Mutex<Vec<u64>>,
    /// The line that every host has to have, once it has it: the recovery identity.
    recovery: Option<String>,
    wrong: Mutex<Vec<String>>,
}

/// What is known of one host's file.
struct Watched {
    name: String,
    path: PathBuf,
    /// Inode and time of change of what was read last.
    version: Option<(u64, i64, i64)>,
    /// The latest life of which the host let in a key.
    life: Option<usize>,
    had_recovery: bool,
}

impl Watcher {
    pub(crate) fn start(fleet: &Fleet, ledger: PathBuf, recovery: Option<String>) -> Self {
        let hosts = fleet.hosts().iter();
        let mut watched: Vec<Watched> = hosts
            .map(|host| Watched {
                name: host.name().to_owned(),
                path: host.authorized_keys_path(host.user()),
                version: None,
                life: None,
                had_recovery: false,
            })
            .collect();
        let stopping = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            recovery,
            ..Shared::default()
        });
        let thread = {
            let (stopping, shared) = (Arc::clone(&stopping), Arc::clone(&shared));
            thread::spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    for host in &mut watched {
                        host.look(&ledger, &shared);
                    }
                    thread::park_timeout(Duration::from_millis(3));
                }
            })
        };
        Self {
            stopping,
            shared,
            thread: Some(thread),
        }
    }

    /// Another life of the daemon begins after this generation.
    pub(crate) fn life_begins(&self, last_n: u64) {
        self.shared
            .lives
            .lock()
            .expect("no thread panics with it")
            .push(last_n);
    }

    /// # Panics
    /// When a host did not let in what it should have.
    #[track_caller]
    pub(crate) fn assert_nobody_was_locked_out(&self) {
        let wrong = self
            .shared
            .wrong
            .lock()
            .expect("no thread panics with it")
            .clone();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let thread = self.thread.as_ref().expect("it is there until it is dropped");
        assert!(!thread.is_finished(), "nobody watched the hosts' files");
    }
}

impl Watcher {
    fn wrong(&self) -> Vec<String> {
        self.shared
            .wrong
            .lock()
            .expect("no thread panics with it")
            .clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Watched {
    fn look(&mut self, ledger: &Path, shared: &Shared) {
        // Root sees each file at all times, so that one that is not there is not there for sshd.
        let version = fs::metadata(&self.path).ok().map(|facts| {
            let time = facts.mtime_nsec();
            (facts.ino(), facts.mtime(), time)
        });
        if version.is_some() && version == self.version {
            return;
        }
        let text = fs::read(&self.path).unwrap_or_default();
        let keys = parse(&text);
        // In the middle of a commit after a crash it may not be readable for a moment: it is looked at again.
        let Some(life) = latest_life(&keys, ledger, shared) else {
            return;
        };
        self.version = version;
        if let Some(wanted) = &shared.recovery {
            let has_it = keys.iter().any(|key| key.public_key == *wanted);
            if self.had_recovery && !has_it {
                self.complain(shared, "does not let the recovery identity in any more", &keys);
            }
            self.had_recovery |= has_it;
        }
        if life < self.life {
            self.complain(
                shared,
                &format!(
                    "let in a key of life {:?}, and now at best one of {life:?}",
                    self.life
                ),
                &keys,
            );
        }
        self.life = life;
    }

    fn complain(&self, shared: &Shared, what: &str, keys: &[AuthorizedKey]) {
        let mut wrong = shared.wrong.lock().expect("no thread panics with it");
        wrong.push(format!("{} {what}: {keys:#?}", self.name));
    }
}

/// The latest life whose agent held one of these keys; none: the ledger cannot be read now.
fn latest_life(keys: &[AuthorizedKey], ledger: &Path, shared: &Shared) -> Option<Option<usize>> {
    if !keys.iter().any(|key| key.is_of(KEY)) {
        return Some(None);
    }
    let rows = generation_rows(ledger)?;
    let lives = shared.lives.lock().expect("no thread panics with it").clone();
    let held = rows.iter().filter(|row| row.was_loaded && !row.has_ended());
    let let_in = held.filter(|row| {
        keys.iter()
            .any(|key| Some(&key.public_key) == row.public_key.as_ref())
    });
    // Lives are counted from 0.
    let life = let_in.filter_map(|row| lives.iter().rposition(|&last_n| last_n < row.n));
    Some(life.max())
}

#[test]
fn a_host_that_lets_in_what_an_earlier_life_held_is_noticed() {
    for way_in in [WayIn::Recovery, WayIn::SshConfig] {
        let world = World::new(Setting {
            made_by: MadeBy::Keyferry,
            way_in,
        });
        let mut daemon = world.start(&Options::default());
        world.wait_settled(&daemon, 0);
        let host = &world.fleet.hosts()[0];
        let before = host.authorized_keys();
        daemon.kill();
        let daemon = world.start(&Options::default());
        world.wait_settled(&daemon, 1);
        let noticed = |complaints| {
            wait::until("it is noticed", DEADLINE, || {
                (world.watcher.wrong().len() == complaints).then_some(())
            });
        };
        // A line of its own is there, and the recovery identity's: as in the life before.
        host.set_authorized_keys(&before);
        noticed(1);
        if way_in == WayIn::Recovery {
            host.set_authorized_keys(b"");
            noticed(2);
        }
    }
}
