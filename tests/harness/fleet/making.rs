//! What a host is made of: its users, their login shell, its sshd_config, its namespaces.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::namespace::Namespace;
use super::options::{HostOptions, PASSWORD, Shell};

/// A user's number.
pub(super) fn uid(users: &[String], user: &str) -> u32 {
    if user == "root" {
        return 0;
    }
    let index = users
        .iter()
        .position(|other| other == user)
        .unwrap_or_else(|| panic!("no user {user}"));
    20_001 + u32::try_from(index).expect("few users")
}

/// What `/etc/passwd`, `/etc/shadow` and `/etc/group` are on the host.
pub(super) fn write_users(folder: &Path, options: &HostOptions) {
    let machine = fs::read_to_string("/etc/passwd").expect("the machine has users");
    // sshd needs its own, and the usual ones do no harm.
    let kept = machine.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !options.users.iter().any(|user| user == name)
    });
    let mut passwd: String = kept.map(|line| format!("{line}\n")).collect();
    let (mut shadow, mut group) = (String::new(), "root:x:0:\n".to_owned());
    let shell = login_shell(folder, options.shell);
    for user in &options.users {
        let (uid, home) = (uid(&options.users, user), folder.join("home").join(user));
        writeln!(
            passwd,
            "{user}:x:{uid}:{uid}::{}:{}",
            home.display(),
            shell.display()
        )
        .expect("text can be written");
        writeln!(shadow, "{user}:{}:20000::::::", password_hash()).expect("text can be written");
        if uid != 0 {
            writeln!(group, "{user}:x:{uid}:").expect("text can be written");
        }
        fs::create_dir_all(home).expect("folders can be made");
    }
    for (name, text, mode) in [
        ("passwd", passwd, 0o644),
        ("shadow", shadow, 0o600),
        ("group", group, 0o644),
    ] {
        let path = folder.join("etc").join(name);
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("modes can be set");
    }
}

/// The login shell's path. For busybox a folder is made that has its programs, which is all that there is on the host.
fn login_shell(folder: &Path, shell: Shell) -> PathBuf {
    let (program, _) = shell.program();
    if shell != Shell::Busybox {
        return program.into();
    }
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("folders can be made");
    let list = Command::new(program)
        .arg("--list")
        .output()
        .expect("busybox can be started (Debian: busybox)");
    for name in String::from_utf8_lossy(&list.stdout).split_whitespace() {
        symlink(program, bin.join(name)).expect("links can be made");
    }
    bin.join("sh")
}

fn password_hash() -> &'static str {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| {
        let output = Command::new("openssl")
            .args(["passwd", "-6", PASSWORD])
            .output()
            .expect("openssl can be started (Debian: openssl)");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// The host's namespaces, in which its users are there and each home is a mount of its own.
pub(super) fn namespace(folder: &Path, options: &HostOptions) -> Namespace {
    let mut script = String::new();
    for name in ["passwd", "shadow", "group"] {
        writeln!(script, "mount --bind \"$1/etc/{name}\" /etc/{name}").expect("text can be written");
    }
    if options.sudo {
        assert!(
            Path::new("/etc/sudoers").exists(),
            "sudo is not installed (Debian: sudo)"
        );
        let path = folder.join("etc/sudoers");
        fs::write(&path, "ALL ALL=(ALL) NOPASSWD: ALL\n").expect("a file can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o440)).expect("modes can be set");
        script.push_str("mount --bind \"$1/etc/sudoers\" /etc/sudoers\n");
    }
    for user in &options.users {
        let uid = uid(&options.users, user);
        // A mount of its own either way, so that it can be made read-only.
        match options.home_size {
            Some(size) => writeln!(
                script,
                "mount -t tmpfs -o size={size},mode=755,uid={uid},gid={uid} home \"$1/home/{user}\""
            ),
            None => writeln!(script, "mount --bind \"$1/home/{user}\" \"$1/home/{user}\""),
        }
        .expect("text can be written");
    }
    Namespace::new(&script, &[folder.as_os_str()])
}

/// Its sshd_config.
pub(super) fn sshd_config(folder: &Path, options: &HostOptions, port: u16) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let environment = if options.shell == Shell::Busybox {
        format!("SetEnv PATH={}\n", path("bin"))
    } else {
        String::new()
    };
    // Of two values sshd takes the first, and what stands after a `Match` is of its block.
    let blocks = options
        .sshd_config
        .find("Match ")
        .unwrap_or(options.sshd_config.len());
    let (lines, blocks) = options.sshd_config.split_at(blocks);
    // A key exchange that is safe from quantum computers takes both ends a tenth of a second of computing, for each of
    // thousands of logins. The agent's tests and the demo leave sshd its default.
    format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nPidFile none\nUsePAM no\nMaxStartups 200\nLogLevel VERBOSE\n{lines}\nKexAlgorithms curve25519-sha256\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n{environment}{blocks}",
        path("host_key"),
    )
}

/// A free port below those that the system gives to outgoing connections: it stays free while the host is down.
pub(super) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than the count");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Steps apart, so that test programs that were started one after the other do not meet at once.
        let offset = (u32::from(start) * 61 + u32::from(step)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("less than the count");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
