//! A person at a terminal.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::wait;

const DEADLINE: Duration = Duration::from_secs(30);

/// A command at a terminal of its own: script(1) has one. Ended on drop.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts a command line of sh(1).
    ///
    /// # Panics
    /// When script(1) cannot be started.
    pub fn start(command: &str) -> Self {
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script can be started (Debian: bsdutils)");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut output, seen) = (child.stdout.take().expect("a pipe"), Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                seen.lock().expect("no thread panics with it").push_str(&text);
            }
        });
        Self { child, shown }
    }

    /// What it shows, since it was last answered.
    ///
    /// # Panics
    /// When the thread that reads it panicked.
    pub fn shown(&self) -> String {
        self.shown.lock().expect("no thread panics with it").clone()
    }

    /// Waits until it asks, and types the answer; what it showed before.
    ///
    /// # Panics
    /// When it does not ask within 30 s.
    #[track_caller]
    pub fn answer(&mut self, question: &str, word: &str) -> String {
        let shown = wait::until(&format!("it asks {question:?}"), DEADLINE, || {
            let shown = self.shown();
            let ended = self.child.try_wait().ok().flatten();
            assert!(ended.is_none(), "it ended: {shown}");
            shown.contains(question).then_some(shown)
        });
        self.shown.lock().expect("no thread panics with it").clear();
        let input = self.child.stdin.as_mut().expect("a pipe");
        input
            .write_all(format!("{word}\n").as_bytes())
            .expect("it can be typed");
        shown
    }

    /// Types the answer whenever it asks, until it ends; its exit code.
    ///
    /// # Panics
    /// When it does not end within a minute.
    #[track_caller]
    pub fn answer_all(&mut self, question: &str, word: &str) -> i32 {
        wait::until("the command ends", 2 * DEADLINE, || {
            if self.shown().contains(question) {
                self.answer(question, word);
            }
            let status = self.child.try_wait().ok().flatten()?;
            Some(status.code().unwrap_or(-1))
        })
    }

    /// Waits until it ends; its exit code.
    ///
    /// # Panics
    /// When it does not end within a minute.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let status = wait::until("the command ends", 2 * DEADLINE, || {
            self.child.try_wait().ok().flatten()
        });
        status.code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
