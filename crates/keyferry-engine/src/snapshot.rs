//! What `keyferry status` shows, exactly as `--json` prints it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

mod asked;
mod attach;
mod exec;
mod rotation;
mod survey;
mod timestamp;
mod trust;

pub use asked::{ForgottenHost, LeftLine, RolledBack, RotationAsked};
pub use attach::{Attachable, Attached};
pub use exec::ExecStatus;
pub use rotation::{
    AfterReboot, HostCondition, HostStatus, KeyPlan, PairsLeft, Pause, PlanStep, RotationStatus,
};
pub use survey::{OrphanResult, StrayPair, SurveyReport};
pub use timestamp::Timestamp;
pub use trust::{LineState, Recovered, Revocable, RevocationPreview, RevokedStatus, TrustedStatus};

use crate::config::Problem;
use crate::desired::FileState;

/// Why nothing is done at hosts while the agent is locked, and what to do.
pub const LOCKED: &str = "the agent is locked: ssh-add -X";

/// The kind of error of a key that was retired and whose file is still there.
pub const RETIRED: &str = "retired";

/// Everything that status shows.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Snapshot {
    /// keyferry's version.
    pub version: String,
    /// By name.
    pub keys: Vec<KeyStatus>,
    /// By name.
    pub accounts: Vec<AccountStatus>,
    /// Filled in by the daemon: the engine loads no plugin.
    pub plugins: Vec<PluginStatus>,
    /// By path.
    pub files: Vec<FileStatus>,
    /// Lines of other public keys than keyferry's own, by key and host.
    #[serde(default)]
    pub trusted: Vec<TrustedStatus>,
    /// Lines that are to go from hosts, whoever put them there.
    #[serde(default)]
    pub revoked: Vec<RevokedStatus>,
    /// Why the ledger cannot be written now, if it cannot: nothing new is begun then, and loaded keys sign on.
    #[serde(default)]
    pub ledger: Option<StatusError>,
    /// Whether the agent is locked (`ssh-add -x`): nothing is done at hosts until it is unlocked.
    #[serde(default)]
    pub locked: bool,
    /// Whether nothing is under way and nothing is due by itself.
    #[serde(skip)]
    pub idle: bool,
}

impl Snapshot {
    /// Whether there is nothing to wait for: every key is loaded, held, lost for good, or failed with its next try
    /// more than five seconds away.
    pub fn settled(&self, now: SystemTime) -> bool {
        self.keys.iter().all(|key| key.settled(now))
    }

    /// The keys that [`Self::settled`] still waits for.
    pub fn unsettled(&self, now: SystemTime) -> impl Iterator<Item = &KeyStatus> {
        self.keys.iter().filter(move |key| !key.settled(now))
    }

    /// Whether a key is lost or blocked, or is so on a host: nothing but a person helps.
    pub fn needs_person(&self) -> bool {
        self.lasting_keys().any(KeyStatus::needs_person)
    }

    /// Whether a key could not be brought to one of its hosts, or taken off.
    pub fn has_failed_hosts(&self) -> bool {
        let mut hosts = self.lasting_keys().flat_map(|key| &key.hosts);
        hosts.any(|host| host.state == HostCondition::Failed)
    }

    /// One for a command ends by itself; what a host wants of a person is said of its pattern.
    fn lasting_keys(&self) -> impl Iterator<Item = &KeyStatus> {
        self.keys.iter().filter(|key| key.exec.is_none())
    }
}

/// One key.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct KeyStatus {
    /// Its name.
    pub name: String,
    /// The account of its file, or of its last generation.
    pub account: Option<String>,
    /// The generation that is loaded, or else the one under way; null: none.
    pub generation: Option<u64>,
    /// How it fares.
    pub state: KeyState,
    /// keyferry's name for the algorithm.
    pub algorithm: Option<String>,
    /// `SHA256:...`
    pub fingerprint: Option<String>,
    /// The OpenSSH line.
    pub public_key: Option<String>,
    /// What is wrong, or worth knowing.
    pub error: Option<StatusError>,
    /// A request that its account has not answered yet; null: none is under way.
    #[serde(default)]
    pub asked: Option<Asked>,
    /// What became of its pair at the provider while the key is loaded; null: nothing, or it was put right.
    #[serde(default)]
    pub drift: Option<Drift>,
    /// The loaded generation's pairs, by region; where the key is made first.
    #[serde(default)]
    pub regions: Vec<RegionStatus>,
    /// Its rotation; null: it has no hosts, and one generation at most.
    #[serde(default)]
    pub rotation: Option<RotationStatus>,
    /// Its hosts, by name.
    #[serde(default)]
    pub hosts: Vec<HostStatus>,
    /// Of a key for one command; null: it is none.
    #[serde(default)]
    pub exec: Option<ExecStatus>,
}

/// A request that was not answered yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Asked {
    /// The account.
    pub account: String,
    /// Since when.
    pub since: Timestamp,
}

impl KeyStatus {
    /// The request that it waits for longer than a provider usually takes.
    pub fn waits_long_for(&self, now: SystemTime) -> Option<&Asked> {
        let asked = self.asked.as_ref()?;
        (asked.since.0 + LONG <= now).then_some(asked)
    }

    /// Whether nothing but a person helps, here or on a host.
    fn needs_person(&self) -> bool {
        let is_blocked = self.error.as_ref().is_some_and(|error| error.kind == "blocked");
        self.state == KeyState::Lost || is_blocked || self.hosts.iter().any(HostStatus::needs_person)
    }

