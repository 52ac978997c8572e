//! What is asked of hosts, and what they answer.

use std::path::PathBuf;

/// One thing to do on one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Task {
    /// Where.
    pub host: Host,
    /// What.
    pub work: Work,
}

/// A login whose `authorized_keys` is looked after, and how it is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// What ssh is told to connect to, as the user wrote it: `[user@]name` or `ssh://[user@]name[:port]`. It is checked not
    /// to begin with `-` and to hold no blank and no control character.
    pub destination: String,
    /// The file to change.
    pub account: Account,
    /// How ssh is started: program and first arguments, as `["ssh", "-F", "/etc/ssh/fleet_config"]`.
    pub ssh: Vec<String>,
    /// Which host keys are accepted.
    pub host_keys: HostKeys,
    /// The public blob of the host key that was seen when a login was last proven; of a host certificate, of the key that it
    /// certifies. Another one is refused, whatever known_hosts says; none: the first time.
    pub pinned: Option<Vec<u8>>,
}

/// Whose `authorized_keys` it is, and how it is written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// Another login than [`Host::destination`] that changes the file: with `sudo`, for a user who cannot do it.
    pub editor: Option<String>,
    /// The file's owner, where the editor is another user.
    pub owner: Option<String>,
    /// `sudo -n` is put before the program that changes the file.
    pub sudo: bool,
    /// The file, relative to the owner's home; none: `.ssh/authorized_keys`. `%u` and `%h` stand for user and home, as in
    /// sshd_config(5).
    pub path: Option<String>,
}

/// Which host keys are accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HostKeys {
    /// Those that known_hosts has (`StrictHostKeyChecking=yes`).
    #[default]
    Known,
    /// New ones too (`StrictHostKeyChecking=accept-new`); changed ones never.
    AcceptNew,
}

/// With which key a login is made.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Identity {
    /// A generation of a key of ours: through a socket that has this one key alone.
    Generation {
        /// The key's name.
        key: String,
        /// The generation.
        n: u64,
        /// Its public half: `TYPE BASE64`.
        public_key: String,
    },
    /// A key in another agent of the user's, or one that the user added to keyferry's own.
    Agent {
        /// That agent's socket; empty: keyferry's own.
        socket: PathBuf,
        /// Its public half, `TYPE BASE64`; or its fingerprint `SHA256:...`, which whoever has the agents puts the public half
        /// in place of.
        public_key: String,
    },
    /// Whatever the user's own ssh_config and agent have for that host.
    SshConfig,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Work {
    /// Log in, and prove that it was with this identity: answers [`Reply::Verified`].
    Verify {
        /// The key.
        identity: Identity,
        /// What counts as proof.
        proof: Proof,
    },
    /// Put a line into the file, unless one with the same key, options and marker is there: answers [`Reply::Put`]. A line of
    /// ours (same marker but for the generation) with the same key and other options is replaced, which is final only
    /// when the key has logged in with the new one; else the file is put back as it was. Everything else stays byte for
    /// byte.
    Put {
        /// Tried in this order until one logs in.
        over: Vec<Identity>,
        /// The line.
        line: Line,
        /// The line's own key, which is to log in where a line of it is replaced; none: nobody here can log in with it, and
        /// a replaced line is not tried.
        itself: Option<Identity>,
        /// What counts as proof that it does.
        proof: Proof,
    },
    /// Take lines out of the file, over a login with a key that stays, and see that this key still logs in before the
    /// change is final: answers [`Reply::Removed`]. Of ours only those go whose key and marker are both the line's (the marker
    /// by whatever names user and machine had when it was written). If the
    /// second login fails, the file is put back as it was.
    Remove {
        /// The key that stays: a [`Identity::Generation`], or the recovery identity.
        over: Identity,
        /// Where another login changes the file ([`Account::editor`]): tried in this order until one logs in as that.
        editors: Vec<Identity>,
        /// What counts as proof that it still logs in.
        proof: Proof,
        /// Lines of ours.
        lines: Vec<Line>,
        /// Keys (`SHA256:...`) of lines that are not ours, that the user said may go (`replaces`).
        foreign: Vec<String>,
    },
    /// Take lines out of the file, over a login with a key that goes with them: answers [`Reply::Removed`]. No login follows,
    /// since there is nothing to log in with. For hosts whose owner said that this may be.
    RemoveLast {
        /// The key, or others that log in: tried in this order until one does.
        over: Vec<Identity>,
        /// Lines of ours; as for [`Work::Remove`].
        lines: Vec<Line>,
    },
    /// Read the lines of the file that have a marker of keyferry's, whoever's: answers [`Reply::Marked`].
    Inspect {
        /// Tried in this order until one logs in.
        over: Vec<Identity>,
    },
    /// Ask `ssh -G` what the destination stands for; nothing is connected to: answers [`Reply::Resolved`].
    Resolve,
}

/// What proves that a login was made with a key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Proof {
    /// A command's answer came back, and our own socket signed for that very session.
    #[default]
    Session,
    /// Our own socket signed for that very session, and the host took the signature, though it wants a second factor
    /// besides and no command was run.
    PublicKey,
}

