//! What every process of keyferry does before it holds anything worth stealing.

use std::io;

/// Forbids core dumps and tracing of this process by others of the same user.
///
/// On Linux the process becomes non-dumpable (prctl(2), PR_SET_DUMPABLE): its /proc entries belong to root and
/// ptrace(2) is refused. exec resets it, so that every child does this for itself. What [`Children`] are started may
/// have core dumps again, or not.
pub(crate) fn process(children: Children) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    if children == Children::Ours {
        limit.maximum = Some(0);
    }
    setrlimit(Resource::Core, limit)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// What a process starts.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Children {
    /// Processes of keyferry, and what works for it.
    Ours,
    /// The user's command, which holds no key: whether it may dump core (`ulimit -c`) is the user's to say.
    Users,
}

/// Raises the limit on open files to what is allowed: each agent client costs one.
pub(crate) fn open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Best effort: with less, fewer clients are served at a time.
    let _ = setrlimit(Resource::Nofile, limit);
}
