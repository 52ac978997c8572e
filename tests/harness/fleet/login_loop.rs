//! Logins all the while.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::{Fleet, Host};
use crate::wait;

/// Logs in through an agent, over and over, to a few destinations at a time. Ended on drop.
#[derive(Debug)]
pub struct LoginLoop {
    stopping: Arc<AtomicBool>,
    logins: Arc<Mutex<Logins>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of the logins.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// How many there were to each destination.
    pub made: Vec<(String, usize)>,
    /// Those that failed.
    pub refused: Vec<RefusedLogin>,
}

/// A login that failed.
#[derive(Clone, Debug)]
pub struct RefusedLogin {
    /// What ssh was told to connect to.
    pub destination: String,
    /// When it was begun.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What ssh said.
    pub words: String,
}

impl LoginLoop {
    /// Begins to log in as each user of each host, with the keys that this agent's socket lists for it.
    pub fn start(fleet: &Fleet, socket: &Path) -> Self {
        let destinations = fleet.hosts().iter().flat_map(Host::destinations);
        Self::start_on(fleet, &destinations.collect::<Vec<_>>(), socket)
    }

    /// As [`LoginLoop::start`], to these destinations (`web-1`, `li@web-1`) alone.
    pub fn start_on(fleet: &Fleet, destinations: &[impl AsRef<str>], socket: &Path) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let logins = Arc::new(Mutex::new(Logins {
            made: destinations
                .iter()
                .map(|destination| (destination.as_ref().to_owned(), 0))
                .collect(),
            refused: Vec::new(),
        }));
        let commands = destinations.iter().enumerate().map(|(index, destination)| {
            let destination = destination.as_ref().to_owned();
            let mut ssh = fleet.ssh(&fleet.agent_config());
            ssh.arg(&destination).arg("true").env("SSH_AUTH_SOCK", socket);
            (index, destination, ssh)
        });
        let mut shares: Vec<Vec<_>> = Vec::new();
        shares.resize_with(destinations.len().min(THREADS), Vec::new);
        for command in commands {
            let share = command.0 % shares.len();
            shares[share].push(command);
        }
        let threads = shares.into_iter().map(|mut share| {
            let (stopping, logins) = (Arc::clone(&stopping), Arc::clone(&logins));
            std::thread::spawn(move || {
                loop {
                    for (index, destination, ssh) in &mut share {
                        if stopping.load(Ordering::Relaxed) {
                            return;
                        }
                        let refused = login(ssh, destination);
                        let mut logins = logins.lock().expect("no thread panics with it");
                        logins.made[*index].1 += 1;
                        logins.refused.extend(refused);
                        drop(logins);
                        std::thread::park_timeout(PACE);
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            stopping,
            logins,
        }
    }

    /// What came of them so far.
    ///
    /// # Panics
    /// When a thread of it panicked.
    pub fn so_far(&self) -> Logins {
        self.logins.lock().expect("no thread panics with it").clone()
    }

    /// Waits until there were `count` more logins to each destination.
    ///
    /// # Panics
    /// When there were not within 60 s.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        let before = self.so_far().made;
        wait::until(
            &format!("{count} more logins to each destination"),
            Duration::from_secs(60),
            || {
                let now = self.so_far().made;
                let mut pairs = before.iter().zip(&now);
                pairs
                    .all(|((_, before), (_, now))| *now >= before + count)
                    .then_some(())
            },
        );
    }

    /// Ends them, and says what came of them.
    ///
    /// # Panics
    /// When a thread of it panicked.
    pub fn stop(mut self) -> Logins {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for LoginLoop {
    fn drop(&mut self) {
        self.end();
    }
}

impl Logins {
    /// How many there were altogether.
    pub fn count(&self) -> usize {
        self.made.iter().map(|(_, count)| count).sum()
    }

    /// That there were some to each destination, and that all of them came in.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_none_refused(&self) {
        for (destination, count) in &self.made {
            assert!(*count > 0, "nobody logged in to {destination}");
        }
        assert!(
            self.refused.is_empty(),
            "{} of {} logins were refused: {:#?}",
            self.refused.len(),
            self.count(),
            self.refused
        );
    }
}

/// So many logins go on at the same time at most, and that long is waited after each: what is watched needs the processor too.
const THREADS: usize = 4;
const PACE: Duration = Duration::from_millis(100);

/// Logs in once; what it was if it failed.
fn login(ssh: &mut Command, destination: &str) -> Option<RefusedLogin> {
    let began = SystemTime::now();
    let output = ssh
        .stdin(Stdio::null())
        .output()
        .expect("ssh can be started (Debian: openssh-client)");
    (!output.status.success()).then(|| RefusedLogin {
        destination: destination.to_owned(),
        began,
        took: began.elapsed().unwrap_or_default(),
        words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
