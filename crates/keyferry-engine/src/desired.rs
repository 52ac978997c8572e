//! What the config directory asks for, checked: the types that the rest of the engine works on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyferry_plugin::contract::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Problem;

/// Everything that the config directory asks for: the last good version of each file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// `keyferry.toml`.
    pub daemon: DaemonSettings,
    /// Accounts by name.
    pub accounts: BTreeMap<String, Arc<Account>>,
    /// Keys by name.
    pub keys: BTreeMap<String, Arc<KeySpec>>,
    /// Every file seen, sorted by path, with what is wrong with it.
    pub files: Vec<FileReport>,
    /// How the folder of key files fares: whether a file that is not there is known to be gone.
    pub key_folder: KeyFolder,
    /// Whether `keyferry.toml` is there, is wrong, and never was right since the start: nobody knows what it asks for.
    pub settings_refused: bool,
}

impl Desired {
    /// Why nothing is begun at clouds and hosts, whatever the files say; none: it is.
    pub fn standstill(&self) -> Option<Standstill> {
        if self.key_folder == KeyFolder::Unread {
            return Some(Standstill::Unread);
        }
        self.settings_refused.then_some(Standstill::Settings)
    }
}

/// Why nothing is begun at clouds and hosts. Loaded keys go on serving.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Standstill {
    /// `keyferry.toml` cannot be understood. Its defaults are no safe guess: it may ask for a proxy, or for pinned plugins only.
    #[error(
        "keyferry.toml has an error, and says how clouds are reached and which plugins are loaded: mend it"
    )]
    Settings,
    /// The config directory was not read yet.
    #[error("the config directory is still being read: try again in a moment")]
    Unread,
}

/// `keys/`, as it was when it was last read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum KeyFolder {
    /// It is not there, or cannot be believed or read, or the config directory is so.
    Closed,
    /// It was listed; its path.
    Listed(PathBuf),
    /// It was not read yet.
    #[default]
    Unread,
}

/// `keyferry.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonSettings {
    /// Where plugins are looked for, absolute; empty: the built-in places.
    pub plugin_dirs: Vec<PathBuf>,
    /// `[plugins] require_pins`: whether only plugins are loaded that the user accepted as they are.
    pub require_pins: bool,
    /// `[agent] socket`, absolute.
    pub agent_socket: Option<PathBuf>,
    /// `[network]`.
    pub network: NetworkSettings,
    /// `[defaults] max_concurrent`: requests in flight per account, 1 to 64.
    pub max_concurrent: Option<usize>,
    /// `[defaults] max_per_second`: requests begun per account and second, 1 to 1,000.
    pub max_per_second: Option<u32>,
    /// `[defaults] check_every`: how often an account's pairs are looked at.
    pub check_every: Option<CheckEvery>,
    /// `[ssh] command`: how ssh is started, program and first arguments; empty: `ssh`.
    pub ssh_command: Vec<String>,
    /// `[recovery]`: the key that is always there.
    pub recovery: Option<Recovery>,
    /// `on_event`: a program that is started for each event; empty: none.
    pub on_event: Vec<String>,
    /// `notify`: whether the desktop shows when a person is needed; none: yes, where there is one.
    pub notify: Option<bool>,
}

/// `[recovery]` of `keyferry.toml`: the way into hosts when the private halves are gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recovery {
    /// `identity`: the public half, `TYPE BASE64`, as the file named there has it (`~/.ssh/id_ed25519_sk.pub`).
    pub public_key: String,
    /// `agent`: the socket of the agent that has the private half; none: the `SSH_AUTH_SOCK` of the daemon's environment.
    pub agent: Option<PathBuf>,
}

/// How often what an account holds at the provider is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckEvery {
    /// Only when the user asks (`keyferry refresh`).
    Never,
    /// After that long, or a little earlier; 1 s to 30 days.
    Time(Duration),
}

