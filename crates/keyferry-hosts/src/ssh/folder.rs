//! Folders for single logins.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::unix::pipe;

use super::remove_all;

/// Makes folders for logins, in one of the daemon's own.
#[derive(Debug)]
pub(super) struct Folders {
    directory: PathBuf,
    next: AtomicU64,
}

impl Folders {
    pub(super) fn new(directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let facts = fs::symlink_metadata(&directory)?;
        if !facts.is_dir() || facts.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not a folder of this user's own", directory.display()),
            ));
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)?.flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                let_writers_go(&entry.path().join(LOG));
                remove_all(&entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                // Of private sockets, which may be here too.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self {
            directory,
            next: AtomicU64::new(0),
        })
    }

    pub(super) fn make(&self) -> io::Result<Folder> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{PREFIX}{number}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path })
    }
}

/// What one ssh needs of files. Removed on drop.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The public half that ssh is to use, as a file.
    pub(super) fn public_half(&self, public_key: &str) -> io::Result<PathBuf> {
        use std::io::Write as _;

        let path = self.path.join("key.pub");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        writeln!(file, "{public_key}")?;
        Ok(path)
    }

    /// A pipe with a name, for ssh's own log: nothing of it gets to a disk. The sender is kept so that the receiver sees no
    /// end before there is one.
    pub(super) fn pipe(&self) -> io::Result<(PathBuf, pipe::Receiver, pipe::Sender)> {
        let path = self.path.join(LOG);
        make_pipe(&path)?;
        let receiver = pipe::OpenOptions::new().open_receiver(&path)?;
        let sender = pipe::OpenOptions::new().open_sender(&path)?;
        Ok((path, receiver, sender))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_all(&self.path);
    }
}

/// An ssh that an earlier daemon was killed over, before the ssh had opened its log, waits for a reader of that pipe: without
/// one it would wait for good. With one it goes on, and ends, for nobody is there whom it could obey.
fn let_writers_go(pipe: &Path) {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let _ = fs::OpenOptions::new().read(true).custom_flags(flags).open(pipe);
}

#[cfg(target_os = "linux")]
fn make_pipe(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

/// There is no such call elsewhere that needs no `unsafe`.
#[cfg(not(target_os = "linux"))]
fn make_pipe(path: &Path) -> io::Result<()> {
    let status = std::process::Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(path)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("mkfifo failed"))
    }
}

const PREFIX: &str = "login-";
const LOG: &str = "log";

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// In an open(2) that waits, once it has said that nothing else is left to do.
    fn is_asleep(child: &Child) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()));
        stat.is_ok_and(|stat| stat.contains(") S "))
    }

    #[test]
    fn who_waits_for_a_daemon_that_was_killed_is_let_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ssh");
        let folder = Folders::new(path.clone()).unwrap().make().unwrap();
        let pipe = folder.path.join(LOG);
        make_pipe(&pipe).unwrap();
        // Killed: nothing is cleared away.
        std::mem::forget(folder);
        let started = directory.path().join("started");
        let mut ssh = Command::new("sh")
            .args(["-c", ": >\"$1\"; exec 2>\"$0\"; exit 3"])
            .args([&pipe, &started])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        until("it is begun", || started.exists());
        if cfg!(target_os = "linux") {
            until("it waits for a reader", || is_asleep(&ssh));
        }

        Folders::new(path).unwrap();
        until("it ends", || ssh.try_wait().unwrap().is_some());
        assert_eq!(ssh.wait().unwrap().code(), Some(3));
        assert!(!pipe.exists());
    }
}
