//! Who sits behind a socket. Passwords and private keys go there, and whoever was there first made the folder: nobody is
//! believed for that.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::error::Error;

/// Whom sockets are believed of: root, and one user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Believed {
    uid: u32,
}

impl Believed {
    /// Judges a runtime directory; one that is not there is nobody's, and nothing answers in it. `is_named`: the user chose it
    /// (`--runtime`), so that root may mean another user's.
    ///
    /// # Errors
    /// When somebody else may have put a socket there.
    pub(crate) fn in_directory(directory: &Path, is_named: bool) -> Result<Self, Error> {
        in_directory_of(rustix::process::geteuid().as_raw(), directory, is_named)
    }

    /// Connects to a socket of such a user.
    ///
    /// # Errors
    /// As connect(2); [`io::ErrorKind::PermissionDenied`], with words, where it is somebody else's.
    pub(crate) fn connect(self, socket: &Path) -> io::Result<UnixStream> {
        self.judge(fs::symlink_metadata(socket)?.uid())?;
        let stream = UnixStream::connect(socket)?;
        // Between the look and the connection it may have become another one.
        #[cfg(target_os = "linux")]
        self.judge(rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw())?;
        Ok(stream)
    }

    fn judge(self, owner: u32) -> io::Result<()> {
        if owner == self.uid || owner == ROOT {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to uid {owner}, not to you: nothing is told to it"),
        ))
    }
}

fn in_directory_of(uid: u32, directory: &Path, is_named: bool) -> Result<Believed, Error> {
    let refuse = |reason: String| Error::Runtime {
        path: directory.to_owned(),
        reason,
    };
    let look = || -> io::Result<[fs::Metadata; 2]> {
        Ok([fs::symlink_metadata(directory)?, fs::metadata(directory)?])
    };
    let places = match look() {
        Ok(places) => places,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Believed { uid }),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let [_, target] = &places;
    if !target.is_dir() {
        return Err(refuse("it is not a directory".to_owned()));
    }
    let may_be_anybodys = uid == ROOT && is_named;
    // Of a link, who made it could make another.
    for owner in places.iter().map(MetadataExt::uid) {
        if owner != uid && owner != ROOT && !may_be_anybodys {
            return Err(refuse(format!(
                "it belongs to uid {owner}, not to you: whoever listens there is told nothing; set XDG_RUNTIME_DIR, or name \
                 another with --runtime, for the daemon too"
            )));
        }
    }
    if target.mode() & 0o022 != 0 {
        return Err(refuse(format!(
            "others may write to it, and listen there in the daemon's place; run: chmod 700 {}",
            directory.display()
        )));
    }
    Ok(match may_be_anybodys {
        true => Believed { uid: target.uid() },
        false => Believed { uid },
    })
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Whoever runs this test.
    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_directory_of_others_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let judge = |uid: u32, is_named: bool| in_directory_of(uid, folder.path(), is_named);
        assert_eq!(judge(own(), false).unwrap(), Believed { uid: own() });
        if own() != ROOT {
            let message = judge(own() + 1, true).unwrap_err().to_string();
            assert!(message.contains("belongs to uid"), "{message}");
            // Root means another user's where it names it.
            judge(ROOT, false).unwrap_err();
            assert_eq!(judge(ROOT, true).unwrap(), Believed { uid: own() });
        } else {
            // As that of the system's own services.
            assert_eq!(judge(1000, false).unwrap(), Believed { uid: 1000 });
            std::os::unix::fs::chown(folder.path(), Some(1000), None).unwrap();
            let message = judge(ROOT, false).unwrap_err().to_string();
            assert!(message.contains("belongs to uid 1000"), "{message}");
            judge(1001, true).unwrap_err();
            assert_eq!(judge(ROOT, true).unwrap(), Believed { uid: 1000 });
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o1777, 0o720] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let message = in_directory_of(own(), folder.path(), true)
                .unwrap_err()
                .to_string();
            assert!(message.contains("chmod 700"), "{message}");
        }
    }

    #[test]
    fn where_there_is_no_directory_nothing_answers() {
        let folder = tempfile::tempdir().unwrap();
        let believed = in_directory_of(own(), &folder.path().join("a/b"), false).unwrap();
        let error = believed
            .connect(&folder.path().join("a/b/control.sock"))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_socket_of_others_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        Believed { uid: own() }.connect(&path).unwrap();
        let other = Believed { uid: own() + 1 };
        assert!(other.judge(ROOT).is_ok() && other.judge(own() + 1).is_ok());
        let message = other.judge(own() + 2).unwrap_err().to_string();
        assert!(message.contains("belongs to uid"), "{message}");
        if own() != ROOT {
            other.connect(&path).unwrap_err();
        }
    }
}
