//! Why something that was asked of a rotation or a host is not done, and the way out.

use crate::snapshot::Timestamp;

/// Why a command is refused. The text says what to do instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A name fits several logins on one host.
    #[error("{name} stands for several logins: {}\n  name one of them", logins.join(", "))]
    AmbiguousHost {
        /// What was named.
        name: String,
        /// The logins.
        logins: Vec<String>,
    },
    /// It is about attaching pairs to instances.
    #[error(transparent)]
    Attach(#[from] super::AttachRefusal),
    /// The earlier generation's private half is gone.
    #[error(
        "the private half of generation {earlier} of key {key} is gone: it was lost when keyferry stopped\n  \
         `keyferry rotate {key}` makes a new one"
    )]
    EarlierIsGone {
        /// The key.
        key: String,
        /// The generation.
        earlier: u64,
    },
    /// The earlier generation is on no host any more.
    #[error(
        "generation {earlier} of key {key} logs in nowhere any more: its lines were taken off\n  \
         `keyferry rotate {key}` makes a new one"
    )]
    EarlierIsNowhere {
        /// The key.
        key: String,
        /// The generation.
        earlier: u64,
    },
    /// The engine has ended.
    #[error("the engine has ended and changes nothing any more\n  see `keyferry status`")]
    Ended,
    /// The key's file is missing.
    #[error("keys/{key}.toml is missing, so that no new generation is made\n  put the file back")]
    FileMissing {
        /// The key.
        key: String,
    },
    /// It is there for one command.
    #[error(
        "key {key} is there for one command of keyferry exec, and ends with it\n  `keyferry retire {key}` ends it now"
    )]
    ForCommand {
        /// The key.
        key: String,
    },
    /// The user holds the key.
    #[error(
        "key {key} is held: it was taken away with ssh-add -d or -D\n  `keyferry resume {key}` brings it back"
    )]
    Held {
        /// The key.
        key: String,
    },
    /// A key for one command cannot have such a life.
    #[error(
        "a key for one command lives for a second at least and for 24 hours at most\n  name another time with --for"
    )]
    LifeOfKey,
    /// The ledger could not be written.
    #[error("nothing was changed, since it could not be noted: {message}\n  {remedy}")]
    Ledger {
        /// What the disk said.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// Nothing before the active generation is known.
    #[error(
        "there is nothing to go back to: generation {active} of key {key} is the only one\n  \
         `keyferry rotate {key}` makes a new one"
    )]
    NoEarlier {
        /// The key.
        key: String,
        /// The generation that is offered.
        active: u64,
    },
    /// The key has no generation in the agent.
    #[error("key {key} has no generation in the agent\n  `keyferry status` says what it waits for")]
    NotLoaded {
        /// The key.
        key: String,
    },
    /// No key has to do with the host.
    #[error(
        "no key is put on {host}: there is nothing to try\n  name it in `hosts` of a key's file, and put the file back if it is gone"
    )]
    NobodysHost {
        /// The host.
        host: String,
    },
    /// A key would be left without hosts.
    #[error(
        "{host} is the only host of key {}: without it keyferry sees no more whether the key logs in\n  \
         `keyferry host forget {host} --force` gives it up all the same", keys.join(", ")
    )]
    OnlyHost {
        /// The host.
        host: String,
        /// The keys.
        keys: Vec<String>,
    },
    /// The ledger is older than what was done with the key.
    #[error(
        "the ledger is older than what was done with key {key}: `keyferry status` says what was seen\n  \
         `keyferry resume {key}` goes on all the same"
    )]
    OlderLedger {
        /// The key.
        key: String,
    },
    /// The key's rotation stands still.
    #[error("key {key} is on hold{}{}\n  `keyferry resume {key}` ends that", until_words(*until), reason_words(reason.as_deref()))]
    Paused {
        /// The key.
        key: String,
        /// Until when.
        until: Option<Timestamp>,
        /// The user's reason.
        reason: Option<String>,
    },
    /// Its pair is being made at this moment.
    #[error(
        "generation {n} of key {key} is being made at the provider, and nothing else has been done\n  \
         ask again in a moment; `keyferry hold {key}` keeps it from going further"
    )]
    Requested {
        /// The key.
        key: String,
        /// The generation.
        n: u64,
    },
    /// The key is being taken off its hosts.
    #[error("key {key} is being retired\n  `keyferry resume {key}` ends that")]
    Retiring {
        /// The key.
        key: String,
    },
    /// A time that is over.
    #[error(
        "{until} is over\n  name a time that is yet to come, or none: then the hold lasts until `keyferry resume`"
    )]
    TimeIsOver {
        /// The time.
        until: Timestamp,
    },
    /// It is about other public keys than ours.
    #[error(transparent)]
    Trust(#[from] super::TrustRefusal),
    /// There are many keys for commands already.
    #[error(
        "{running} commands of keyferry exec have a key of their own already, and more are not made\n  \
         wait until one has ended; `keyferry status` shows them"
    )]
    TooManyCommands {
        /// How many.
        running: usize,
    },
    /// There is no such host.
    #[error("there is no host {name}{nearest}\n  `keyferry host list` lists them")]
    UnknownHost {
        /// What was named.
        name: String,
        /// Names that are known.
        nearest: String,
    },
    /// There is no such key.
    #[error("there is no key named {name}{nearest}\n  `keyferry status` lists the keys")]
    UnknownKey {
        /// What was named.
        name: String,
        /// Names that are known.
        nearest: String,
    },
    /// Nothing of that name holds the retirement back.
    #[error(
        "{name} is neither a host of key {key} nor an instance that is known to hold its pair{nearest}\n  \
         name what `keyferry status` says is in the way, or `all`"
    )]
    UnknownLoss {
        /// The key.
        key: String,
        /// What was named.
        name: String,
        /// Names that are known.
        nearest: String,
    },
    /// Nothing that could be given up is known.
    #[error(
        "no instance is known to keep an earlier generation of key {key}, so there is nothing to give up\n  \
         `keyferry status` says what its rotation waits for; where the provider may not say which instances there are, \
         `keyferry account policy` shows the permission"
    )]
    NoInstances {
        /// The key.
        key: String,
    },
    /// Keyferry cannot see where the key is used.
    #[error(
        "key {key} has no hosts: keyferry does not know where it is used, and would lock you out there\n  \
         name them in keys/{key}.toml, as in: hosts = [\"deploy@web-1.example.com\"]"
    )]
    WithoutHosts {
        /// The key.
        key: String,
    },
}

fn until_words(until: Option<Timestamp>) -> String {
    until.map(|until| format!(" until {until}")).unwrap_or_default()
}

fn reason_words(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}
