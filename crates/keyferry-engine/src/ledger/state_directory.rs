//! The state directory: ours alone, local, and one daemon's at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::error::EngineError;

/// The file that is locked.
pub(super) const LOCK_NAME: &str = "ledger.lock";

/// Makes the directory if needed, checks it, and locks it until the returned file is dropped.
pub(super) fn claim(directory: &Path) -> Result<File, EngineError> {
    let io_error = |what, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| EngineError::Io { what, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| match error.kind() {
            // What mkdir(2) says of a file in the directory's place would send a reader the wrong way.
            io::ErrorKind::AlreadyExists => {
                io::Error::other("it is not a directory: name another with --state")
            }
            _ => error,
        })
        .map_err(io_error("cannot use the state directory", directory))?;
    keyferry_ownership::check(directory).map_err(EngineError::Distrusted)?;
    if let Some(filesystem) = network_filesystem(directory) {
        return Err(EngineError::NetworkFilesystem {
            path: directory.to_owned(),
            filesystem,
        });
    }

    let path = directory.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("cannot open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let known =
                (&file).take(32).read_to_string(&mut pid).is_ok() && pid.trim().parse::<u32>().is_ok();
            let pid = known.then(|| pid.trim().to_owned());
            return Err(EngineError::AlreadyRunning {
                path: directory.to_owned(),
                pid,
            });
        }
        Err(error) => return Err(io_error("cannot lock", &path)(error.into())),
    }
    // Only for the other one's message; the lock is what counts.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Removes a file that need not be there.
pub(super) fn remove(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(EngineError::Io {
            what: "cannot remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The name of the network filesystem that a directory is on; none: a local one.
///
/// Elsewhere than on Linux nothing is known, and nothing refused.
fn network_filesystem(directory: &Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let magic = rustix::fs::statfs(directory).ok()?.f_type;
        let device = fs::metadata(directory).ok()?.dev();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // The low half: the kernel's numbers have 32 bits, and the field's width and sign differ by machine.
        let magic = magic as u32;
        judge(magic, device_number(device).as_str(), &mounts)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = directory;
        None
    }
}

/// `major:minor` as in mountinfo.
#[cfg(target_os = "linux")]
fn device_number(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// Judges by the filesystem's magic number (statfs(2)), and FUSE by its type in mountinfo (proc_pid_mountinfo(5)).
#[cfg(any(target_os = "linux", test))]
fn judge(magic: u32, device: &str, mounts: &str) -> Option<String> {
    const FUSE: u32 = 0x6573_5546;
    const NETWORK: [(u32, &str); 8] = [
        (0x6969, "NFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x517b, "SMB"),
        (0x0102_1997, "9P"),
        (0x5346_414f, "AFS"),
        (0x00c3_6400, "Ceph"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    if magic != FUSE {
        return NETWORK
            .iter()
            .find(|(known, _)| *known == magic)
            .map(|(_, name)| (*name).to_owned());
    }
    let mount = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device))?;
    let kind = mount.split_once(" - ")?.1.split(' ').next()?;
    let remote = [
        "sshfs",
        "rclone",
        "s3fs",
        "gcsfuse",
        "glusterfs",
        "davfs",
        "curlftpfs",
        "ceph",
    ];
    remote
        .iter()
        .any(|name| kind.ends_with(name) || kind.contains(&format!("{name}-")))
        .then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_told_from_local_ones() {
        let mounts = "36 35 0:45 / /home/li/remote rw - fuse.sshfs li@host: rw\n\
                      37 35 0:46 / /run/user/1/doc rw - fuse.portal portal rw\n";
        assert_eq!(judge(0x6969, "0:1", mounts).as_deref(), Some("NFS"));
        assert_eq!(judge(0xff53_4d42, "0:1", mounts).as_deref(), Some("CIFS"));
        assert_eq!(judge(0x0102_1997, "0:1", mounts).as_deref(), Some("9P"));
        assert_eq!(judge(0x6573_5546, "0:45", mounts).as_deref(), Some("fuse.sshfs"));
        assert_eq!(judge(0x6573_5546, "0:46", mounts), None);
        assert_eq!(judge(0xef53, "8:1", mounts), None);
        assert_eq!(judge(0x0102_1994, "0:20", mounts), None);
    }
}
