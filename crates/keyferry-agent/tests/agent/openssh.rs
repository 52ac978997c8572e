//! Throw-away sshds on loopback, and logins to them.

use crate::harness::*;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

pub(crate) struct Sshd {
    folder: TempDir,
    child: Child,
    port: u16,
    pub(crate) host_key: Vec<u8>,
}

impl Sshd {
    /// One that lets these keys in and hears out one key of every client.
    pub(crate) fn start(keys: &[&TestKey]) -> Self {
        Self::with(keys, "")
    }

    pub(crate) fn with(keys: &[&TestKey], settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name);
        let host_key = keygen(folder.path(), "ed25519", 256);
        fs::rename(&host_key, path("host_key")).unwrap();
        fs::rename(host_key.with_extension("pub"), path("host_key.pub")).unwrap();
        let lines: String = keys.iter().map(|key| key.line() + "\n").collect();
        fs::write(path("authorized_keys"), lines).unwrap();
        // The folder that a sshd of root's wants to be there.
        let _ = fs::create_dir_all("/run/sshd");
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let config = format!(
                "{settings}\nListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
                 StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nPrintMotd no\nMaxAuthTries 1\n",
                path("host_key").display(),
                path("authorized_keys").display(),
            )
            .replace("%d", folder.path().to_str().unwrap());
            fs::write(path("sshd_config"), config).unwrap();
            fs::write(path("log"), "").unwrap();
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-E"])
                .arg(path("log"))
                .arg("-f")
                .arg(path("sshd_config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sshd can be started (Debian: openssh-server)");
            let mut has_ended = false;
            eventually("sshd listens or ends", || {
                has_ended = child.try_wait().unwrap().is_some();
                has_ended
                    || fs::read_to_string(path("log"))
                        .unwrap()
                        .contains("Server listening")
            });
            if has_ended {
                // Somebody else took the port.
                continue;
            }
            let line = fs::read_to_string(path("host_key.pub")).unwrap();
            fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {line}")).unwrap();
            let host_key = TestKey::read(&path("host_key")).public;
            return Self {
                folder,
                child,
                port,
                host_key,
            };
        }
        panic!("sshd does not come up");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has it read its files again.
    pub(crate) fn reload(&self) {
        let listening = || {
            let log = fs::read_to_string(self.path("log")).unwrap();
            log.matches("Server listening").count()
        };
        let before = listening();
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &pid])
                .status()
                .unwrap()
                .success()
        );
        eventually("sshd listens again", || listening() > before);
    }

    /// The words of an ssh that has an agent's keys only, up to the destination.
    pub(crate) fn ssh(&self, options: &[&str]) -> Vec<String> {
        let known_hosts = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let common = [
            known_hosts.as_str(),
            "GlobalKnownHostsFile=none",
            "StrictHostKeyChecking=yes",
            "PreferredAuthentications=publickey",
            "BatchMode=yes",
        ];
        let default = ["IdentityFile=none"];
        let (identity, port) = (
            if options.contains(&"-i") {
                &[][..]
            } else {
                &default[..]
            },
            self.port.to_string(),
        );
        let mut words: Vec<String> = ["ssh", "-F", "none", "-T"].map(str::to_owned).to_vec();
        for option in common.iter().chain(identity) {
            words.extend(["-o".to_owned(), (*option).to_owned()]);
        }
        words.extend(options.iter().map(|&option| option.to_owned()));
        words.extend(["-p".to_owned(), port, format!("{}@127.0.0.1", user())]);
        words
    }

    /// Logs in with the keys of an agent, and runs a command.
    pub(crate) fn login(&self, socket: &Path, options: &[&str], command: &str) -> Output {
        let words = self.ssh(options);
        run(
            Command::new(&words[0])
                .args(&words[1..])
                .arg(command)
                .env("SSH_AUTH_SOCK", socket),
            "",
        )
    }

    #[track_caller]
    pub(crate) fn login_ok(&self, socket: &Path, options: &[&str]) {
        let output = self.login(socket, options, "echo is in");
        assert!(
            output.status.success() && output.stdout == b"is in\n",
            "{output:?}\n{}",
            fs::read_to_string(self.path("log")).unwrap()
        );
    }

    #[track_caller]
    pub(crate) fn login_fails(&self, socket: &Path, options: &[&str]) {
        let output = self.login(socket, options, "echo is in");
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The user who runs this.
pub(crate) fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
