//! The rows that the engine works on.

use keyferry_plugin::contract::Algorithm;

use super::trusted::{Revocation, Trusted};
use crate::desired::{Account, GeneratedBy};

/// The key that pairs are booked on which keyferry made, forgot and was asked to delete. No file can have this name.
pub const ORPHANS: &str = "(orphans)";

/// A key that was ever declared.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyRow {
    /// Its name.
    pub name: String,
    /// The number of its last generation; numbers are never used twice. 0: none yet.
    pub last_n: u64,
    /// Since when the user holds it (milliseconds since 1970 UTC), by `ssh-add -d` or `-D`.
    pub held_at: Option<i64>,
    /// When the user asked for the next generation (`keyferry rotate`); none: it was begun, or nobody asked.
    pub rotate_asked_at: Option<i64>,
    /// When the user, or its removed file, asked that it ends: taken off its hosts, its pair deleted.
    pub retire_asked_at: Option<i64>,
    /// When its removed file has it end, if the file does not come back before; stays when that has begun. None: the file is
    /// there, or is not what ends the key.
    pub retire_at: Option<i64>,
    /// `DEVICE:INODE` of the folder where its file was last seen and said that the key ends with it; none: it did not say so, or
    /// the key stays all the same.
    pub retires_in: Option<String>,
    /// What the user said may be lost by that (`--accept-loss`): hosts, joined by blanks, or `all`.
    pub accepted_loss: Option<String>,
    /// Since when its rotation stands still (`keyferry hold`): nothing is begun, changed on hosts (but for lines that end,
    /// which are renewed) or retired; it signs on.
    pub paused_at: Option<i64>,
    /// Until when; none: until `keyferry resume`.
    pub paused_until: Option<i64>,
    /// The user's reason for that.
    pub pause_reason: Option<String>,
    /// Of a key for one command (`keyferry exec`): the key after whose pattern it was last made. It stays, for the history.
    pub made_after: Option<String>,
    /// Of a key for one command: when it ends at the latest, whatever becomes of the command and of this machine. None: it is
    /// no such key, or nothing is left of it.
    pub ends_at: Option<i64>,
    /// The greatest number of a pair of this key at its provider which this ledger never gave: it is older than what was done
    /// with it. Until the user says that it goes on, nothing is made, changed on hosts (but for lines that end), retired or
    /// deleted for the key; it signs on. None: no such pair was seen.
    pub later_n: Option<u64>,
    /// Which pair that is, in words.
    pub later_pair: Option<String>,
}

impl KeyRow {
    /// Whether there is, or may be, something of a key for one command.
    pub fn is_for_command(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Whether the ledger is older than what was done with the key.
    pub fn is_behind(&self) -> bool {
        self.later_n.is_some()
    }

    /// Whether its rotation stands still at a time (milliseconds since 1970 UTC).
    pub fn is_paused(&self, now: i64) -> bool {
        self.is_behind() || (self.paused_at.is_some() && self.paused_until.is_none_or(|until| now < until))
    }

    /// When that ends by itself; none: not.
    pub fn goes_on_at(&self) -> Option<i64> {
        self.paused_until.filter(|_| !self.is_behind())
    }

    /// Whether the user gave something up: a host, or an instance.
    pub fn accepts(&self, what: &str) -> bool {
        let accepted = self.accepted_loss.as_deref().unwrap_or_default();
        let mut accepted = accepted.split_whitespace();
        accepted.any(|accepted| accepted == "all" || accepted == what)
    }
}

/// A key pair made for a key, as it stands at the provider: or a copy of one, which is the same public half once more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generation {
    /// The key's name.
    pub key: String,
    /// Its number, from 1. Copies have numbers of their own.
    pub n: u64,
    /// The generation whose public half this pair holds, in another region or in place of one that was taken away. Its own
    /// private half there never was.
    pub copy_of: Option<u64>,
    /// Where the private half was made.
    pub made_by: GeneratedBy,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The account it was made with.
    pub account: String,
    /// That account's plugin then.
    pub plugin: String,
    /// The region it was made in.
    pub region: Option<String>,
    /// That account's endpoint then; none: the vendor's own. Whose credentials they were is not known here: the access
    /// key stays with the courier, so an account that became another vendor account looks like one whose pairs are gone.
    pub endpoint: Option<String>,
    /// The public key's blob; none until a created pair's answer came.
    pub blob: Option<Vec<u8>>,
    /// The pair's name at the provider.
    pub pair_name: String,
    /// The provider's own identifier, where it told one.
    pub provider_id: Option<String>,
    /// The fingerprint as the provider told it.
    pub provider_fingerprint: Option<String>,
    /// Where it stands.
    pub state: GenerationState,
    /// When the pair was first asked for (milliseconds since 1970 UTC).
    pub requested_at: i64,
    /// When it was last asked for again, because an earlier request had no answer; that one may still arrive.
    pub repeated_at: Option<i64>,
    /// When the agent first had it.
    pub loaded_at: Option<i64>,
    /// Since when the provider says that there is no such pair (milliseconds since 1970 UTC), or shows another in its
    /// place, although it was there.
    pub missing_since: Option<i64>,
    /// When its deletion was last asked for, unless the provider refused: then it being gone is our doing.
    pub delete_asked_at: Option<i64>,
    /// Why it stands where it does, in words, where that is not plain.
    pub note: Option<String>,
    /// Its part in the key's rotation; of a copy: as of its original when it was made, and of no meaning.
    pub stage: Stage,
    /// When it was first offered to clients.
    pub promoted_at: Option<i64>,
    /// When a later one (or, at a rollback, an earlier one) took its part.
    pub superseded_at: Option<i64>,
    /// Where it was made, beyond region and endpoint: [`Account::place`] then; none: not known, for it is an old row.
    pub place: Option<String>,
}

