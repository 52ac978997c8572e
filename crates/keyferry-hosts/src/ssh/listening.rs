//! What a running ssh says: its log, and standard error. Both are read all the time, so that it never waits for us.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::ChildStderr;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::log::Log;

/// Follows ssh's log as it grows.
pub(super) struct LogReader {
    log: watch::Receiver<Log>,
    /// Kept while ssh lives: without a writer the pipe would be at its end.
    writer: Option<pipe::Sender>,
    ended: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl LogReader {
    pub(super) fn start(receiver: pipe::Receiver, writer: pipe::Sender) -> Self {
        let (told, log) = watch::channel(Log::default());
        let (ended, end) = oneshot::channel();
        Self {
            log,
            writer: Some(writer),
            ended: Some(ended),
            task: tokio::spawn(follow(receiver, told, end)),
        }
    }

    pub(super) fn now(&self) -> Log {
        self.log.borrow().clone()
    }

    /// What is known, for when the login itself is gone.
    pub(super) fn watched(&self) -> watch::Receiver<Log> {
        self.log.clone()
    }

    pub(super) async fn changed(&mut self) {
        if self.log.changed().await.is_err() {
            // Nothing more will come; ssh's end is what is waited for.
            std::future::pending::<()>().await;
        }
    }

    /// Reads what is left once ssh has ended. A proxy command that lives on does not hold it up.
    pub(super) async fn finish(&mut self) {
        self.writer = None;
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(());
            let _ = timeout(END_TIME, &mut self.task).await;
        }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(receiver: pipe::Receiver, told: watch::Sender<Log>, mut end: oneshot::Receiver<()>) {
    let mut line = Vec::new();
    let mut total = 0_usize;
    let mut is_last = false;
    loop {
        if !is_last {
            tokio::select! {
                _ = receiver.readable() => {}
                _ = &mut end => is_last = true,
            }
        }
        let mut buffer = [0; 4096];
        match receiver.try_read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if is_last {
                    return;
                }
            }
            Err(_) => return,
            Ok(length) => {
                total = total.saturating_add(length);
                // A login's log is some 10 KB. More is still read, so that ssh goes on, and thrown away.
                if total > MAX_LOG {
                    continue;
                }
                let mut log = told.borrow().clone();
                for byte in &buffer[..length] {
                    if *byte == b'\n' {
                        log.read(&String::from_utf8_lossy(&line));
                        line.clear();
                    } else if line.len() < MAX_LOG_LINE {
                        line.push(*byte);
                    }
                }
                told.send_if_modified(|old| {
                    let is_new = *old != log;
                    *old = log;
                    is_new
                });
            }
        }
    }
}

/// What comes on standard error: the words of jump hosts' ssh and proxy commands, later those of the host. Always drained.
pub(super) struct Complaints {
    text: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Complaints {
    pub(super) fn drain(mut stderr: ChildStderr) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..length]);
                let excess = kept.len().saturating_sub(MAX_COMPLAINTS);
                kept.drain(..excess);
            }
        });
        Self { text, task }
    }

    /// Reads what is left once ssh has ended. A proxy command that lives on does not hold it up.
    pub(super) async fn finish(&mut self) {
        let _ = timeout(END_TIME, &mut self.task).await;
    }

    pub(super) fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long the rest of an ssh may take that has said all.
pub(super) const END_TIME: Duration = Duration::from_secs(2);
const MAX_LOG: usize = 1 << 20;
const MAX_LOG_LINE: usize = 4096;
const MAX_COMPLAINTS: usize = 16 << 10;
