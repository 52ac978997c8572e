//! Why a pair is not attached to an instance, and the way out.

/// Why a pair is not attached to an instance, and the way out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AttachRefusal {
    /// It is another generation, or another pair, than the person has agreed to.
    #[error(
        "key {key} has changed since that was shown, and nothing was attached\n  run the command again, and look at what it shows"
    )]
    Changed {
        /// The key.
        key: String,
    },
    /// The user gave the host up.
    #[error(
        "{host} was given up, and nobody would see whether the key logs in there\n  `keyferry host retry {host}` takes it back"
    )]
    GivenUp {
        /// The host.
        host: String,
    },
    /// It cannot be an instance's identifier.
    #[error(
        "{instance:?} is no provider's identifier of an instance\n  the provider's console shows it: i-bp1..., i-0... or the like"
    )]
    Identifier {
        /// What was named.
        instance: String,
    },
    /// There is no pair that could be attached.
    #[error(
        "generation {n} of key {key} has no pair at its provider now\n  `keyferry status` says why, and what to do"
    )]
    NoPair {
        /// The key.
        key: String,
        /// The generation that is offered.
        n: u64,
    },
    /// The key has no pair in that region.
    #[error("key {key} has no pair in {region}, but in {}\n  name the region of the instance, or write it into the key's `regions`", regions.join(", "))]
    NotInRegion {
        /// The key.
        key: String,
        /// What was named.
        region: String,
        /// Where it has.
        regions: Vec<String>,
    },
    /// The vendor cannot, or its plugin.
    #[error(
        "plugin {plugin} has no attach: it cannot put a key on an instance that is there\n  \
         put the public half there yourself (public/{key}.pub in the state directory), in the vendor's console for one: keyferry \
         sees it"
    )]
    NotOffered {
        /// The plugin.
        plugin: String,
        /// The key.
        key: String,
    },
    /// The account is another than the pair was made with.
    #[error(
        "pair {pair} was made with account {account} as it was before its file changed\n  put the file back as it was, or \
         `keyferry rotate` the key"
    )]
    OtherAccount {
        /// The account.
        account: String,
        /// The pair.
        pair: String,
    },
    /// The plugin cannot be used.
    #[error("{message}\n  `keyferry status` says what to do about it")]
    Plugin {
        /// Which, and why.
        message: String,
    },
    /// An instance has one pair.
    #[error("several keys are put on {host}: {}\n  an instance has one pair: say whose with --key", keys.join(", "))]
    SeveralKeys {
        /// The host.
        host: String,
        /// Their keys.
        keys: Vec<String>,
    },
    /// It is not said in which region the instance is.
    #[error("key {key} has a pair in each of {}\n  say with --region in which of them the instance is", regions.join(", "))]
    SeveralRegions {
        /// The key.
        key: String,
        /// Where it has pairs.
        regions: Vec<String>,
    },
    /// A host is one instance, and an instance one host.
    #[error("{name} is named twice\n  say once which instance a host is")]
    Twice {
        /// The host or the instance.
        name: String,
    },
}