/// `[network]` of `keyferry.toml`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetworkSettings {
    /// `http://host:port` or `socks5://host:port`.
    pub proxy: Option<String>,
    /// Hosts and domain suffixes reached without the proxy.
    pub no_proxy: Vec<String>,
    /// PEM file of certificate authorities used instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// `accounts/NAME.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The file's name without `.toml`.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// Default region.
    pub region: Option<String>,
    /// Origin to use instead of the vendor's.
    pub endpoint: Option<String>,
    /// Whether plain http to other than loopback is allowed.
    pub insecure_http: bool,
    /// `[settings]`, checked against the manifest.
    pub settings: BTreeMap<String, Value>,
    /// Where it is, as far as settings say: those that are URLs (an OpenStack's `auth_url`), as `NAME=URL`, joined by
    /// blanks and in a form that depends on nothing but where they lead; empty: none of them is there. With another
    /// place or [`endpoint`](Self::endpoint) it is another cloud, whatever the account's name.
    pub place: String,
    /// `[credentials]`.
    pub credentials: CredentialSource,
    /// Requests in flight, 1 to 64; none: the daemon's default.
    pub max_concurrent: Option<usize>,
    /// Requests begun per second, 1 to 1,000; none: the daemon's default.
    pub max_per_second: Option<u32>,
    /// How often its pairs are looked at; none: the daemon's default.
    pub check_every: Option<CheckEvery>,
    /// The vendor's limit on pairs, where it is another than the manifest's: 1 to 1,000,000.
    pub max_pairs: Option<u32>,
}

/// Where an account's credentials come from. References only, never values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CredentialSource {
    /// The vendor's own chain, and a profile of it.
    Chain {
        /// The profile; none: the chain's default.
        profile: Option<String>,
    },
    /// A program that prints one JSON object of the manifest's field names.
    Command(Vec<String>),
    /// Variables of the daemon's environment: field name to variable name.
    Environment(BTreeMap<String, String>),
    /// A file of mode 0600 with one JSON object of the manifest's field names.
    File(PathBuf),
}

/// `keys/NAME.toml`: one declared key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySpec {
    /// The file's name without `.toml`: `[a-z0-9][a-z0-9-]{0,47}`.
    pub name: String,
    /// The account's name.
    pub account: String,
    /// The key's own region, or the first of several: where its generations are made.
    pub region: Option<String>,
    /// The others of `regions`: where the public half is put too. None of them twice, nor the first.
    pub further_regions: Vec<String>,
    /// Where the private half is made.
    pub generated_by: GeneratedBy,
    /// The algorithm, resolved against the manifest's lists.
    pub algorithm: Algorithm,
    /// What the pair's name at the provider begins with (`name = "..."`); none: `keyferry-KEY`.
    pub pair_name: Option<String>,
    /// What happens when its pair is deleted or replaced at the provider.
    pub on_drift: OnDrift,
    /// `hosts`: where its public half is put; none: nowhere, by keyferry.
    pub hosts: Option<HostList>,
    /// `offer_to`: further hosts that it is offered to, as patterns of ssh_config(5).
    pub offer_to: Vec<String>,
    /// `[rotate]`: when the next generation is made by itself; none: when the user asks.
    pub rotate: Option<Rotate>,
    /// `[deploy]`: how it is put on its hosts.
    pub deploy: Deploy,
    /// What happens when its file is removed.
    pub on_remove: OnRemove,
    /// Whether the file is still there. A key whose file vanished keeps serving.
    pub present: bool,
}

impl KeySpec {
    /// The regions that its public half belongs in with this account, the one where it is made first; none: the provider
    /// keeps pairs without regions.
    pub fn regions<'a>(&'a self, account: &'a Account) -> impl Iterator<Item = Option<&'a str>> {
        let first = self.region.as_deref().or(account.region.as_deref());
        let further = self.further_regions.iter().map(|region| Some(region.as_str()));
        std::iter::once(first).chain(further)
    }
}

/// Where the hosts of a key stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostList {
    /// `hosts = { command = ["..."] }`: a program that prints them, one on a line.
    Command(Vec<String>),
    /// `hosts = { file = "..." }`: a file with one on a line; `#` begins a comment.
    File(PathBuf),
    /// `hosts = ["..."]`, each `[user@]name` or `ssh://[user@]name[:port]`.
    Listed(Vec<String>),
}

/// `[rotate]` of a key file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotate {
    /// `every`: the life of a generation, 1 h to 1,000 days.
    pub every: Duration,
    /// `grace`: how long the earlier generation stays on a host that has seen the new one log in, less than `every`; default
    /// 24 h, or half of `every` where that is less.
    pub grace: Duration,
    /// `between`: the hours of the day, local time, in which a rotation may begin; none: any.
    pub between: Option<DayTime>,
}

/// A part of every day, in minutes after midnight, local time. Where `from` is later than `to`, it spans midnight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DayTime {
    /// First minute, 0 to 1439.
    pub from: u16,
    /// The minute after the last, 0 to 1440.
    pub to: u16,
}

