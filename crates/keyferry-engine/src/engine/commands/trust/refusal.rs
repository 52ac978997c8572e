//! Why something that was asked about other public keys is not done, and the way out.

use crate::ledger::Purpose;
use crate::snapshot::Timestamp;

/// Why something that was asked about other public keys is not done, and the way out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrustRefusal {
    /// It is let in already, and not by a grant.
    #[error("that key is let in on hosts of key {key} already, as {}\n  nothing is to be granted", purpose.name())]
    AlreadyTrusted {
        /// The key.
        key: String,
        /// What for.
        purpose: Purpose,
    },
    /// No line of it is known.
    #[error(
        "nothing is known of a line of {fingerprint}\n  `keyferry grant --list` lists them; name the hosts where it stands with --hosts"
    )]
    NoSuchLine {
        /// What was named.
        fingerprint: String,
    },
    /// There is nothing to recover with.
    #[error(
        "no recovery identity is named\n  write [recovery] with identity = \"~/.ssh/....pub\" into keyferry.toml, and keyferry puts it on your hosts"
    )]
    NoRecovery,
    /// The host is none of the key's.
    #[error("{host} is no host of key {key}\n  `keyferry host list` lists them")]
    NotItsHost {
        /// What was named.
        host: String,
        /// The key.
        key: String,
    },
    /// A file asks for the line.
    #[error("{fingerprint} is {} of {file}: keyferry would put its lines back\n  take it out there, and keyferry takes them off", purpose.name())]
    StillWanted {
        /// The key.
        fingerprint: String,
        /// What for.
        purpose: Purpose,
        /// Which file.
        file: String,
    },
    /// Nothing of that name would be lost.
    #[error(
        "{name} is none of the hosts that are meant{nearest}\n  name those that the list above leaves, or `all`"
    )]
    UnknownLoss {
        /// What was named.
        name: String,
        /// Names that are known.
        nearest: String,
    },
    /// A machine's lines are taken off by that machine.
    #[error("{machine} is this machine: `keyferry retire KEY` takes a key of its own off its hosts")]
    OwnMachine {
        /// What was named.
        machine: String,
    },
    /// It is one of keyferry's own.
    #[error("that is a generation of key {key} itself")]
    OwnKey {
        /// The key.
        key: String,
    },
    /// It is no public key.
    #[error("what was given {0}")]
    PublicKey(String),
    /// A time that is over, or too far away.
    #[error("a grant ends between now and in 1,000 days, not at {0}")]
    Time(Timestamp),
    /// It cannot be named to ssh.
    #[error("{0}")]
    Host(String),
}
