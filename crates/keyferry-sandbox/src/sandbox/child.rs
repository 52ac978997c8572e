//! The process as its parent sees it: started, asked, killed when late, and always reaped.

#![expect(unsafe_code, reason = "wait4 tells what a process used, which std does not")]

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::{Launch, Limits};
use crate::error::{Fault, Garbage, quoted};
use crate::frame::{self, FrameError};
use crate::jail::{self, Memory};
use crate::library::LibraryCopy;
use crate::process::{Load, Loaded, MAX_ANSWER, MAX_REQUEST};

/// A running sandbox process. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    socket: UnixStream,
    reaped: bool,
    answers: u64,
    memory_at_start: Option<Memory>,
}

impl Child {
    /// Starts the process and has it load the library.
    pub(super) fn start(launch: &Launch, library: &LibraryCopy, limits: &Limits) -> Result<Self, Fault> {
        let (ours, theirs) = UnixStream::pair().map_err(Fault::Launch)?;
        let process = Command::new(&launch.program)
            .args(&launch.args)
            .env_clear()
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            // A group of its own: a terminal's interrupt is not for it, and what it may have forked is killed with it.
            .process_group(0)
            .spawn()
            .map_err(Fault::Launch)?;
        let pid = i32::try_from(process.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| Fault::Launch(io::Error::other("the process has no id")))?;
        let mut child = Self {
            pid,
            socket: ours,
            reaped: false,
            answers: 0,
            memory_at_start: None,
        };
        let load = Load {
            facts: library.facts().clone(),
            limits: *limits,
            #[cfg(not(target_os = "linux"))]
            path: library.place().path(),
        };
        // A process that ended at once is told from its end, when its answer does not come.
        #[cfg(target_os = "linux")]
        let _ = crate::handover::give(&child.socket, library.place());
        let load = serde_json::to_vec(&load).map_err(|error| Fault::Launch(error.into()))?;
        let answer = child.exchange(&load, "load", limits.start_time, limits)?;
        match serde_json::from_slice(&answer) {
            Ok(Loaded::Ready { memory }) => child.memory_at_start = Some(memory),
            Ok(Loaded::Refused(words)) => return Err(Fault::Refused(quoted(&words))),
            Err(error) => return Err(Fault::Garbage(Garbage::NotAStep(quoted(&error.to_string())))),
        }
        Ok(child)
    }

    /// One request and its answer, as bytes. After an error the process is gone.
    pub(super) fn ask(&mut self, request: &[u8], limits: &Limits) -> Result<Vec<u8>, Fault> {
        let answer = self.exchange(request, "answer", limits.step_time, limits)?;
        self.answers += 1;
        Ok(answer)
    }

    /// How many requests it has answered.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn exchange(
        &mut self,
        content: &[u8],
        doing: &'static str,
        time: Duration,
        limits: &Limits,
    ) -> Result<Vec<u8>, Fault> {
        let mut stream = Until {
            stream: &self.socket,
            deadline: Instant::now() + time,
        };
        let answer = frame::write(&mut stream, content, MAX_REQUEST)
            .and_then(|()| frame::read(&mut stream, MAX_ANSWER));
        answer.map_err(|error| match error {
            FrameError::Io(error) if is_timeout(&error) => {
                self.kill();
                Fault::Overrun { doing, limit: time }
            }
            FrameError::TooLong { length, cap } => {
                self.kill();
                Fault::Garbage(Garbage::TooLong { length, cap })
            }
            FrameError::Closed | FrameError::Cut | FrameError::Io(_) => match self.reap(PATIENCE) {
                Some(end) => self.fault(&end, limits),
                None => {
                    self.kill();
                    Fault::Unconnected
                }
            },
        })
    }

    /// What the way it ended says about the plugin.
    fn fault(&self, end: &End, limits: &Limits) -> Fault {
        let Some(signal) = end.status.signal() else {
            let code = end.status.code().unwrap_or_default();
            return Fault::Exited { code };
        };
        // A peak that did not move may be that of the process which started it, and tells nothing.
        let grown = match self.memory_at_start {
            Some(start) if end.peak_memory > start.peak => end.peak_memory - start.resident,
            _ => 0,
        };
        match signal {
            libc::SIGXCPU => Fault::CpuTime {
                limit: limits.cpu_time,
            },
            libc::SIGKILL if end.cpu_time >= limits.cpu_time => Fault::CpuTime {
                limit: limits.cpu_time,
            },
            libc::SIGKILL => Fault::Killed,
            libc::SIGALRM => Fault::Overrun {
                doing: "answer",
                limit: limits.step_time,
            },
            // A failed allocation ends in one of these. Buffers grow by doubling, so half is already "most of it".
            libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS | libc::SIGTRAP if grown > limits.memory / 2 => {
                Fault::Memory { limit: limits.memory }
            }
            libc::SIGABRT => Fault::Aborted,
            signal => Fault::Crashed { signal },
        }
    }

    /// Waits for the process to end by itself, for this long at most.
    fn reap(&mut self, patience: Duration) -> Option<End> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(100);
        loop {
            if let Some(end) = self.wait(WaitIdOptions::NOHANG) {
                return Some(end);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        if !self.reaped {
            // Either may fail when there is nothing left to kill, which is what is wanted.
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = kill_process(self.pid, Signal::KILL);
            self.wait(WaitIdOptions::empty());
        }
    }

    /// Waits for the process to end and reaps it; none: it still runs. What it left of its process group is killed while
    /// its id cannot belong to anybody else yet.
    fn wait(&mut self, how: WaitIdOptions) -> Option<End> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | how;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(None) => return None,
                Err(Errno::INTR) => {}
                Ok(Some(_)) | Err(_) => break,
            }
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        let mut status = 0;
        // SAFETY: rusage is a struct of numbers, for which zeros are a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let pid = self.pid.as_raw_nonzero().get();
        // SAFETY: both pointers are to variables of ours, of the types that wait4 fills.
        while unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        // Also when somebody else has reaped it (ECHILD): then how it ended stays unknown.
        self.reaped = true;
        let seconds = u64::try_from(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec).unwrap_or_default();
        Some(End {
            status: ExitStatus::from_raw(status),
            cpu_time: Duration::from_secs(seconds),
            peak_memory: jail::peak_bytes(&usage),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended, and what it used.
struct End {
    status: ExitStatus,
    cpu_time: Duration,
    peak_memory: u64,
}

/// A stream on which no call outlasts the deadline.
struct Until<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// How long a process may take to end after its socket closed.
const PATIENCE: Duration = Duration::from_secs(1);
