//! One login: a running ssh, the proof of which key it was, and the bytes that go to and fro.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

use super::diagnosis::{Phase, Trouble, failure, is_cut_short, settings};
use super::folder::Folder;
use super::host_key::{self, fingerprint, without_certificate};
use super::listening::{Complaints, END_TIME, LogReader};
use super::log::Log;
use super::{OneKeySocket, Prompting, Ssh, command, identity, prompts};
use crate::contract::{Host, HostError, HostErrorKind, Identity, Proof};

/// A login that was made, and whose key is proven.
pub(super) struct Connection {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// What came and was not taken yet.
    received: Vec<u8>,
    log: LogReader,
    complaints: Complaints,
    socket: Option<Box<dyn OneKeySocket>>,
    /// Kept while ssh may ask.
    prompting: Option<Box<dyn Prompting>>,
    deadline: Instant,
    destination: String,
    /// Whether one host key alone was asked for.
    is_pinned: bool,
    /// Whether the key is one of ours, which signs at once and asks nobody.
    signs_alone: bool,
    /// The public blob of the host key, where it is known already.
    host_key: Option<Vec<u8>>,
    // Last: it is removed once ssh is ended.
    _folder: Folder,
}

/// What a login came to.
pub(super) enum Established {
    /// A command is running.
    Whole(Box<Connection>),
    /// The host took the key's signature, and wants more. It runs nothing.
    Partly(Box<Connection>),
}

impl Ssh {
    /// Logs in with an identity and has a command run. Nothing is sent to it before host and key are proven.
    pub(super) async fn log_in(
        &self,
        host: &Host,
        identity: &Identity,
        proof: Proof,
        remote_command: &str,
        time: Duration,
    ) -> Result<Established, HostError> {
        let deadline = Instant::now() + time;
        self.log_in_until(deadline, host, identity, proof, remote_command, None)
            .await
    }

    /// As [`Ssh::log_in`], and a person answers what ssh asks.
    pub(super) async fn log_in_asking(
        &self,
        host: &Host,
        identity: &Identity,
        remote_command: &str,
        prompting: Box<dyn Prompting>,
    ) -> Result<Established, HostError> {
        let deadline = Instant::now() + self.deadline + ANSWER_TIME;
        let proof = Proof::Session;
        self.log_in_until(deadline, host, identity, proof, remote_command, Some(prompting))
            .await
    }

    /// ssh offers all that an agent has before most files. Where a host hears no more of them, only those that ssh_config
    /// names are offered, from files or the agent.
    async fn log_in_until(
        &self,
        deadline: Instant,
        host: &Host,
        identity: &Identity,
        proof: Proof,
        remote_command: &str,
        prompting: Option<Box<dyn Prompting>>,
    ) -> Result<Established, HostError> {
        let is_asked = prompting.is_some();
        let connection = self.start(host, identity, &[], remote_command, deadline, prompting)?;
        let log = connection.log.watched();
        let error = match connection.until_logged_in(host, identity, proof).await {
            Err(error) if *identity == Identity::SshConfig && is_cut_short(&error, &log.borrow()) => error,
            result => return result,
        };
        let prompting = match (is_asked, &self.prompts) {
            (false, _) => None,
            (true, prompts) => match prompts
                .as_ref()
                .and_then(|prompts| prompts.open(&host.destination))
            {
                Some(prompting) => Some(prompting),
                None => return Err(error),
            },
        };
        let named = ["IdentitiesOnly=yes"];
        let connection = self.start(host, identity, &named, remote_command, deadline, prompting)?;
        match connection.until_logged_in(host, identity, proof).await {
            // That there were too many tells more.
            Err(again) if again.kind == HostErrorKind::Refused => Err(error),
            result => result,
        }
    }

