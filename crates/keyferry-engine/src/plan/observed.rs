//! What the engine knows beyond files and ledger, and what failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyferry_plugin::contract::Algorithm;

use super::{GenerationId, Limit, Rate};
use crate::desired::{Account, KeySpec};
use crate::snapshot::StatusError;

/// What the engine knows beyond files and ledger.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Keys for which a private half is being made here.
    pub generating: BTreeSet<String>,
    /// Private halves made here for which no pair was asked yet.
    pub ready: BTreeMap<String, Algorithm>,
    /// Generations with a request in flight, and its account.
    pub jobs: BTreeMap<GenerationId, String>,
    /// Generations whose private half is in our hands and not yet in the agent.
    pub halves: BTreeSet<GenerationId>,
    /// Generations that were looked for and are not there.
    pub absent: BTreeSet<GenerationId>,
    /// What the agent has, held or not.
    pub loaded: BTreeMap<String, u64>,
    /// Public halves on the disk.
    pub published: BTreeMap<String, u64>,
    /// Public halves being written.
    pub publishing: BTreeSet<String>,
    /// What failed, and when it may be tried again.
    pub retries: BTreeMap<Subject, Retry>,
    /// When a doubtful generation is looked for next (milliseconds of uptime); none: now.
    pub looks: BTreeMap<GenerationId, u64>,
    /// When a key last had a request sent, as a count of requests.
    pub served: BTreeMap<String, u64>,
    /// How fast each account was asked so far.
    pub rates: BTreeMap<String, Rate>,
    /// The limits on pairs of the accounts that have one.
    pub limits: BTreeMap<String, Limit>,
    /// When each account's pairs are looked at next (milliseconds of uptime).
    pub surveys: BTreeMap<String, u64>,
    /// Accounts whose pairs are being looked at.
    pub surveying: BTreeSet<String>,
    /// Generations whose pair was not in the list of all, or was another there: each is asked about by itself.
    pub suspects: BTreeSet<GenerationId>,
    /// All generations in the agent, staged and earlier ones too. [`Self::loaded`] has the active one of each key.
    pub in_agent: BTreeSet<GenerationId>,
    /// The hosts that a file or a program told, by key, and when (milliseconds of uptime).
    pub host_lists: BTreeMap<String, (Vec<String>, u64)>,
    /// Keys whose hosts are being asked for.
    pub listing_hosts: BTreeSet<String>,
    /// Hosts with a task under way, and the key it is for.
    pub host_tasks: BTreeMap<String, String>,
    /// Generations that did not log in at a host when that was last tried, since their line was last put there.
    pub refused_logins: BTreeSet<(String, u64, String)>,
    /// Instances that name a generation's pair, when they were last asked for: their names, and the uptime.
    pub instances: BTreeMap<GenerationId, (Vec<String>, u64)>,
    /// Accounts whose plugin can say which instances name a pair.
    pub can_list_instances: BTreeSet<String>,
    /// Hosts where the recovery identity was seen to log in (wall clock in milliseconds since 1970 UTC).
    pub recovery_verified: BTreeMap<String, i64>,
    /// Hosts where a person waits for the recovery identity to log in, and since when (milliseconds since 1970 UTC).
    pub recovering: BTreeMap<String, i64>,
    /// Fingerprints of foreign keys whose lines were taken off since the daemon was started, by key and host.
    pub replaced: BTreeMap<(String, String), Vec<String>>,
    /// Hosts and fingerprints of keys whose lines were taken off, and that a line without a marker lets in there still.
    pub still_let_in: BTreeSet<(String, String)>,
    /// Hosts that are being looked through for lines that are to go.
    pub revoking: BTreeSet<String>,
    /// Whether the agent is locked: it signs nothing then, so that nothing at hosts is begun.
    pub locked: bool,
    /// Keys whose user asked for a rotation, a retry or a look that ignores the hours of the day.
    pub urged: BTreeSet<String>,
}

/// What can fail by itself.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// Putting a key's public half into a region: the key and the region.
    Copying(String, Option<String>),
    /// Looking up or deleting one generation's pair.
    Generation(String, u64),
    /// Finding out which hosts a key has.
    HostList(String),
    /// Working on a key at a host: the key and the host's address.
    Host(String, String),
    /// Asking for the instances that name a generation's pair.
    Instances(String, u64),
    /// Bringing a key into the agent.
    Making(String),
    /// Writing a key's public half.
    Publishing(String),
    /// Logging in with the recovery identity: the key beside whose line it stands, and the host's address.
    Recovery(String, String),
    /// Taking lines off a host that are to go: the host's address.
    Revocation(String),
    /// Working on other public keys than ours at a host: the key on whose hosts they stand, and the host's address.
    Trusted(String, String),
}

impl Subject {
    /// The host, of what is done on one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Host(_, host)
            | Self::Recovery(_, host)
            | Self::Revocation(host)
            | Self::Trusted(_, host) => Some(host),
            Self::Copying(..)
            | Self::Generation(..)
            | Self::HostList(_)
            | Self::Instances(..)
            | Self::Making(_)
            | Self::Publishing(_) => None,
        }
    }

    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Self::Copying(key, _)
            | Self::Generation(key, _)
            | Self::Host(key, _)
            | Self::HostList(key)
            | Self::Instances(key, _)
            | Self::Making(key)
            | Self::Publishing(key)
            | Self::Recovery(key, _)
            | Self::Trusted(key, _) => key,
            Self::Revocation(_) => "",
        }
    }
}

/// A failure and what follows from it.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How often in a row.
    pub failures: u32,
    /// Uptime in milliseconds; none: not until a file changes or the user asks.
    pub not_before: Option<u64>,
    /// Whether deleting the key's lost pairs makes room.
    pub needs_room: bool,
    /// The key's file then.
    pub spec: Option<Arc<KeySpec>>,
    /// The account's file then.
    pub account: Option<Arc<Account>>,
    /// What status shows.
    pub error: StatusError,
}

impl Retry {
    /// Whether the files say something else than when it failed.
    pub fn is_outdated(&self, spec: Option<&Arc<KeySpec>>, account: Option<&Arc<Account>>) -> bool {
        self.spec.as_ref() != spec || self.account.as_ref() != account
    }
}
