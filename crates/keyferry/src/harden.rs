//! What every process of keyferry does before it holds anything worth stealing.

use std::io;

/// Forbids core dumps and tracing of this process by others of the same user.
///
/// On Linux the process becomes non-dumpable (prctl(2), PR_SET_DUMPABLE): its /proc entries belong to root and
/// ptrace(2) is refused. exec resets it, so that every child does this for itself.
pub(crate) fn process() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the limit on open files to what is allowed: each agent client costs one.
pub(crate) fn open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Best effort: with less, fewer clients are served at a time.
    let _ = setrlimit(Resource::Nofile, limit);
}
