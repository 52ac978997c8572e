//! The real OpenSSH tools, and a throw-away sshd.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::wait;

/// Runs `ssh-add` against an agent.
///
/// # Panics
/// When ssh-add is not installed.
pub fn ssh_add(socket: &Path, arguments: &[&str]) -> Output {
    Command::new("ssh-add")
        .args(arguments)
        .env("SSH_AUTH_SOCK", socket)
        .env_remove("SSH_ASKPASS")
        .stdin(Stdio::null())
        .output()
        .expect("ssh-add can be started (Debian: openssh-client)")
}

/// The lines of `ssh-add -L`: public keys that the agent lists.
pub fn listed(socket: &Path) -> Vec<String> {
    let output = ssh_add(socket, &["-L"]);
    if !output.status.success() {
        return Vec::new();
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Has `ssh-keygen -Y sign` (as git does) sign a text with the agent's key of a public half, and verify it.
///
/// # Panics
/// When the agent does not sign, or the signature is not that key's.
#[track_caller]
pub fn assert_signs(socket: &Path, public_half: &Path) {
    let output = sign(socket, public_half);
    assert!(
        output.status.success(),
        "{}: {}",
        public_half.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let public = fs::read_to_string(public_half).expect("the public half can be read");
    fs::write(path("signers"), format!("li@example.com {public}")).expect("a file can be written");
    fs::write(path("text.sig"), output.stdout).expect("a file can be written");
    fs::write(path("text"), TEXT).expect("a file can be written");
    let verified = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "li@example.com", "-n", "git", "-f"])
        .arg(path("signers"))
        .arg("-s")
        .arg(path("text.sig"))
        .stdin(fs::File::open(path("text")).expect("the text can be read"))
        .output()
        .expect("ssh-keygen can be started (Debian: openssh-client)");
    assert!(
        verified.status.success(),
        "{}: {}",
        public_half.display(),
        String::from_utf8_lossy(&verified.stderr)
    );
}

/// `ssh-keygen -Y sign` with the agent's key of a public half: the signature is on standard output.
///
/// # Panics
/// When ssh-keygen is not installed.
pub fn sign(socket: &Path, public_half: &Path) -> Output {
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-q", "-n", "git", "-f"])
        .arg(public_half)
        .env("SSH_AUTH_SOCK", socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh-keygen can be started (Debian: openssh-client)");
    let mut input = child.stdin.take().expect("standard input is a pipe");
    // One that fails early does not read it.
    let _ = input.write_all(TEXT);
    drop(input);
    child.wait_with_output().expect("a child can be waited for")
}

const TEXT: &[u8] = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";

/// Where sshd is, if it is installed.
pub fn sshd_path() -> Option<PathBuf> {
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

/// A throw-away sshd on loopback for the user who runs it. Ended on drop.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Sshd {
    /// Starts one that lets `public_keys` in.
    ///
    /// # Panics
    /// When sshd is not installed, or does not come up within 20 s.
    pub fn start(public_keys: &str) -> Self {
        let program = sshd_path().expect("sshd is installed (Debian: openssh-server)");
        let folder = tempfile::Builder::new()
            .prefix("keyferry-sshd-")
            .tempdir()
            .expect("a temporary folder");
        // Below a folder for all, so that the login's own user can reach it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("modes can be set");
        let path = |name: &str| folder.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path("host_key"))
            .status()
            .expect("ssh-keygen can be started (Debian: openssh-client)");
        assert!(made.success(), "ssh-keygen failed");
        fs::write(path("authorized_keys"), public_keys).expect("a file can be written");
        // sshd as root wants its privilege separation folder.
        let _ = fs::create_dir_all("/run/sshd");
        for _ in 0..5 {
            let port = free_port();
            let config = format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nMaxStartups 200\n",
                path("host_key").display(),
                path("authorized_keys").display(),
            );
            fs::write(path("sshd_config"), config).expect("a file can be written");
            let log = path("log");
            fs::write(&log, "").expect("a file can be written");
            let mut child = Command::new(&program)
                .args(["-D", "-E"])
                .arg(&log)
                .arg("-f")
                .arg(path("sshd_config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sshd can be started");
            // Another program may have taken the port in the meantime; then it ends and the next port is tried.
            let listening = wait::until("sshd listens or ends", Duration::from_secs(20), || {
                let listens = fs::read_to_string(&log).is_ok_and(|text| text.contains("Server listening"));
                let ended = child.try_wait().ok().flatten().is_some();
                (listens || ended).then_some(listens)
            });
            if listening {
                let host_key = fs::read_to_string(path("host_key.pub")).expect("the host key's public half");
                fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {host_key}"))
                    .expect("a file can be written");
                return Self { folder, child, port };
            }
        }
        panic!("sshd does not come up");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A known_hosts file with its host key.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// Replaces the keys that it lets in.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn authorize(&self, public_keys: &str) {
        let draft = self.folder.path().join("authorized_keys.new");
        fs::write(&draft, public_keys).expect("a file can be written");
        fs::rename(&draft, self.folder.path().join("authorized_keys")).expect("a file can be renamed");
    }

    /// The arguments of an `ssh` that logs in with keys of an agent only.
    pub fn ssh_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-F".to_owned(), "none".to_owned(), "-T".to_owned()];
        for option in [
            format!("UserKnownHostsFile={}", self.known_hosts().display()),
            "GlobalKnownHostsFile=none".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "IdentityFile=none".to_owned(),
            "PreferredAuthentications=publickey".to_owned(),
            "BatchMode=yes".to_owned(),
            "ControlPath=none".to_owned(),
        ] {
            arguments.push("-o".to_owned());
            arguments.push(option);
        }
        arguments.extend([
            "-p".to_owned(),
            self.port.to_string(),
            format!("{}@127.0.0.1", user()),
        ]);
        arguments
    }

    /// Logs in with the one key of an agent that a public half names, and runs a command: an agent may hold more keys than
    /// sshd lets a client try.
    ///
    /// # Panics
    /// When ssh is not installed.
    pub fn login_with(&self, socket: &Path, public_half: &Path, command: &str) -> Output {
        Command::new("ssh")
            .args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(public_half)
            .args(self.ssh_arguments())
            .arg(command)
            .env("SSH_AUTH_SOCK", socket)
            .stdin(Stdio::null())
            .output()
            .expect("ssh can be started (Debian: openssh-client)")
    }

    /// Logs in with the keys of an agent and runs a command.
    ///
    /// # Panics
    /// When ssh is not installed.
    pub fn login(&self, socket: &Path, command: &str) -> Output {
        Command::new("ssh")
            .args(self.ssh_arguments())
            .arg(command)
            .env("SSH_AUTH_SOCK", socket)
            .stdin(Stdio::null())
            .output()
            .expect("ssh can be started (Debian: openssh-client)")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of the user who runs this.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until an agent lists `count` keys.
///
/// # Panics
/// When it does not within `deadline`.
#[track_caller]
pub fn wait_for_keys(socket: &Path, count: usize, deadline: Duration) -> Vec<String> {
    wait::until(&format!("{count} keys in the agent"), deadline, || {
        let keys = listed(socket);
        (keys.len() == count).then_some(keys)
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}