    fn start(
        &self,
        host: &Host,
        identity: &Identity,
        more_options: &[&str],
        remote_command: &str,
        deadline: Instant,
        prompting: Option<Box<dyn Prompting>>,
    ) -> Result<Connection, HostError> {
        let own = |error: io::Error| {
            failure(
                HostErrorKind::Internal,
                format!("a login cannot be prepared: {error}"),
                "see that the runtime directory is there and has space".to_owned(),
            )
        };
        let folder = self.folders.make().map_err(own)?;
        let (path, receiver, sender) = folder.pipe().map_err(own)?;
        let mut options = match prompting {
            Some(_) => prompts::options(identity),
            None => Vec::new(),
        };
        options.extend(more_options.iter().map(|text| identity::option(text)));
        options.extend(command::options(host, &path));
        let public_key = identity.public_key();
        let opened = match (identity, &public_key) {
            (Identity::Generation { key, n, .. }, _) => Some(self.sockets.open(key, *n)),
            (Identity::Agent { socket, .. }, Some(public_key)) => {
                Some(self.sockets.open_foreign(socket, public_key))
            }
            _ => None,
        };
        let socket = opened.transpose().map_err(|problem| {
            settings(
                format!("{} cannot be used: {problem}", identity.label()),
                "`keyferry status` says how the key fares".to_owned(),
            )
        })?;
        if let (Some(public_key), Some(socket)) = (public_key, &socket) {
            let file = folder.public_half(&public_key).map_err(own)?;
            options.extend(identity::options(&public_key, &file, socket.path())?);
        }
        let mut command = self.command(host, &options);
        if let Some(prompting) = &prompting {
            let (name, value) = prompting.variable();
            command.env("SSH_ASKPASS", prompting.program()).env(name, value);
        }
        command.args(["--", &host.destination, remote_command]);
        let mut child = command.spawn().map_err(|error| {
            settings(
                format!("`{}` cannot be started: {error}", host.ssh[0]),
                "install the OpenSSH client, or name another program in `[ssh] command`".to_owned(),
            )
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(own(io::Error::other("ssh has no pipes")));
        };
        Ok(Connection {
            child,
            stdin: Some(stdin),
            stdout,
            received: Vec::new(),
            log: LogReader::start(receiver, sender),
            complaints: Complaints::drain(stderr),
            socket,
            prompting,
            deadline,
            destination: host.destination.clone(),
            is_pinned: host.pinned.is_some(),
            signs_alone: matches!(identity, Identity::Generation { .. }),
            host_key: None,
            _folder: folder,
        })
    }
}

impl Connection {
    async fn until_logged_in(
        mut self,
        host: &Host,
        identity: &Identity,
        proof: Proof,
    ) -> Result<Established, HostError> {
        loop {
            let log = self.log.now();
            self.check_version(&log)?;
            self.compare_host_key(host, &log)?;
            if log.authenticated.is_some() || (proof == Proof::PublicKey && !log.partly.is_empty()) {
                return self.prove(host, identity, proof, &log);
            }
            tokio::select! {
                // A change first: what ssh said before it ended is read before its end is.
                biased;
                () = self.log.changed() => {}
                ended = self.child.wait() => {
                    self.log.finish().await;
                    self.complaints.finish().await;
                    let log = self.log.now();
                    self.compare_host_key(host, &log)?;
                    if log.authenticated.is_some() || (proof == Proof::PublicKey && !log.partly.is_empty()) {
                        return self.prove(host, identity, proof, &log);
                    }
                    return Err(self.trouble(Phase::LoggingIn, ended.ok()));
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    return Err(self.trouble(Phase::LoggingIn, None));
                }
            }
        }
    }

