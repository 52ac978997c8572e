//! What `keyferry status` shows, exactly as `--json` prints it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod asked;
mod attach;
mod exec;
mod rotation;
mod trust;

pub use asked::{ForgottenHost, LeftLine, RolledBack, RotationAsked};
pub use attach::{Attachable, Attached};
pub use exec::ExecStatus;
pub use rotation::{
    AfterReboot, HostCondition, HostStatus, KeyPlan, PairsLeft, Pause, PlanStep, RotationStatus,
};
pub use trust::{LineState, Recovered, Revocable, RevocationPreview, RevokedStatus, TrustedStatus};

use crate::config::Problem;
use crate::desired::FileState;

/// Why nothing is done at hosts while the agent is locked, and what to do.
pub const LOCKED: &str = "the agent is locked: ssh-add -X";

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

/// What a look at all pairs of an account found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SurveyReport {
    /// The account.
    pub account: String,
    /// How many pairs there are, in all its regions that are known here; null: they could not be listed.
    pub pairs: Option<u64>,
    /// Those that look like keyferry's and are not in this ledger.
    pub strays: Vec<StrayPair>,
    /// Why they could not be listed.
    pub error: Option<StatusError>,
}

/// A pair that looks like keyferry's and is not in this ledger.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StrayPair {
    /// The account it was found with.
    pub account: String,
    /// The region it was found in.
    pub region: Option<String>,
    /// Its name.
    pub name: String,
    /// The provider's identifier.
    pub id: Option<String>,
    /// The fingerprint as the provider writes it.
    pub fingerprint: Option<String>,
    /// When it was made, as the provider writes it.
    pub created_at: Option<String>,
    /// The six digits of the installation in its name.
    pub installation: String,
    /// Whether that is this installation: an orphan. Others are never touched.
    pub is_ours: bool,
}

/// What came of deleting an orphan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OrphanResult {
    /// The account.
    pub account: String,
    /// The region.
    pub region: Option<String>,
    /// The pair's name.
    pub name: String,
    /// Why it is not gone; null: it is.
    pub error: Option<StatusError>,
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

/// A moment, written as RFC 3339 in UTC with whole seconds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// From milliseconds since 1970 UTC, as the ledger keeps times. What no RFC 3339 date can say becomes the nearest that it can.
    pub fn from_ms(milliseconds: i64) -> Self {
        let since = u64::try_from(milliseconds).unwrap_or_default().min(LATEST_MS);
        Self(SystemTime::UNIX_EPOCH + Duration::from_millis(since))
    }

    /// In milliseconds since 1970 UTC.
    pub fn to_ms(self) -> i64 {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The last second of the year 9999.
const LATEST_MS: u64 = 253_402_300_799_000;

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", humantime::format_rfc3339_seconds(self.0))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(state: KeyState, retry_after: Option<u64>) -> KeyStatus {
        let retry_at = retry_after.map(|seconds| Timestamp(now() + Duration::from_secs(seconds)));
        KeyStatus {
            name: "web".to_owned(),
            account: Some("aliyun".to_owned()),
            generation: None,
            state,
            algorithm: None,
            fingerprint: None,
            public_key: None,
            error: (state == KeyState::Failed).then(|| StatusError {
                kind: "throttled".to_owned(),
                code: Some("Throttling".to_owned()),
                message: "too many requests".to_owned(),
                request_id: None,
                remedy: None,
                retry_at,
            }),
            asked: None,
            drift: None,
            regions: Vec::new(),
            rotation: None,
            hosts: Vec::new(),
            exec: None,
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
    }

    #[track_caller]
    fn check(state: KeyState, retry_after: Option<u64>, settled: bool) {
        let snapshot = Snapshot {
            keys: vec![key(state, retry_after)],
            ..Snapshot::default()
        };
        assert_eq!(snapshot.settled(now()), settled);
        assert_eq!(snapshot.unsettled(now()).count(), usize::from(!settled));
    }

    #[test]
    fn waiting_ends_when_nothing_happens_soon() {
        check(KeyState::Loaded, None, true);
        check(KeyState::Held, None, true);
        check(KeyState::Lost, None, true);
        check(KeyState::Pending, None, false);
        check(KeyState::Creating, None, false);
        check(KeyState::Failed, None, true);
        check(KeyState::Failed, Some(5), false);
        check(KeyState::Failed, Some(6), true);
    }

    #[test]
    fn nobody_waits_for_a_key_that_is_retired() {
        for state in [KeyState::Loaded, KeyState::Pending] {
            let mut retired = key(state, None);
            retired.rotation = Some(RotationStatus {
                retiring: true,
                ..RotationStatus::default()
            });
            assert!(retired.settled(now()), "{state:?}");
        }
    }

    #[test]
    fn a_lost_key_needs_a_person() {
        let needs_person = |key: KeyStatus| {
            let keys = vec![key];
            Snapshot {
                keys,
                ..Snapshot::default()
            }
            .needs_person()
        };
        assert!(needs_person(key(KeyState::Lost, None)));
        assert!(!needs_person(key(KeyState::Loaded, None)));
        let mut blocked = key(KeyState::Failed, None);
        assert!(!needs_person(blocked.clone()));
        if let Some(error) = &mut blocked.error {
            error.kind = "blocked".to_owned();
        }
        assert!(needs_person(blocked));
    }

    #[test]
    fn a_loaded_key_waits_for_its_other_regions() {
        let check = |state: RegionState, settled: bool| {
            let mut loaded = key(KeyState::Loaded, None);
            loaded.regions = vec![RegionStatus {
                region: Some("cn-beijing".to_owned()),
                state,
                pair_name: None,
                error: None,
            }];
            assert_eq!(loaded.settled(now()), settled, "{state:?}");
        };
        check(RegionState::Creating, false);
        check(RegionState::Pending, false);
        check(RegionState::Live, true);
        check(RegionState::Failed, true);
        check(RegionState::Deleted, true);
    }

    #[test]
    fn the_json_has_every_field_and_no_other() {
        let snapshot = Snapshot {
            version: "0".to_owned(),
            keys: vec![key(KeyState::Failed, Some(6))],
            ..Snapshot::default()
        };
        assert_eq!(
            serde_json::to_value(snapshot).unwrap(),
            serde_json::json!({
                "version": "0",
                "keys": [{
                    "name": "web", "account": "aliyun", "generation": null, "state": "failed", "algorithm": null,
                    "fingerprint": null, "public_key": null,
                    "error": {
                        "kind": "throttled", "code": "Throttling", "message": "too many requests",
                        "request_id": null, "remedy": null, "retry_at": "2026-11-22T03:36:55Z",
                    },
                    "asked": null, "drift": null, "regions": [], "rotation": null, "hosts": [], "exec": null,
                }],
                "accounts": [], "plugins": [], "files": [], "trusted": [], "revoked": [], "ledger": null,
                "locked": false,
            })
        );
    }
}
