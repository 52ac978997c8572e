//! Logins all the while.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::Fleet;
use crate::wait;

/// Logs in to hosts through an agent, over and over, one thread for each. Ended on drop.
#[derive(Debug)]
pub struct LoginLoop {
    stopping: Arc<AtomicBool>,
    logins: Arc<Mutex<Logins>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of the logins.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// How many there were on each host, with its name.
    pub made: Vec<(String, usize)>,
    /// Those that failed.
    pub refused: Vec<RefusedLogin>,
}

/// A login that failed.
#[derive(Clone, Debug)]
pub struct RefusedLogin {
    /// The host.
    pub host: String,
    /// When it was begun.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What ssh said.
    pub words: String,
}

impl LoginLoop {
    /// Begins to log in to all hosts of a fleet, with the keys that this agent's socket lists for them.
    pub fn start(fleet: &Fleet, socket: &Path) -> Self {
        let names: Vec<&str> = fleet.hosts().iter().map(super::Host::name).collect();
        Self::start_on(fleet, &names, socket)
    }

    /// As [`LoginLoop::start`], to some of the hosts.
    pub fn start_on(fleet: &Fleet, hosts: &[&str], socket: &Path) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let logins = Arc::new(Mutex::new(Logins {
            made: hosts.iter().map(|&host| (host.to_owned(), 0)).collect(),
            refused: Vec::new(),
        }));
        let threads = hosts.iter().enumerate().map(|(index, &host)| {
            let (stopping, logins) = (Arc::clone(&stopping), Arc::clone(&logins));
            let (host, socket) = (host.to_owned(), socket.to_owned());
            let mut ssh = fleet.ssh(&fleet.agent_config());
            ssh.arg(&host).arg("true").env("SSH_AUTH_SOCK", socket);
            std::thread::spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    let refused = login(&mut ssh, &host);
                    let mut logins = logins.lock().expect("no thread panics with it");
                    logins.made[index].1 += 1;
                    logins.refused.extend(refused);
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

    /// Waits until each host had `count` more logins.
    ///
    /// # Panics
    /// When it had not within 60 s.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        let before = self.so_far().made;
        wait::until(
            &format!("{count} more logins on each host"),
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
    /// How many there were on all hosts together.
    pub fn count(&self) -> usize {
        self.made.iter().map(|(_, count)| count).sum()
    }

    /// That there were some on each host, and that all of them came in.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_none_refused(&self) {
        for (host, count) in &self.made {
            assert!(*count > 0, "nobody logged in to {host}");
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

/// Logs in once; what it was if it failed.
fn login(ssh: &mut Command, host: &str) -> Option<RefusedLogin> {
    let began = SystemTime::now();
    let output = ssh
        .stdin(Stdio::null())
        .output()
        .expect("ssh can be started (Debian: openssh-client)");
    (!output.status.success()).then(|| RefusedLogin {
        host: host.to_owned(),
        began,
        took: began.elapsed().unwrap_or_default(),
        words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
