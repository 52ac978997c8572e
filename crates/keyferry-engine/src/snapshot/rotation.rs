//! What status and plan show of rotations and hosts.

use serde::{Deserialize, Serialize};

use super::{LOCKED, StatusError, Timestamp};

/// A key's rotation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RotationStatus {
    /// The generation that is offered.
    pub active: Option<u64>,
    /// The next one, in the agent and offered to nobody yet.
    pub staged: Option<u64>,
    /// Superseded ones that still stand somewhere, the oldest first.
    pub earlier: Vec<u64>,
    /// When the next rotation begins by itself; null: not.
    pub due_at: Option<Timestamp>,
    /// Why a rotation that is wanted does not go on, in words; null: it does, or none is wanted.
    pub waiting: Option<String>,
    /// When it goes on by itself, because a time is over that it waits for; now, where something of it is under way; null:
    /// nobody knows.
    #[serde(default)]
    pub goes_on_at: Option<Timestamp>,
    /// Whether it stands still because the user said so.
    pub paused: Option<Pause>,
    /// Whether the key is being taken off its hosts for good.
    pub retiring: bool,
    /// Of a key that is: what of it is still to be deleted at its provider; null: nothing.
    #[serde(default)]
    pub pairs: Option<PairsLeft>,
}

impl RotationStatus {
    /// Whether what is left to do waits for the agent to be unlocked.
    pub fn waits_for_unlock(&self) -> bool {
        self.waiting.as_deref() == Some(LOCKED)
    }
}

/// Pairs of a key that is being taken off its hosts for good.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PairsLeft {
    /// How many.
    pub count: usize,
    /// Whether something keeps one of them that does not pass by itself: an instance that has it, an account that is gone.
    pub kept: bool,
}

/// `keyferry hold`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Until when; null: until `keyferry resume`.
    pub until: Option<Timestamp>,
    /// The user's reason.
    pub reason: Option<String>,
}

/// A key on one host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HostStatus {
    /// The host, with the login.
    pub host: String,
    /// How it fares.
    pub state: HostCondition,
    /// The generation last seen to log in there.
    pub generation: Option<u64>,
    /// Since when it is seen to.
    pub verified_at: Option<Timestamp>,
    /// Generations whose line stands there, or may.
    pub lines: Vec<u64>,
    /// Whether the key's file (or what it names) still lists it.
    pub listed: bool,
    /// What a restart of this machine would mean for it.
    pub after_reboot: AfterReboot,
    /// What is wrong, and when it is tried again.
    pub error: Option<StatusError>,
}

impl HostStatus {
    /// Whether a person has to do something.
    pub fn needs_person(&self) -> bool {
        matches!(self.state, HostCondition::Blocked | HostCondition::Lost)
    }
}

/// How a key fares on a host.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostCondition {
    /// Its turn has not come.
    Pending,
    /// The line is being put there, or the login tried; of a key that is being retired, its lines are being taken off.
    Placing,
    /// The generation that is offered was seen to log in.
    Verified,
    /// It failed, and is tried again.
    Failed,
    /// It cannot be reached, and keeps the generation last seen there.
    Parked,
    /// Something there wants a person.
    Blocked,
    /// Only generations stand there whose private halves are gone, and nothing else logs in.
    Lost,
    /// The user gave it up.
    Forgotten,
}

impl HostCondition {
    /// The name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Placing => "placing",
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Blocked => "blocked",
            Self::Lost => "lost",
            Self::Forgotten => "forgotten",
        }
    }
}

/// What a restart of this machine would mean for a host: private halves are gone then.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterReboot {
    /// The recovery identity was seen to log in there.
    Recovers,
    /// A recovery identity is named, and was not seen to log in there yet.
    Untested,
    /// Another login of its `login_with` may work (the user's own ssh_config or agent).
    Maybe,
    /// Nothing that keyferry knows of would log in.
    LockedOut,
}

/// What `keyferry plan` shows of one key.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct KeyPlan {
    /// The key.
    pub key: String,
    /// What would be done, in the order in which it would be done.
    pub steps: Vec<PlanStep>,
    /// Why nothing more is done now, in words; null: nothing more is wanted.
    pub waiting: Option<String>,
    /// What a person should know before: hosts at risk, logins that would be switched off, restarts.
    pub warnings: Vec<String>,
}

/// One step of a [`KeyPlan`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PlanStep {
    /// What: `generate`, `import`, `create`, `load`, `verify`, `put`, `promote`, `take_off`, `delete`, ...
    pub what: String,
    /// The generation.
    pub generation: Option<u64>,
    /// The host.
    pub host: Option<String>,
    /// Why, in words.
    pub why: String,
    /// When; null: as soon as what stands before it is done.
    pub at: Option<Timestamp>,
}
