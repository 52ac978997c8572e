//! The daemon's processes, as /proc shows them.

use std::fs;

use rustix::process::{Pid, Signal};

/// One process of a daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Process {
    /// Whether it was started as `keyferry internal ROLE`.
    pub fn is(&self, role: &str) -> bool {
        self.arguments.iter().any(|argument| argument == "internal")
            && self.arguments.iter().any(|argument| argument == role)
    }

    /// Whether it still runs: its number has not passed to another program, and it is not merely unreaped.
    pub fn is_running(&self) -> bool {
        read(self.pid).is_some_and(|process| process.arguments == self.arguments)
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        kill(self.pid);
    }
}

/// Ends a process at once (SIGKILL).
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already: that is what was wanted.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Asks a process to end (SIGTERM).
pub fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
}

/// All living descendants of a process.
pub fn descendants(root: u32) -> Vec<Process> {
    let all = all();
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// A process that runs.
fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything; the fields after it are plain.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    if state == "Z" {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = command
        .split(|&byte| byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    Some(Process {
        pid,
        parent,
        arguments,
    })
}

/// Proportional set size of a process in KiB (proc_pid_smaps(5)).
pub fn proportional_set_size(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
