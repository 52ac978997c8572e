//! The socket's place in the file system: private from its first moment, never taken from a live agent.

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock, lstat, openat, unlink};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, listen, socket_with};
use rustix::process::geteuid;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// A socket on which an agent can be served. Dropping it removes the socket from the file system, if it is
/// still this one.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's entry in the file system.
    identity: (u64, u64),
}

impl Listener {
    /// Makes a socket of mode 0600 at `path`. There is no moment at which others could connect, so the folder
    /// need not be private. A socket of ours that nobody answers on any more is replaced; nothing else ever
    /// is.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], with what stands in the way.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let length = path.as_os_str().as_bytes().len();
        if length > MAX_PATH {
            return Err(BindError::PathTooLong {
                path: path.to_owned(),
                length,
            });
        }
        let failed = |action| {
            move |source| BindError::System {
                path: path.to_owned(),
                action,
                source,
            }
        };
        let absolute = std::path::absolute(path).map_err(failed("find"))?;
        let folder = absolute.parent().unwrap_or(&absolute);

        // Two agents that start at once must not both find the same stale socket, and the slower remove the
        // faster's.
        let _turn = lock_folder(folder).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BindError::NoFolder {
                folder: folder.to_owned(),
            },
            _ => BindError::System {
                path: path.to_owned(),
                action: "lock the folder of",
                source,
            },
        })?;
        make_way(path)?;
        let socket = private_socket(path).map_err(failed("bind"))?;
        let entry = lstat(path).map_err(|errno| failed("look at")(errno.into()))?;
        let listener = listen(&socket, BACKLOG)
            .map_err(io::Error::from)
            .and_then(|()| UnixListener::from_std(socket.into()))
            .map_err(failed("listen at"))?;
        Ok(Self {
            socket: listener,
            path: absolute,
            identity: identity(&entry),
        })
    }

    /// Where the socket is, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next client that is this user's or root's. `None`: another user's came and was refused.
    ///
    /// # Errors
    /// As accept(2); after most of them the next call may succeed.
    pub async fn accept_own(&self) -> io::Result<Option<UnixStream>> {
        let stream = self.accept().await?;
        Ok(is_own(&stream).then_some(stream))
    }

    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if lstat(&self.path).is_ok_and(|entry| identity(&entry) == self.identity) {
            let _ = unlink(&self.path);
        }
    }
}

/// Why there is no socket. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something answers there.
    #[error("an agent already answers at {}: stop it, or choose another path", path.display())]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// The folder that the socket is to lie in is not there.
    #[error("there is no folder {} for the socket: make it, or choose another path", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A file, a folder or a link has the name.
    #[error("{} is not a socket and stays as it is: remove it, or choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A socket of somebody else has the name.
    #[error("{} is a socket of user id {owner} and stays as it is: choose another path", path.display())]
    NotOurs {
        /// The socket's path.
        path: PathBuf,
        /// The user id that owns it.
        owner: u32,
    },
    /// The system takes no such long names for sockets.
    #[error("the socket path {} is {length} bytes long and may be {MAX_PATH}: choose a shorter one", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A system call failed.
    #[error("cannot {action} the socket {}", path.display())]
    System {
        /// The socket's path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// How it failed.
        source: io::Error,
    },
}

/// Whether the other end is this user's or root's. The kernel says so; the socket's mode alone would not keep
/// out whoever was handed a descriptor.
pub(crate) fn is_own(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw())
}

/// Takes the folder's lock for as long as the result lives. It is held for moments only, so whoever holds it
/// for long is not one of us, and waiting ends.
fn lock_folder(folder: &Path) -> io::Result<OwnedFd> {
    let handle = openat(
        CWD,
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_WAIT),
            outcome => return outcome.map(|()| handle).map_err(io::Error::from),
        }
    }
    Err(Errno::WOULDBLOCK.into())
}

/// Removes a stale socket of ours, and refuses whatever else is in the way.
fn make_way(path: &Path) -> Result<(), BindError> {
    let failed = |action| {
        move |errno: Errno| BindError::System {
            path: path.to_owned(),
            action,
            source: errno.into(),
        }
    };
    let entry = match lstat(path) {
        Ok(entry) => entry,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed("look at")(errno)),
    };
    if FileType::from_raw_mode(entry.st_mode) != FileType::Socket {
        return Err(BindError::NotASocket {
            path: path.to_owned(),
        });
    }
    if entry.st_uid != geteuid().as_raw() {
        return Err(BindError::NotOurs {
            path: path.to_owned(),
            owner: entry.st_uid,
        });
    }
    let probe = new_socket().map_err(failed("try"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("try"))?;
    match connect(&probe, &address) {
        // The one answer that only a socket without a listener gives. A full backlog says EAGAIN.
        Err(Errno::CONNREFUSED) => unlink(path).map_err(failed("remove the stale")),
        _ => Err(BindError::InUse {
            path: path.to_owned(),
        }),
    }
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    return socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    );
    #[cfg(not(target_os = "linux"))]
    {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&socket, OFlags::NONBLOCK)?;
        Ok(socket)
    }
}

/// A bound socket that only its owner may connect to, without touching the umask, which belongs to all
/// threads.
///
/// On Linux the entry in the file system takes the mode that the socket itself has when it is bound.
#[cfg(target_os = "linux")]
fn private_socket(path: &Path) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    rustix::fs::fchmod(&socket, PRIVATE)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Nobody can connect before `listen`, so there is still time to find that a kernel does otherwise.
    let mode = Mode::from_raw_mode(lstat(path)?.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        unlink(path)?;
        return Err(io::Error::other(format!(
            "this kernel made the socket with mode {mode:?}"
        )));
    }
    Ok(socket)
}

/// Elsewhere the socket is bound inside a private folder, and then moved to its place.
#[cfg(not(target_os = "linux"))]
fn private_socket(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt as _;
    let socket = new_socket()?;
    let mut folder = path.to_owned();
    folder.set_file_name(format!(".{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let inside = folder.join("s");
    let bound = SocketAddrUnix::new(&inside)
        .and_then(|address| rustix::net::bind(&socket, &address))
        .and_then(|()| rustix::fs::chmod(&inside, PRIVATE))
        .and_then(|()| rustix::fs::rename(&inside, path));
    if bound.is_err() {
        let _ = unlink(&inside);
    }
    std::fs::remove_dir(&folder)?;
    bound?;
    Ok(socket)
}

#[expect(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
fn identity(entry: &Stat) -> (u64, u64) {
    (entry.st_dev as u64, entry.st_ino as u64)
}

/// What fits a socket address beside its final NUL.
#[cfg(target_os = "linux")]
const MAX_PATH: usize = 107;
#[cfg(not(target_os = "linux"))]
const MAX_PATH: usize = 103;

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The system caps it. A client that comes while it is full waits or is told to try again.
const BACKLOG: i32 = 1024;

const LOCK_ATTEMPTS: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(10);