/// A generation's part in the rotation of its key.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// In the agent, and offered to nobody: not yet seen to log in anywhere.
    Staged,
    /// The one that is offered.
    #[default]
    Active,
    /// Superseded: offered to hosts that do not have the active one yet, and to be taken off the others.
    Earlier,
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 3] = [Self::Staged, Self::Active, Self::Earlier];

    /// The name in the ledger and in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Earlier => "earlier",
        }
    }
}

/// A host that a key was ever put on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostRow {
    /// What the key's file calls it, with the login: `deploy@web-1`.
    pub address: String,
    /// The public blob of its host key, when a login there was last proven.
    pub pinned_host_key: Option<Vec<u8>>,
    /// How it fares.
    pub state: HostState,
    /// Since when (milliseconds since 1970 UTC).
    pub since: i64,
    /// Why, in words, where that is not plain.
    pub note: Option<String>,
}

/// States of a [`HostRow`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostState {
    /// Never reached yet.
    New,
    /// The last login or change worked.
    Reached,
    /// It cannot be reached: it keeps what it has, and holds nobody up.
    Parked,
    /// Something there wants a person: another host key, a file that keyferry does not change.
    Blocked,
    /// The user gave it up (`keyferry host forget`): nothing is asked of it any more.
    Forgotten,
}

impl HostState {
    /// All states.
    pub const ALL: [Self; 5] = [
        Self::New,
        Self::Reached,
        Self::Parked,
        Self::Blocked,
        Self::Forgotten,
    ];

    /// The name in the ledger and in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reached => "reached",
            Self::Parked => "parked",
            Self::Blocked => "blocked",
            Self::Forgotten => "forgotten",
        }
    }
}

/// A generation's line on one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placement {
    /// The key.
    pub key: String,
    /// The generation.
    pub n: u64,
    /// The host's address.
    pub host: String,
    /// Where it stands.
    pub state: PlacementState,
    /// Since when the generation is seen to log in there; a line that is only written anew changes nothing of it.
    pub verified_at: Option<i64>,
    /// The line as keyferry wrote it, or is about to; none: it was there already, and somebody else's.
    pub line: Option<String>,
    /// The file that it was put into, as `path` of its key's file named it then (the usual one by its name too); none: not
    /// known, for the row is an old one, or nobody put the line there for us.
    pub file: Option<String>,
    /// SHA-256 of the whole file after keyferry's last change.
    pub file_hash: Option<Vec<u8>>,
    /// When the line was last written, or is to be taken off since; of somebody else's: when it was first seen.
    pub changed_at: i64,
}

impl Placement {
    /// Key, generation and host.
    pub fn id(&self) -> (String, u64, String) {
        (self.key.clone(), self.n, self.host.clone())
    }
}

/// States of a [`Placement`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlacementState {
    /// The line is being put there: it may be there.
    Placing,
    /// It is there, and the key was not seen to log in yet.
    Placed,
    /// The key was seen to log in.
    Verified,
    /// The line is being taken off: it may be there.
    Removing,
    /// It is not there any more, or never came to be.
    Removed,
}

impl PlacementState {
    /// All states.
    pub const ALL: [Self; 5] = [
        Self::Placing,
        Self::Placed,
        Self::Verified,
        Self::Removing,
        Self::Removed,
    ];

    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Placing => "placing",
            Self::Placed => "placed",
            Self::Verified => "verified",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

impl Generation {
    /// Key and number.
    pub fn id(&self) -> (String, u64) {
        (self.key.clone(), self.n)
    }

