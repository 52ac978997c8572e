//! A library's bytes where nobody can change them between the check and the loader.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{LibraryFacts, LoadError, read};

/// The very bytes of a library that were checked. On Linux they are in a file without a name, sealed against every
/// change, also by ourselves; elsewhere in a file of a folder that nobody else may enter, removed on drop.
///
/// It is made before a process gives up writing files ([`forbid_file_writes`](crate::jail::forbid_file_writes)), and is
/// good for as many sandboxes as there will be.
#[derive(Debug)]
pub struct LibraryCopy {
    facts: LibraryFacts,
    place: Place,
}

impl LibraryCopy {
    /// Checks a library again, which must still be the one that was [inspected](super::inspect), and copies it.
    ///
    /// # Errors
    /// [`LoadError`], as for [`inspect`](super::inspect); [`LoadError::Changed`] when it is another one by now.
    pub fn new(facts: &LibraryFacts) -> Result<Self, LoadError> {
        let (found, content) = read(&facts.path)?;
        if found != *facts {
            return Err(LoadError::Changed { path: found.path });
        }
        Self::of(found, &content)
    }

    /// What the library says about itself.
    pub fn facts(&self) -> &LibraryFacts {
        &self.facts
    }

    /// Copies bytes that these facts are about.
    pub(crate) fn of(facts: LibraryFacts, content: &[u8]) -> Result<Self, LoadError> {
        match Place::new(content) {
            Ok(place) => Ok(Self { facts, place }),
            Err(source) => Err(LoadError::Copy {
                path: facts.path,
                source,
            }),
        }
    }

    /// Where the bytes are.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

/// Where the bytes of a copy are.
#[derive(Debug)]
pub(crate) struct Place {
    #[cfg(target_os = "linux")]
    file: std::fs::File,
    #[cfg(not(target_os = "linux"))]
    folder: PathBuf,
}

#[cfg(target_os = "linux")]
impl Place {
    fn new(content: &[u8]) -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};
        use rustix::io::Errno;

        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // It is mapped, never run as a program. Linux before 6.3 does not know how to say so.
        let created = match memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => memfd_create(NAME, flags),
            created => created,
        };
        let mut file = std::fs::File::from(created?);
        file.write_all(content)?;
        fcntl_add_seals(&file, seals())?;
        Ok(Self { file })
    }

    /// The place that came from our parent; none when what came is not sealed.
    pub(crate) fn received(descriptor: std::os::fd::OwnedFd) -> Option<Self> {
        let found = rustix::fs::fcntl_get_seals(&descriptor).ok()?;
        found.contains(seals()).then(|| Self {
            file: descriptor.into(),
        })
    }

    /// The descriptor for the process that is to load it.
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.file)
    }

    /// What the loader can open.
    pub(crate) fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;

        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

#[cfg(target_os = "linux")]
fn seals() -> rustix::fs::SealFlags {
    use rustix::fs::SealFlags;

    SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL
}

#[cfg(not(target_os = "linux"))]
impl Place {
    fn new(content: &[u8]) -> io::Result<Self> {
        use std::fs::{DirBuilder, OpenOptions};
        use std::hash::{BuildHasher, Hasher, RandomState};
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

        // The folder must not be there yet: what somebody else prepared is not ours.
        let random = RandomState::new().build_hasher().finish();
        let folder = std::env::temp_dir().join(format!("{NAME}-{}-{random:016x}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let place = Self { folder };
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(place.path())?;
        file.write_all(content)?;
        Ok(place)
    }

    /// What the loader can open.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("library")
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Place {
    fn drop(&mut self) {
        // What was loaded stays loaded; a folder that stays behind holds no secret.
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(&self.folder);
    }
}

const NAME: &str = "keyferry-plugin";

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn nobody_changes_a_copy_any_more() {
        let place = Place::new(b"as it was checked").unwrap();
        let path = place.path();
        assert_eq!(std::fs::read(&path).unwrap(), b"as it was checked");
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        let written = opened.and_then(|mut file| file.write_all(b"changed"));
        assert!(written.is_err());
        assert!((&place.file).write_all(b"changed").is_err());
        assert!(place.file.set_len(0).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"as it was checked");
    }

    #[test]
    fn what_is_not_sealed_is_not_taken() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let open = rustix::fs::memfd_create("open", flags).unwrap();
        assert!(Place::received(open.try_clone().unwrap()).is_none());
        rustix::fs::fcntl_add_seals(&open, rustix::fs::SealFlags::WRITE).unwrap();
        assert!(Place::received(open.try_clone().unwrap()).is_none());
        rustix::fs::fcntl_add_seals(&open, seals()).unwrap();
        assert!(Place::received(open).is_some());
        let file = tempfile::tempfile().unwrap();
        assert!(Place::received(file.into()).is_none());
    }
}