/// `[deploy]` of a key file: how its lines come to its hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deploy {
    /// `users`: logins whose file gets the line, on each host that names no user; empty: the host's own.
    pub users: Vec<String>,
    /// `path`: the file; see [`keyferry_hosts::Account::path`].
    pub path: Option<String>,
    /// `sudo`: the file is changed by `sudo -n`, over the login of `login_user`.
    pub sudo: bool,
    /// `login_user`: who changes the file, where not its owner.
    pub login_user: Option<String>,
    /// `options`: options of the line, sshd(8), as `from="10.0.0.0/8"`; empty: none.
    pub options: String,
    /// `expires`: the line stops to work so long after it was last renewed; none: never.
    pub expires: Option<Duration>,
    /// `login_with`: how the line is put there while its key cannot log in yet, in this order.
    pub login_with: Vec<LoginWith>,
    /// `host_keys`.
    pub host_keys: keyferry_hosts::HostKeys,
    /// `verify`.
    pub verify: Verify,
    /// `command`: a program that puts the line there instead; empty: ssh does.
    pub command: Vec<String>,
    /// `replaces`: fingerprints `SHA256:...` of keys whose lines go once the new key is verified.
    pub replaces: Vec<String>,
    /// `also_trust`: public halves (`TYPE BASE64`) whose lines are put beside ours.
    pub also_trust: Vec<String>,
    /// `at_once`: how many hosts are worked on at the same time, 1 to 256; default 16.
    pub at_once: usize,
    /// `canary`: how many hosts have to be verified before the others begin, 0 to 100; default 1.
    pub canary: usize,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            path: None,
            sudo: false,
            login_user: None,
            options: String::new(),
            expires: None,
            login_with: vec![LoginWith::Current, LoginWith::SshConfig],
            host_keys: keyferry_hosts::HostKeys::default(),
            verify: Verify::default(),
            command: Vec::new(),
            replaces: Vec::new(),
            also_trust: Vec::new(),
            at_once: 16,
            canary: 1,
        }
    }
}

/// A way to log in to a host where the key is not yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoginWith {
    /// `"agent:SHA256:..."`: a key of the agent that the daemon's `SSH_AUTH_SOCK` names.
    Agent(String),
    /// `"current"`: the generation that was last verified there.
    Current,
    /// `"key:NAME"`: another key of keyferry's.
    Key(String),
    /// `"ssh-config"`: whatever the user's own ssh_config and agent have.
    SshConfig,
}

/// `verify` of `[deploy]`: what counts as proof that a key logs in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Verify {
    /// `"session"`: a command's answer, in a session that our own socket signed for.
    #[default]
    Session,
    /// `"publickey"`: the host takes the signature, and wants a second factor besides.
    PublicKey,
    /// `"provider"`: the cloud says that the instance has the pair.
    Provider,
}

/// What happens when a key's file is removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnRemove {
    /// Nothing: the key serves on.
    #[default]
    Keep,
    /// It is taken off its hosts and its pair is deleted, after a while, unless the directory or many files vanished.
    Retire,
}

/// What happens when a pair is deleted or replaced at the provider while its private half is loaded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnDrift {
    /// The public half is registered again, under another name where the old one is taken.
    #[default]
    Recreate,
    /// Status says so, and nothing is done.
    Report,
}

/// Where a private half is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GeneratedBy {
    /// Here; the public half is imported.
    Keyferry,
    /// At the provider; the private half is captured once.
    Provider,
}

/// One file of the config directory and how it fares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileReport {
    /// The path as the user would write it.
    pub path: PathBuf,
    /// How it fares.
    pub state: FileState,
    /// Line of the first problem, from 1.
    pub line: Option<u32>,
    /// Column of the first problem in characters, from 1.
    pub column: Option<u32>,
    /// What is wrong and what to do about it.
    pub message: Option<String>,
    /// The problems after the first, in the order of the file: a check names them all at once.
    pub further: Vec<Problem>,
}

impl FileReport {
    /// A report of everything that is wrong with a file; the first problem stands in front.
    pub fn new(path: PathBuf, state: FileState, problems: Vec<Problem>) -> Self {
        let mut problems = problems.into_iter();
        let first = problems.next();
        let place = first.as_ref().and_then(|problem| problem.place);
        Self {
            path,
            state,
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            message: first.map(|problem| problem.message),
            further: problems.collect(),
        }
    }
}

/// States of a [`FileReport`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// In force.
    Loaded,
    /// Wrong; an earlier good version stays in force.
    Kept,
    /// Wrong, and there is no earlier version.
    Refused,
    /// The file vanished; its last version stays in force.
    Missing,
}

impl FileState {
    /// The name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Missing => "missing",
        }
    }
}
