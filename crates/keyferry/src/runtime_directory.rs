//! The runtime directory: ours, and nobody else may put a socket into it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;

/// Makes the directory (mode 0700) where it is missing, else checks that it is ours.
///
/// `tighten`: the directory is keyferry's own choice of place, so that a looser mode is put right.
///
/// # Errors
/// When it is a link, somebody else's, or writable by others.
pub(crate) fn prepare(path: &Path, tighten: bool) -> Result<(), Error> {
    let refuse = |reason: String| Error::Runtime {
        path: path.to_owned(),
        reason,
    };
    let longest = path.join(LONGEST_NAME).as_os_str().len();
    if longest > MAX_PATH {
        return Err(refuse(format!(
            "sockets in it would have paths of {longest} bytes, and {MAX_PATH} is the most that one may have; name a shorter one \
             with --runtime"
        )));
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refuse(
                "its parent directory does not exist; make it, or name another with --runtime".to_owned(),
            ));
        }
        Err(error) => return Err(refuse(format!("{error}; name another with --runtime"))),
    }
    let metadata = fs::symlink_metadata(path).map_err(|error| refuse(error.to_string()))?;
    let uid = rustix::process::geteuid().as_raw();
    // A link in a folder for all could lead anywhere tomorrow, so that only the directory itself will do.
    if !metadata.is_dir() {
        return Err(refuse("it is not a directory".to_owned()));
    }
    if metadata.uid() != uid {
        return Err(refuse(format!(
            "it belongs to uid {}, not to you; name another with --runtime",
            metadata.uid()
        )));
    }
    if tighten && metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| refuse(error.to_string()))?;
    } else if metadata.mode() & 0o022 != 0 {
        return Err(refuse(format!(
            "others may write to it; run: chmod 700 {}",
            path.display()
        )));
    }
    Ok(())
}

/// The longest name of a socket in it: one with a single key, for a login.
const LONGEST_NAME: &str = "ssh/key-0123456789abcdef";

/// The most bytes in the path of a socket, without the zero at its end (unix(7)).
const MAX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_private_and_refused_when_others_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        prepare(&path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            prepare(&path, false)
                .unwrap_err()
                .to_string()
                .contains("chmod 700")
        );
        prepare(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_and_a_missing_parent_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        assert!(
            prepare(&folder.path().join("link"), true)
                .unwrap_err()
                .to_string()
                .contains("not a directory")
        );
        assert!(
            prepare(&folder.path().join("a/b"), true)
                .unwrap_err()
                .to_string()
                .contains("parent")
        );
    }
}
