//! Whether every login lets in a key that somebody holds, looked at all the while.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::authorized_keys::parse;
use super::{AuthorizedKey, Fleet};

/// Looks at the hosts' files again and again. Ended on drop.
#[derive(Debug)]
pub struct Tracker {
    stopping: Arc<AtomicBool>,
    found: Arc<Mutex<Found>>,
    thread: Option<JoinHandle<()>>,
}

/// A login that let in no key that was held.
#[derive(Clone, Debug)]
pub struct LockedOut {
    /// The user and the host: `deploy@web-1`.
    pub login: String,
    /// When.
    pub at: SystemTime,
    /// What its file let in.
    pub lets_in: Vec<AuthorizedKey>,
    /// The keys that were held, as `TYPE BASE64`.
    pub held: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Found {
    looks: usize,
    locked_out: Vec<LockedOut>,
}

impl Tracker {
    /// Begins to compare what each user of each host lets in with the keys that are held (`TYPE BASE64`, a comment may follow),
    /// as `held` says: `ssh-add -L`, or the generations of a status.
    pub fn start(fleet: &Fleet, held: impl Fn() -> Vec<String> + Send + 'static) -> Self {
        let files: Vec<(String, PathBuf)> = fleet
            .hosts()
            .iter()
            .flat_map(|host| {
                let of = |user: &String| (format!("{user}@{}", host.name()), host.authorized_keys_path(user));
                host.users().iter().map(of)
            })
            .collect();
        let stopping = Arc::new(AtomicBool::new(false));
        let found = Arc::new(Mutex::new(Found::default()));
        let thread = {
            let (stopping, found) = (Arc::clone(&stopping), Arc::clone(&found));
            std::thread::spawn(move || {
                let mut before = keys(held());
                while !stopping.load(Ordering::Relaxed) {
                    let seen: Vec<_> = files
                        .iter()
                        // One that is being replaced is looked at next time.
                        .filter_map(|(login, path)| Some((login, parse(&fs::read(path).ok()?))))
                        .collect();
                    let after = keys(held());
                    // What was held when a file was read was held before or after: nothing comes and goes as fast.
                    let both: BTreeSet<_> = before.union(&after).cloned().collect();
                    let mut found = found.lock().expect("no thread panics with it");
                    found.looks += 1;
                    for (login, lets_in) in seen {
                        if !lets_in.iter().any(|key| both.contains(&key.public_key)) {
                            found.locked_out.push(LockedOut {
                                login: login.clone(),
                                at: SystemTime::now(),
                                lets_in,
                                held: both.clone(),
                            });
                        }
                    }
                    drop(found);
                    before = after;
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            })
        };
        Self {
            stopping,
            found,
            thread: Some(thread),
        }
    }

    /// Ends it, and says when logins let in no key that was held.
    ///
    /// # Panics
    /// When it never looked, or its thread panicked.
    pub fn stop(mut self) -> Vec<LockedOut> {
        self.end().expect("the tracker did not panic");
        let found = self.found.lock().expect("no thread panics with it");
        assert!(found.looks > 0, "nothing was looked at");
        found.locked_out.clone()
    }

    fn end(&mut self) -> std::thread::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| {
            thread.thread().unpark();
            thread.join()
        })
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn keys(lines: Vec<String>) -> BTreeSet<String> {
    let words = |line: &String| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    lines.iter().map(words).collect()
}