    /// Whether no host is being worked on, and none waits for its turn, unless the rotation as a whole waits for something.
    fn is_settled_on_hosts(&self, now: SystemTime) -> bool {
        let waits = self
            .rotation
            .as_ref()
            .is_some_and(|rotation| rotation.waiting.is_some());
        let is_placing = self.hosts.iter().any(|host| host.state == HostCondition::Placing);
        self.hosts.iter().all(|host| match host.state {
            HostCondition::Pending => waits && !is_placing,
            HostCondition::Placing => false,
            HostCondition::Failed => is_far(host.error.as_ref(), now),
            HostCondition::Blocked
            | HostCondition::Forgotten
            | HostCondition::Lost
            | HostCondition::Parked
            | HostCondition::Verified => true,
        })
    }

    fn settled(&self, now: SystemTime) -> bool {
        match self.state {
            // Whoever waits for it is the command.
            _ if self.exec.is_some() => true,
            // `retire --wait` waits for its end.
            _ if self.rotation.as_ref().is_some_and(|rotation| rotation.retiring) => true,
            KeyState::Loaded => {
                self.regions.iter().all(|region| region.settled(now)) && self.is_settled_on_hosts(now)
            }
            KeyState::Held | KeyState::Lost => true,
            KeyState::Creating | KeyState::Pending => false,
            KeyState::Failed => is_far(self.error.as_ref(), now),
        }
    }
}

/// Whether the next try is more than a moment away, or there is none.
fn is_far(error: Option<&StatusError>, now: SystemTime) -> bool {
    match error.and_then(|error| error.retry_at) {
        Some(Timestamp(at)) => at > now + SOON,
        None => true,
    }
}

/// What became of a pair.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It was deleted.
    Deleted,
    /// Another key stands under its name.
    Replaced,
}

/// A key's pair in one region.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RegionStatus {
    /// The region; null: the provider keeps pairs without regions.
    pub region: Option<String>,
    /// How it fares.
    pub state: RegionState,
    /// The pair's name.
    pub pair_name: Option<String>,
    /// What is wrong.
    pub error: Option<StatusError>,
}

impl RegionStatus {
    fn settled(&self, now: SystemTime) -> bool {
        match self.state {
            RegionState::Creating | RegionState::Pending => false,
            RegionState::Failed => is_far(self.error.as_ref(), now),
            RegionState::Deleted | RegionState::Live | RegionState::Replaced => true,
        }
    }
}

/// How a pair of a loaded key fares.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionState {
    /// The public half is being registered.
    Creating,
    /// The pair was deleted at the provider, and the key's file says to leave it so.
    Deleted,
    /// The public half could not be registered; see the error.
    Failed,
    /// It is there.
    Live,
    /// Its turn has not come.
    Pending,
    /// Another key was put in its place, and the key's file says to leave it so.
    Replaced,
}

impl RegionState {
    /// The name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
            Self::Live => "live",
            Self::Pending => "pending",
            Self::Replaced => "replaced",
        }
    }
}

/// A provider answers in a second or two.
const LONG: Duration = Duration::from_secs(10);
/// A try that near is waited for.
const SOON: Duration = Duration::from_secs(5);

/// How a key fares.
#[derive(Clone, Copy, Debug, Eq, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// A pair is being made.
    Creating,
    /// It could not be made; see the error.
    Failed,
    /// The user holds it (`ssh-add -d`): `keyferry resume` ends that.
    Held,
    /// The agent has it.
    Loaded,
    /// The private half is gone, and no new one is made because the key's file is missing.
    Lost,
    /// Its turn has not come.
    Pending,
}

impl KeyState {
    /// The name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Loaded => "loaded",
            Self::Lost => "lost",
            Self::Pending => "pending",
        }
    }
}

/// One account.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AccountStatus {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// Its default region.
    pub region: Option<String>,
    /// The origin used instead of the vendor's.
    pub endpoint: Option<String>,
    /// Whether plain http to other than loopback is allowed.
    pub insecure_http: bool,
    /// The last error that concerns the whole account, until something succeeds.
    pub error: Option<StatusError>,
    /// When all its pairs were last looked at; null: not since the daemon was started.
    #[serde(default)]
    pub checked_at: Option<Timestamp>,
}

/// One plugin.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// The library.
    pub path: String,
    /// Why it cannot be used.
    pub error: Option<StatusError>,
}

/// One file of the config directory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FileStatus {
    /// The path.
    pub path: String,
    /// How it fares.
    pub state: FileState,
    /// From 1.
    pub line: Option<u32>,
    /// From 1.
    pub column: Option<u32>,
    /// What is wrong and what to do about it.
    pub message: Option<String>,
    /// What else is wrong, in the order of the file.
    #[serde(default)]
    pub further: Vec<FurtherProblem>,
}

/// One more thing that is wrong with a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FurtherProblem {
    /// From 1; null: it concerns the file as a whole.
    pub line: Option<u32>,
    /// From 1.
    pub column: Option<u32>,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl From<&Problem> for FurtherProblem {
    fn from(problem: &Problem) -> Self {
        Self {
            line: problem.place.map(|place| place.line),
            column: problem.place.map(|place| place.column),
            message: problem.message.clone(),
        }
    }
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StatusError {
    /// The contract's kind of error, or one of keyferry's own.
    pub kind: String,
    /// The vendor's code.
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// The vendor's request id.
    pub request_id: Option<String>,
    /// What the user does next.
    pub remedy: Option<String>,
    /// When keyferry tries again by itself; null: not.
    pub retry_at: Option<Timestamp>,
}

impl StatusError {
    /// Something that is wrong with a plugin's library; the message says what to do.
    pub fn of_plugin(message: String) -> Self {
        Self {
            kind: "plugin".to_owned(),
            code: None,
            message,
            request_id: None,
            remedy: None,
            retry_at: None,
        }
    }
}

#[cfg(test)]
mod tests;
