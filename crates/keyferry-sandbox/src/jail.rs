//! What a process gives up before it does anything for others.
//!
//! [`harden`] is for every process of keyferry, [`forbid_file_writes`] for those that never write a file. The sandbox
//! goes further, before the library is loaded: memory, processor time, descriptors, processes and priority.
//!
//! Landlock (no file at all) and seccomp (a filter before dlopen, a tighter one after) belong at the end of `confine`.

#![expect(unsafe_code, reason = "signals and the alarm have no safe form here")]

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::sandbox::Limits;

/// Makes this process undumpable: no core file, and no other process of the same user may trace it or read its
/// memory. Exec undoes the first, so every process does this for itself, before it is given anything.
///
/// # Errors
/// When the system refuses; the process must not go on then.
pub fn harden() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0, 0)
}

/// Lets every write to a file fail (`EFBIG`), for the rest of this process's life. Sockets and pipes are not files.
///
/// # Errors
/// When the system refuses; the process must not go on then.
pub fn forbid_file_writes() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no handler, so no code of ours ever runs in a signal's context.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    limit(Resource::Fsize, 0, 0)
}

/// The limits of a sandbox. They last: neither the plugin nor we can raise them again.
pub(crate) fn confine(limits: &Limits) -> io::Result<()> {
    lower_priority()?;
    forbid_file_writes()?;
    let seconds = limits.cpu_time.as_secs().max(1);
    // At the first limit comes SIGXCPU, which names the cause; a plugin that ignores it is killed at the second.
    limit(Resource::Cpu, seconds, seconds + 1)?;
    limit(Resource::Nofile, MAX_DESCRIPTORS, MAX_DESCRIPTORS)?;
    // No processes and no threads: ours exist already. Root is exempt from this one.
    limit(Resource::Nproc, 0, 0)?;
    // macOS has no limit on a process's memory that it keeps; the deadline on a step ends what allocates there.
    #[cfg(target_os = "linux")]
    {
        let mapped = status_bytes("VmSize:")
            .ok_or_else(|| io::Error::other("/proc/self/status does not tell VmSize"))?;
        let bytes = mapped.saturating_add(limits.memory);
        limit(Resource::As, bytes, bytes)?;
    }
    Ok(())
}

/// Ends this process by SIGALRM if it is not [disarmed](disarm) in time. This is for the case that nobody is left who
/// would kill it: keyferry itself does so sooner.
pub(crate) fn arm(time: Duration) {
    let seconds = u32::try_from(time.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(2);
    // SAFETY: alarm takes and returns plain numbers; the signal's action is the default one, which ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(seconds);
    }
}

/// See [`arm`].
pub(crate) fn disarm() {
    // SAFETY: alarm takes and returns plain numbers.
    unsafe { libc::alarm(0) };
}

/// Closes whatever else than the standard streams was inherited: a socket that a shell or service manager left open would
/// be everybody's whom this process starts, a plugin's too. Only for the very beginning of a process, when nothing in it
/// owns a descriptor yet.
pub fn close_inherited_descriptors() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: plain numbers. Nothing that runs in this process owns a descriptor from 3 on yet.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
        if closed == 0 {
            return;
        }
    }
    // Before Linux 5.9, and on other systems. Few programs are given more than this.
    for descriptor in 3..1024 {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
}

/// How much memory a process has, and had, in bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Memory {
    /// In use now; 0 where the system does not tell.
    pub(crate) resident: u64,
    /// The peak so far. It begins with the peak of the process that started us, so it may be far above.
    pub(crate) peak: u64,
}

/// This process's memory.
pub(crate) fn memory() -> Memory {
    // SAFETY: rusage is a struct of numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is ours and as large as getrusage expects.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    Memory {
        resident: status_bytes("VmRSS:").unwrap_or(0),
        peak: peak_bytes(&usage),
    }
}

/// The peak of a usage in bytes: Linux counts KiB, macOS bytes.
pub(crate) fn peak_bytes(usage: &libc::rusage) -> u64 {
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(unit)
}

/// Signing goes first: nice 10, unless we were started with that or more.
fn lower_priority() -> io::Result<()> {
    let current = rustix::process::getpriority_process(None)?;
    if current < NICE {
        rustix::process::setpriority_process(None, NICE)?;
    }
    Ok(())
}

/// Sets both limits, or leaves them where they are stricter already.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let least =
        |wanted: u64, current: Option<u64>| Some(current.map_or(wanted, |current| current.min(wanted)));
    let new = Rlimit {
        current: least(soft, now.current),
        maximum: least(hard, now.maximum),
    };
    Ok(setrlimit(resource, new)?)
}

/// A size from proc_pid_status(5).
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = kib.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Standard streams, our copy of the socket, the library, and what the loader opens meanwhile.
const MAX_DESCRIPTORS: u64 = 16;
const NICE: i32 = 10;
