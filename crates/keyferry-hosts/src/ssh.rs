//! Tasks by way of the system's `ssh`.

mod command;
mod connection;
mod diagnosis;
mod folder;
pub(crate) mod host_key;
mod identity;
mod listening;
mod log;
mod prompts;
mod remote;
mod resolve;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt, fs, io};

use crate::contract::{HostError, Reply, Task, Work};
use folder::Folders;
pub use prompts::{Prompting, Prompts};
use work::Removal;

/// Does tasks on hosts.
pub struct Ssh {
    sockets: Arc<dyn Sockets>,
    prompts: Option<Arc<dyn Prompts>>,
    folders: Folders,
    auth_socket: Option<PathBuf>,
    deadline: Duration,
    hold: Duration,
}

/// What [`Ssh`] works with.
pub struct Parts {
    /// Opens agent sockets that have one key alone.
    pub sockets: Arc<dyn Sockets>,
    /// A folder of the daemon's own, for sockets' and ssh's needs while a login lasts: public halves and pipes, no secret.
    /// Made with mode 0700 where it is missing; what an earlier daemon left in it is cleared away.
    pub directory: PathBuf,
    /// The user's own agent, for jump hosts and for logins as ssh_config says.
    pub auth_socket: Option<PathBuf>,
    /// Who passes questions on; none: nobody is ever asked.
    pub prompts: Option<Arc<dyn Prompts>>,
    /// How long one login may take with all that is done over it.
    pub deadline: Duration,
    /// How long a host waits to be told that a removal stays, before it puts the file back as it was.
    pub hold: Duration,
}

impl Parts {
    /// With the agent that `SSH_AUTH_SOCK` names, 60 s for a login, and 30 s for a removal.
    pub fn new(sockets: Arc<dyn Sockets>, directory: PathBuf) -> Self {
        Self {
            sockets,
            directory,
            auth_socket: env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            prompts: None,
            deadline: Duration::from_secs(60),
            hold: Duration::from_secs(30),
        }
    }
}

/// Opens agent sockets that have one key alone.
pub trait Sockets: Send + Sync + 'static {
    /// A socket for one login, on which only this generation of this key is listed and signs. It is there until the answer is
    /// dropped.
    ///
    /// # Errors
    /// Why there is none, in words: the generation is not loaded, say.
    fn open(&self, key: &str, n: u64) -> Result<Box<dyn OneKeySocket>, String>;

    /// The same for a key in another agent of the user's: `public_key` is `TYPE BASE64`, `agent` that agent's socket.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn open_foreign(&self, agent: &Path, public_key: &str) -> Result<Box<dyn OneKeySocket>, String>;
}

/// An agent's socket with one key, for one login.
pub trait OneKeySocket: Send + Sync {
    /// Where it is.
    fn path(&self) -> &Path;

    /// The logins that it has signed for, oldest first: those whose session ssh had bound the connection to before.
    fn logins(&self) -> Vec<Login>;
}

/// A login that a key signed for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The public blob of the host key that signed the session.
    pub host_key: Vec<u8>,
    /// The session's identifier, RFC 4253 section 7.2.
    pub session_id: Vec<u8>,
    /// The user who was to be logged in.
    pub user: String,
    /// Whether the request came by way of a forwarded agent.
    pub forwarded: bool,
}

impl Ssh {
    /// # Errors
    /// When the directory cannot be made, or is not the user's own.
    pub fn new(parts: Parts) -> io::Result<Self> {
        Ok(Self {
            sockets: parts.sockets,
            prompts: parts.prompts,
            folders: Folders::new(parts.directory)?,
            auth_socket: parts.auth_socket,
            deadline: parts.deadline,
            hold: parts.hold,
        })
    }

    /// Does one thing on one host. Dropping the future ends its ssh.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn run(&self, task: Task) -> Result<Reply, HostError> {
        let Task { host, work } = task;
        command::check(&host)?;
        let result = match work {
            Work::Resolve => self.resolve(&host).await,
            Work::Verify { identity, proof } => self.verify(&host, &identity, proof).await,
            Work::Put {
                over,
                line,
                itself,
                proof,
            } => self.put(&host, &over, &line, itself.as_ref(), proof).await,
            Work::Remove {
                over,
                editors,
                proof,
                lines,
                foreign,
            } => {
                let removal = Removal {
                    over: &over,
                    editors: &editors,
                    lines: &lines,
                    foreign: &foreign,
                };
                self.remove(&host, &removal, proof).await
            }
            Work::RemoveLast { over, lines } => self.remove_last(&host, &over, &lines).await,
            Work::Inspect { over } => self.inspect(&host, &over).await,
        };
        if let Err(error) = &result {
            tracing::debug!(host = %host.destination, kind = error.kind.name(), "a task on a host failed");
        }
        result
    }
}

impl fmt::Debug for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssh")
            .field("folders", &self.folders)
            .finish_non_exhaustive()
    }
}

/// The smaller of both, so that no host makes a removal final while the login that is to allow it is still going on.
fn within(deadline: Duration, hold: Duration) -> Duration {
    deadline.min(hold.mul_f64(0.8))
}

fn remove_all(path: &Path) {
    // What is left is cleared away by the next daemon; nothing secret is in it.
    let _ = fs::remove_dir_all(path);
}