    /// An older ssh does not tell the agent which session it signs for, so that nothing could be proven.
    fn check_version(&self, log: &Log) -> Result<(), HostError> {
        match (&self.socket, log.version) {
            (Some(_), Some(version)) if version < OLDEST => Err(settings(
                format!("ssh is of OpenSSH {}.{}, and 8.9 is needed", version.0, version.1),
                "install a newer OpenSSH client, or name one in `[ssh] command`".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Before anything else: another machine gets no login, no script and no data.
    fn compare_host_key(&self, host: &Host, log: &Log) -> Result<(), HostError> {
        let (Some(pinned), Some(seen)) = (&host.pinned, &log.host_key) else {
            return Ok(());
        };
        let expected = fingerprint(pinned);
        if *seen == expected {
            return Ok(());
        }
        Err(failure(
            HostErrorKind::HostKeyChanged,
            format!(
                "{}: the host key is {seen}, and was {expected} when a login was last proven",
                self.destination
            ),
            "find out why; if the machine was replaced, say so with `keyferry host trust`".to_owned(),
        ))
    }

    fn prove(
        mut self,
        host: &Host,
        identity: &Identity,
        proof: Proof,
        log: &Log,
    ) -> Result<Established, HostError> {
        let Some(seen) = &log.host_key else {
            return Err(failure(
                HostErrorKind::Settings,
                format!("{}: ssh does not say which host key it saw", self.destination),
                "keyferry needs the log of OpenSSH 8.9 or later; see that `[ssh] command` has no option that hides it"
                    .to_owned(),
            ));
        };
        if let Some(pinned) = &host.pinned {
            self.host_key = Some(without_certificate(pinned));
        }
        if let Some(socket) = &self.socket {
            let signed = socket
                .logins()
                .into_iter()
                .find(|login| !login.forwarded && fingerprint(&login.host_key) == *seen);
            self.host_key = signed.map(|login| without_certificate(&login.host_key));
            if self.host_key.is_none() {
                return Err(self.another_key(identity, "it was not asked for a signature"));
            }
        }
        let wanted = identity
            .public_key()
            .and_then(|key| crate::line::public_blob(&key))
            .map(|blob| fingerprint(&blob));
        let partly = proof == Proof::PublicKey && log.authenticated.is_none();
        let is_it = match (&wanted, &log.authenticated) {
            (None, _) => true,
            (Some(_), None) => log.partly.contains(&wanted),
            (Some(_), Some(authenticated)) => {
                let alone = authenticated.method == "publickey"
                    && authenticated.key == wanted
                    && log.partly.is_empty();
                // The key was taken, and a person added what the host wants besides.
                let with_a_person = self.prompting.is_some()
                    && authenticated.method != "publickey"
                    && log.partly.contains(&wanted);
                alone || with_a_person
            }
        };
        if !is_it {
            return Err(self.another_key(identity, "the host let another key in"));
        }
        let connection = Box::new(self);
        Ok(if partly {
            Established::Partly(connection)
        } else {
            Established::Whole(connection)
        })
    }

    fn another_key(&self, identity: &Identity, how: &str) -> HostError {
        failure(
            HostErrorKind::AnotherKey,
            format!(
                "{}: the login was not made with {}: {how}",
                self.destination,
                identity.label()
            ),
            "the key is not on the host, or not as it should be; another file that ssh_config names logs in"
                .to_owned(),
        )
    }

    /// The public blob of the host key, where our own socket saw it or it was pinned.
    pub(super) fn host_key(&self) -> Option<&[u8]> {
        self.host_key.as_deref()
    }

    /// The fingerprint of the host key.
    pub(super) fn host_key_fingerprint(&self) -> Option<String> {
        self.log.now().host_key
    }

    /// The host key's blob from known_hosts files, for logins that no socket of ours saw.
    pub(super) fn find_host_key(&mut self, files: &[PathBuf]) -> Option<Vec<u8>> {
        let wanted = self.host_key_fingerprint()?;
        self.host_key = host_key::find(files, &wanted);
        self.host_key.clone()
    }

    pub(super) fn destination(&self) -> &str {
        &self.destination
    }

    /// Sends bytes to the command.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        let Some(stdin) = &mut self.stdin else {
            return Err(self.trouble(Phase::Running, None));
        };
        let sending = async {
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        match timeout_at(self.deadline, sending).await {
            // An end of ssh shows better in what it says.
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => Err(self.trouble(Phase::Running, None)),
        }
    }

    /// What came before a mark, which is taken too, and the rest of the mark's line.
    pub(super) async fn receive(
        &mut self,
        mark: &[u8],
        limit: usize,
    ) -> Result<(Vec<u8>, String), HostError> {
        let mut searched = 0;
        let mut mark_at = None;
        loop {
            if mark_at.is_none() {
                mark_at = find(&self.received[searched..], mark).map(|at| searched + at);
                searched = self.received.len().saturating_sub(mark.len());
            }
            if let Some(at) = mark_at {
                let after = at + mark.len();
                if let Some(end) = self.received[after..].iter().position(|byte| *byte == b'\n') {
                    let rest = String::from_utf8_lossy(&self.received[after..after + end]).into_owned();
                    let mut before: Vec<u8> = self.received.drain(..=after + end).collect();
                    before.truncate(at);
                    return Ok((before, rest));
                }
            }
            if self.received.len() > limit {
                return Err(failure(
                    HostErrorKind::NoAnswer,
                    format!("{}: more was printed than an answer can be", self.destination),
                    "see what the login shell's rc files print".to_owned(),
                ));
            }
            match timeout_at(self.deadline, self.stdout.read_buf(&mut self.received)).await {
                Ok(Ok(0) | Err(_)) => {
                    // ssh's own word comes with its end.
                    let ended = timeout(END_TIME, self.child.wait()).await;
                    self.log.finish().await;
                    self.complaints.finish().await;
                    return Err(self.trouble(Phase::Running, ended.ok().and_then(Result::ok)));
                }
                Ok(Ok(_)) => {}
                Err(_) => return Err(self.trouble(Phase::Running, None)),
            }
        }
    }

    /// Lets ssh end by itself, so that the host's log shows no broken connection. Nobody waits for it.
    pub(super) fn close(mut self) {
        self.stdin = None;
        tokio::spawn(async move {
            // On drop it is ended.
            let _ = timeout(END_TIME, self.child.wait()).await;
        });
    }

    fn trouble(&self, phase: Phase, ended: Option<ExitStatus>) -> HostError {
        Trouble {
            destination: &self.destination,
            is_pinned: self.is_pinned,
            signs_alone: self.signs_alone,
            phase,
            log: &self.log.now(),
            complaints: &self.complaints.text(),
            ended,
        }
        .diagnose()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        end_group(&self.child);
    }
}

/// Ends an ssh that was started with a process group of its own, and whatever it started: jump hosts' ssh, proxy commands.
pub(super) fn end_group(child: &Child) {
    // Only while it is not reaped: afterwards the number may be somebody else's.
    if let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// What a person may take besides, for all questions of a login: as long as sshd waits (`LoginGraceTime`).
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// The first that has `session-bind@openssh.com`.
const OLDEST: (u32, u32) = (8, 9);