/// A line of `authorized_keys` that keyferry looks after, sshd(8).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Options before the key, as `from="10.0.0.0/8",expiry-time="202612312359"`; empty: none.
    pub options: String,
    /// `TYPE BASE64`.
    pub public_key: String,
    /// The comment.
    pub marker: Marker,
}

/// Who put a line there: `keyferry owner=li machine=li-thinkpad-7f3a1c key=prod-web gen=12`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Marker {
    /// The user's name.
    pub owner: String,
    /// The machine's name and the installation, joined by `-`.
    pub machine: String,
    /// The key's name.
    pub key: String,
    /// The generation; none: a line that was granted to somebody else's key (`grant`).
    pub n: Option<u64>,
}

/// What came of a [`Task`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Of [`Work::Verify`].
    Verified {
        /// The public blob of the host key; of a host certificate, of the key that it certifies.
        host_key: Vec<u8>,
    },
    /// Of [`Work::Put`].
    Put {
        /// The one that logged in.
        over: Identity,
        /// Whether the line was there before.
        already: bool,
        /// SHA-256 of the whole file afterwards.
        file_hash: [u8; 32],
    },
    /// Of [`Work::Remove`] and [`Work::RemoveLast`]. Lines that were not there count as removed.
    Removed {
        /// SHA-256 of the whole file afterwards.
        file_hash: [u8; 32],
        /// Lines that hold one of the keys and were left, since their marker is not ours, as they stand.
        left: Vec<String>,
    },
    /// Of [`Work::Inspect`].
    Marked {
        /// In the order of the file.
        lines: Vec<Line>,
        /// How many keys the file lets in besides.
        others: usize,
    },
    /// Of [`Work::Resolve`].
    Resolved {
        /// `HostName`, where ssh connects to.
        host_name: String,
        /// `Port`.
        port: u16,
        /// `User`.
        user: String,
        /// `HostKeyAlias`.
        host_key_alias: Option<String>,
    },
}

/// Why a [`Task`] failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// What kind of failure it is.
    pub kind: HostErrorKind,
    /// What happened, in words, with the host's name.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether anything may have been changed.
    pub outcome: Outcome,
}

impl HostError {
    /// Whether the host said that it takes none of the keys. A connection that is cut while keys are tried counts as a
    /// refusal too, and says nothing of the kind.
    pub fn is_final_refusal(&self) -> bool {
        match self.kind {
            HostErrorKind::AnotherKey => true,
            HostErrorKind::Refused => self.message.contains("Permission denied ("),
            _ => false,
        }
    }
}

/// Whether a failed [`Task`] changed anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing was changed.
    Unchanged,
    /// It was changed, and put back as it was: the login that was to follow did not.
    Restored,
    /// Nobody knows: the connection broke after the change was asked for.
    Unknown,
}

/// Kinds of [`HostError`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HostErrorKind {
    /// No connection: the name is unknown, nobody listens, or no answer came in time.
    Unreachable,
    /// The host key is not in known_hosts.
    HostKeyUnknown,
    /// The host key is another than known_hosts has, or than the pinned one.
    HostKeyChanged,
    /// The host refused the key, or every key that was tried.
    Refused,
    /// The host let somebody in, but not with the key that was to be proven.
    AnotherKey,
    /// The login works, but commands are not run as asked (a forced command, an expired account, a full disk), so that
    /// nothing came back.
    NoAnswer,
    /// The file or its folder is not as keyferry changes it: a link, somebody else's, read-only, immutable, no space left.
    File,
    /// Others change the file at the same time.
    Busy,
    /// A host on the way (`ProxyJump`) lets nobody in: nothing is known of the host itself.
    JumpRefused,
    /// A person would have to answer: a passphrase, a one-time password, a touch.
    NeedsPerson,
    /// The agent that was to sign was locked meanwhile: nothing is known of the host.
    Locked,
    /// ssh cannot be started, or its settings are wrong.
    Settings,
    /// A fault of keyferry's own, or an answer that makes no sense.
    Internal,
}

impl HostErrorKind {
    /// Whether it is a matter of who logs in: another identity may fare better.
    pub fn is_of_the_login(self) -> bool {
        matches!(
            self,
            Self::AnotherKey
                | Self::JumpRefused
                | Self::NeedsPerson
                | Self::NoAnswer
                | Self::Refused
                | Self::Settings
        )
    }

    /// The name in status and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::HostKeyUnknown => "host_key_unknown",
            Self::HostKeyChanged => "host_key_changed",
            Self::Refused => "refused",
            Self::AnotherKey => "another_key",
            Self::NoAnswer => "no_answer",
            Self::File => "file",
            Self::Busy => "busy",
            Self::JumpRefused => "jump_refused",
            Self::NeedsPerson => "needs_person",
            Self::Locked => "locked",
            Self::Settings => "settings",
            Self::Internal => "internal",
        }
    }
}