    /// Whether the pair holds the public half of that generation.
    pub fn holds(&self, n: u64) -> bool {
        self.copy_of.unwrap_or(self.n) == n
    }

    /// Whether an account is still the one that the pair was made with, as far as its file tells.
    pub fn is_of(&self, account: &Account) -> bool {
        self.account == account.name
            && self.plugin == account.plugin
            && self.endpoint == account.endpoint
            && self.place.as_ref().is_none_or(|place| *place == account.place)
    }
}

/// Where a generation stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GenerationState {
    /// Asked for; whether there is a pair is not known yet.
    Requested,
    /// There is a pair, and it is ours.
    Live,
    /// There is a pair of ours that nobody needs: to be deleted.
    Unwanted,
    /// Not there when looked for, although it was asked for or had been there: looked for again later.
    Doubtful,
    /// What stands at the provider under this name is not what we made: left alone until a person decides.
    Blocked,
    /// Its pair was deleted at the provider, not by keyferry, while the key was loaded.
    Missing,
    /// Another key was put in the place of its pair while the key was loaded; it is not touched.
    Replaced,
    /// Ended: the pair was deleted.
    Deleted,
    /// Ended: the pair is not there any more, and it was not keyferry that deleted it.
    Gone,
    /// Ended: the name was somebody else's pair, which was not touched.
    Foreign,
    /// Ended: it never came to be.
    Absent,
}

impl GenerationState {
    /// All states.
    pub const ALL: [Self; 11] = [
        Self::Requested,
        Self::Live,
        Self::Unwanted,
        Self::Doubtful,
        Self::Blocked,
        Self::Missing,
        Self::Replaced,
        Self::Deleted,
        Self::Gone,
        Self::Foreign,
        Self::Absent,
    ];

    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Live => "live",
            Self::Unwanted => "unwanted",
            Self::Doubtful => "doubtful",
            Self::Blocked => "blocked",
            Self::Missing => "missing",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
            Self::Gone => "gone",
            Self::Foreign => "foreign",
            Self::Absent => "absent",
        }
    }

    /// Whether nothing is left to do or to know.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Deleted | Self::Gone | Self::Foreign | Self::Absent)
    }
}

/// An outside effect: begun, and perhaps ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effect {
    /// Counts up.
    pub id: i64,
    /// What is done.
    pub kind: EffectKind,
    /// Key and generation.
    pub key: String,
    /// See [`Generation::n`].
    pub n: u64,
    /// When it was about to begin (milliseconds since 1970 UTC).
    pub intent_at: i64,
    /// Which attempt of this kind at this generation it is, from 1. The ledger counts; a written value is ignored.
    pub attempt: u32,
    /// When it ended.
    pub outcome_at: Option<i64>,
    /// How it ended; none: not known.
    pub outcome: Option<EffectOutcome>,
    /// The host, of an effect on one.
    pub host: Option<String>,
}

/// Kinds of [`Effect`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum EffectKind {
    /// A pair made at the provider.
    Create,
    /// A pair deleted.
    Delete,
    /// A public key registered.
    Import,
    /// A line put into a host's `authorized_keys`.
    Put,
    /// The line of another public key than ours, over a login with the generation.
    PutTrusted,
    /// Lines taken out of one.
    TakeOff,
    /// Lines of other public keys than ours, over a login with the generation.
    TakeOffTrusted,
}

impl EffectKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Create,
        Self::Delete,
        Self::Import,
        Self::Put,
        Self::PutTrusted,
        Self::TakeOff,
        Self::TakeOffTrusted,
    ];

    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Import => "import",
            Self::Put => "put",
            Self::PutTrusted => "put_trusted",
            Self::TakeOff => "take_off",
            Self::TakeOffTrusted => "take_off_trusted",
        }
    }
}

/// How an [`Effect`] ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EffectOutcome {
    /// It took place.
    Done,
    /// It did not take place.
    Refused,
    /// Nobody knows: the answer was lost.
    Unknown,
}

impl EffectOutcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Unknown];

    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Rows to put into the ledger together. A row with the same identity is replaced.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Write {
    /// By name.
    pub keys: Vec<KeyRow>,
    /// By key and number.
    pub generations: Vec<Generation>,
    /// By address. They are written before the placements that name them.
    pub hosts: Vec<HostRow>,
    /// By key, generation and host.
    pub placements: Vec<Placement>,
    /// By key, host and public half.
    pub trusted: Vec<Trusted>,
    /// By host and selector.
    pub revocations: Vec<Revocation>,
    /// By id.
    pub effects: Vec<Effect>,
}
