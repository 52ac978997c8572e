//! How ssh is started.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::Ssh;
use super::diagnosis::settings;
use super::host_key::without_certificate;
use super::identity::option;
use crate::contract::{Account, Host, HostError, HostKeys};
use crate::destination::check_destination;
use crate::line::first_string;

/// Whether a host may be given to ssh.
pub(super) fn check(host: &Host) -> Result<(), HostError> {
    let wrong = |problem: String| settings(problem, "correct the host in the key file".to_owned());
    check_destination(&host.destination).map_err(wrong)?;
    if host.ssh.first().is_none_or(String::is_empty) {
        return Err(settings(
            "no ssh program is named".to_owned(),
            "name one: `[ssh] command = [\"ssh\"]` in keyferry.toml".to_owned(),
        ));
    }
    let Account {
        editor, owner, path, ..
    } = &host.account;
    for name in [editor, owner].into_iter().flatten() {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte);
        if name.is_empty()
            || name.len() > 100
            || name.starts_with(['-', '.', '@', '+'])
            || !name.bytes().all(is_plain)
        {
            return Err(wrong(format!(
                "`{}` is no user's name",
                crate::destination::shown(name)
            )));
        }
    }
    if let Some(path) = path {
        let tokens_are_known = path
            .split('%')
            .skip(1)
            .scan(false, |doubled, part| {
                // Of `%%u` the second `%` begins no token.
                let known = *doubled || part.is_empty() || part.starts_with(['u', 'h']);
                *doubled = !*doubled && part.is_empty();
                Some(known)
            })
            .all(|known| known)
            && !path.replace("%%", "").ends_with('%');
        if path.is_empty()
            || path == "-"
            || path.len() > 1000
            || path.ends_with('/')
            || path.chars().any(char::is_control)
            || path.trim() != path
            || !tokens_are_known
        {
            return Err(wrong(format!(
                "`{}` is no path of an authorized_keys file (%u and %h stand for user and home, %% for %)",
                crate::destination::shown(path)
            )));
        }
    }
    Ok(())
}

/// Whether it is said whose file a login of another user changes: else it would be its own, and that may be root's.
pub(super) fn check_owner(host: &Host) -> Result<(), HostError> {
    match (&host.account.editor, &host.account.owner) {
        (Some(editor), None) => Err(settings(
            format!(
                "`{}` names no user, and the login {editor} would change a file of its own",
                host.destination
            ),
            "say whose file it is: `users = [\"...\"]` in [deploy] of the key file, or `user@host` in its hosts".to_owned(),
        )),
        _ => Ok(()),
    }
}

impl Ssh {
    /// Program, arguments and environment: argv only, never a shell, nothing of the daemon's environment but what ssh needs.
    pub(super) fn command(&self, host: &Host, options: &[OsString]) -> Command {
        let mut command = Command::new(&host.ssh[0]);
        // Of an option that is given twice the first holds. Of another program than ssh, which starts it in the end, the first
        // arguments are its own.
        let is_ssh = Path::new(&host.ssh[0])
            .file_name()
            .is_some_and(|name| name == "ssh");
        if is_ssh {
            command.args(options).args(&host.ssh[1..]);
        } else {
            command.args(&host.ssh[1..]).args(options);
        }
        command
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Of its own, so that jump hosts' ssh and proxy commands end with it.
            .process_group(0);
        for (name, value) in env::vars_os() {
            let is_locale = name.as_encoded_bytes().starts_with(b"LC_");
            if is_locale || ENVIRONMENT.iter().any(|allowed| name == **allowed) {
                command.env(name, value);
            }
        }
        if let Some(socket) = &self.auth_socket {
            command.env("SSH_AUTH_SOCK", socket);
        }
        // The daemon never prompts, and neither does the ssh of a jump host: whoever asks gets a program that fails.
        command
            .env("SSH_ASKPASS", NO_ASKPASS)
            .env("SSH_ASKPASS_REQUIRE", "force");
        command
    }
}

/// Options of every login. What is given first holds, so the user's ssh_config changes none of them.
pub(super) fn options(host: &Host, log: &Path) -> Vec<OsString> {
    let strict = match host.host_keys {
        HostKeys::Known => "StrictHostKeyChecking=yes",
        HostKeys::AcceptNew => "StrictHostKeyChecking=accept-new",
    };
    let mut options = vec!["-T".into(), "-a".into(), "-x".into(), "-E".into(), log.into()];
    options.extend(OPTIONS.iter().chain([&strict]).map(|text| option(text)));
    if let Some(algorithms) = host.pinned.as_deref().and_then(algorithms) {
        options.push(option(&format!("HostKeyAlgorithms={algorithms}")));
    }
    options
}

/// Those with which a host shows the key that is pinned, or a certificate of it: it may have keys of other types besides, and
/// which of them ssh prefers changes with known_hosts.
fn algorithms(pinned: &[u8]) -> Option<String> {
    let plain = without_certificate(pinned);
    let kind = std::str::from_utf8(first_string(&plain)?).ok()?;
    let plain = match kind {
        "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"][..],
        "ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => &[kind],
        // Of a type that not every ssh knows, it would refuse the option.
        _ => return None,
    };
    let certified = plain
        .iter()
        .map(|algorithm| format!("{algorithm}-cert-v01@openssh.com"));
    let all: Vec<String> = certified
        .chain(plain.iter().map(|&algorithm| algorithm.to_owned()))
        .collect();
    Some(all.join(","))
}

const OPTIONS: &[&str] = &[
    // How it went is read from the log, where ssh says which key was accepted.
    "LogLevel=DEBUG1",
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ConnectionAttempts=1",
    "FingerprintHash=sha256",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=4",
    // A connection that is open already proves nothing.
    "ControlMaster=no",
    "ControlPath=none",
    "ControlPersist=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "SessionType=default",
    "StdinNull=no",
    "ForkAfterAuthentication=no",
    "UpdateHostKeys=no",
    "VisualHostKey=no",
];
const ENVIRONMENT: &[&str] = &[
    "HOME",
    "KRB5CCNAME",
    "LANG",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];
const NO_ASKPASS: &str = if cfg!(target_os = "linux") {
    "/bin/false"
} else {
    "/usr/bin/false"
};
