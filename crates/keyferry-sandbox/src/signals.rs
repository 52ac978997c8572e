//! Signals as whoever started this process left them.

#![expect(unsafe_code, reason = "asking what becomes of a signal has no safe form")]

use std::io;
use std::mem::MaybeUninit;

/// Whether this process ignores a signal: as nohup(1) has it, or a shell that puts a program into the background.
///
/// # Errors
/// When there is no such signal.
pub fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is set without a new action, and the present one is written to where there is room for it.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if asked == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it, and zeroes were an action already.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        assert!(!is_ignored(libc::SIGUSR1).unwrap());
        // SAFETY: ignoring a signal installs no handler; no other test has to do with this one.
        let before = unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        assert_ne!(before, libc::SIG_ERR);
        assert!(is_ignored(libc::SIGUSR1).unwrap());
        assert!(is_ignored(-1).is_err());
    }
}
