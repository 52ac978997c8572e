//! Hosts to log in to: real sshd on loopback ports, each a machine of its own as far as a login sees.
//!
//! Every host has its own host key, users, home folders and login shell. Its processes live in mount and process
//! namespaces of their own, in which `/etc/passwd` has the host's users: the machine's own users are left alone, and
//! nothing is left running when a test ends, however it ends. That takes root.

mod authorized_keys;
mod host;
mod login_log;
mod login_loop;
mod making;
mod namespace;
mod options;
mod tracker;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub use authorized_keys::{AuthorizedKey, fingerprint, parse, public_key};
pub use host::Host;
pub use login_log::{Login, LoginOutcome};
pub use login_loop::{LoginLoop, Logins, RefusedLogin};
pub use options::{HostOptions, PASSWORD, Shell};
pub use tracker::{LockedOut, Tracker};

/// Hosts, the user's ssh_config that knows them, and the key with which the user logs in there so far. Everything ends on
/// drop.
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: the hosts before the folder with their homes.
    hosts: Vec<Host>,
    folder: TempDir,
}

impl Fleet {
    /// Starts these hosts, and waits until they listen. Each lets the [admin key](Fleet::admin_key) in.
    ///
    /// # Panics
    /// Without root, without one of the programs that are needed, or when an sshd does not come up within 20 s.
    pub fn start(hosts: impl IntoIterator<Item = HostOptions>) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "hosts of a test are made with mount namespaces, which takes root"
        );
        let folder = tempfile::Builder::new()
            .prefix("keyferry-fleet-")
            .tempdir()
            .expect("a temporary folder");
        // The users of the hosts have to come through to their homes.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("modes can be set");
        generate(&folder.path().join("admin_key"), "admin@workstation");
        let mut fleet = Self {
            hosts: Vec::new(),
            folder,
        };
        for options in hosts {
            fleet.add(&options);
        }
        fleet
    }

    /// As [`Fleet::start`]: hosts `web-1`, `web-2`... with these login shells, quiet and with one user each.
    ///
    /// # Panics
    /// As [`Fleet::start`].
    pub fn of_shells(shells: &[Shell]) -> Self {
        Self::start(
            shells
                .iter()
                .enumerate()
                .map(|(index, &shell)| HostOptions::new(&format!("web-{}", index + 1), shell)),
        )
    }

    /// Starts one more host.
    ///
    /// # Panics
    /// As [`Fleet::start`]; when there is one of this name.
    pub fn add(&mut self, options: &HostOptions) -> &Host {
        assert!(
            self.hosts.iter().all(|host| host.name() != options.name),
            "two hosts {}",
            options.name
        );
        let admin = fs::read_to_string(self.admin_public_key()).expect("the admin key's public half");
        let host = Host::start_new(&self.folder.path().join(&options.name), options, &admin);
        self.hosts.push(host);
        self.write_files();
        self.hosts.last().expect("one was added")
    }

    /// All hosts, in the order they were started.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn host(&self, name: &str) -> &Host {
        let mut hosts = self.hosts.iter();
        hosts
            .find(|host| host.name() == name)
            .unwrap_or_else(|| panic!("no host {name}"))
    }

    /// The user's ssh_config: each host by its name (`Host web-1`), and the admin key as `IdentityFile`. To be named as
    /// `[ssh] command = ["ssh", "-F", ...]`.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    /// As [`Fleet::ssh_config`], without any key: what logs in comes from the agent.
    pub fn agent_config(&self) -> PathBuf {
        self.folder.path().join("agent_config")
    }

    /// The known_hosts file that both name, with each host's key.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// The private key, without passphrase, that each host lets in from the start.
    pub fn admin_key(&self) -> PathBuf {
        self.folder.path().join("admin_key")
    }

    /// Its public half.
    pub fn admin_public_key(&self) -> PathBuf {
        self.folder.path().join("admin_key.pub")
    }

    /// A path in the fleet's own folder, for what a test needs besides (sockets, more keys).
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// `ssh` with one of the two files, no terminal and no way to ask; what it logs in to and runs there is the caller's.
    pub fn ssh(&self, config: &Path) -> Command {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(config)
            .args(["-T", "-o", "BatchMode=yes", "-o", "LogLevel=INFO"])
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("SSH_ASKPASS")
            .stdin(Stdio::null());
        command
    }

    fn write_files(&self) {
        let mut hosts = String::new();
        let mut known = String::new();
        for host in &self.hosts {
            let (name, port, user) = (host.name(), host.port(), host.user());
            writeln!(
                hosts,
                "Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {user}"
            )
            .expect("text can be written");
            writeln!(known, "[127.0.0.1]:{port} {}", host.host_key()).expect("text can be written");
        }
        let every = format!(
            "Host *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  PreferredAuthentications publickey\n  ConnectTimeout 20\n",
            self.known_hosts().display()
        );
        let admin = format!("  IdentityFile {}\n", self.admin_key().display());
        for (path, text) in [
            (self.known_hosts(), known),
            (self.ssh_config(), format!("{hosts}{every}{admin}")),
            (
                self.agent_config(),
                format!("{hosts}{every}  IdentityFile none\n  ControlPath none\n"),
            ),
        ] {
            replace(&path, text.as_bytes());
        }
    }
}

/// Makes a key pair in files, an Ed25519 one without passphrase.
///
/// # Panics
/// When ssh-keygen is not installed.
pub fn generate(path: &Path, comment: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .expect("ssh-keygen can be started (Debian: openssh-client)");
    assert!(made.success(), "ssh-keygen failed");
}

/// Writes a file so that readers see the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) {
    let draft = path.with_extension("draft");
    fs::write(&draft, bytes).expect("a file can be written");
    fs::rename(&draft, path).expect("a file can be renamed");
}

#[cfg(test)]
mod tests;
