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
