//! What a vendor answers, as the plugin's author recorded it: `conformance/*.json` beside the manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use keyferry_plugin::contract::{Effect, ErrorKind, Operation};
use serde::Deserialize;
use serde_json::Value;

/// One file: cases, and checks that make no sense for this vendor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The cases.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// Checks that have no recorded case, with the reason: `"list.paging": "everything comes at once"`.
    #[serde(default)]
    pub absent: BTreeMap<String, String>,
}

/// One operation, what the vendor answered, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// In words: `a name that is taken`.
    pub name: String,
    /// The operation with its parameters, as in the contract: `{"import": {"name": "web", "public_key": "..."}}`.
    pub operation: Operation,
    /// The account.
    #[serde(default)]
    pub account: CaseAccount,
    /// Credential fields that are there. Default: all of the manifest that are not optional; of `credentials`, none.
    #[serde(default)]
    pub given: Option<Vec<String>>,
    /// Of `credentials`: what sources hold, by their name in the manifest. The others are not there.
    #[serde(default)]
    pub documents: BTreeMap<String, Value>,
    /// What the vendor answers, one after the other.
    #[serde(default)]
    pub replies: Vec<CaseReply>,
    /// What comes of it.
    pub expect: Expect,
}

/// The account of a [`Case`], as the plugin's context has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseAccount {
    /// Its region.
    #[serde(default)]
    pub region: Option<String>,
    /// Its `[settings]`.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// The public part of its session.
    #[serde(default)]
    pub session: Value,
    /// URLs that its session named.
    #[serde(default)]
    pub urls: Vec<String>,
}

/// One answer of the vendor, secrets included: they are lifted out as for a real one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseReply {
    /// The status code.
    pub status: u16,
    /// Headers that count.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body: a string as it is, anything else as JSON.
    #[serde(default)]
    pub body: Value,
}

impl CaseReply {
    /// The body as bytes; null is no body.
    pub fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            body => body.to_string().into_bytes(),
        }
    }
}

/// What must come of a [`Case`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// The operation succeeds with this outcome, as in the contract: `{"pair": {"name": "web"}}`. Fields that do not stand
    /// here may be anything. Pairs of all pages count together.
    Done(Value),
    /// It fails.
    Fail(ExpectFail),
}

/// How a [`Case`] fails.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectFail {
    /// The error's kind.
    pub kind: ErrorKind,
    /// Whether it may have taken effect; left out: either.
    #[serde(default)]
    pub effect: Option<Effect>,
}

/// Why recorded replies were not read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct RecordedError {
    /// The file or folder.
    path: PathBuf,
    /// In words.
    reason: String,
}

/// Reads all `*.json` of a folder.
///
/// # Errors
/// The folder or a file cannot be read, or is not of the form above.
pub fn read(folder: &Path) -> Result<Recorded, RecordedError> {
    let failed = |path: &Path, reason: String| RecordedError {
        path: path.to_owned(),
        reason,
    };
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let mut all = Recorded::default();
    for path in paths {
        let text = fs::read(&path).map_err(|error| failed(&path, error.to_string()))?;
        let file: Recorded =
            serde_json::from_slice(&text).map_err(|error| failed(&path, error.to_string()))?;
        all.cases.extend(file.cases);
        all.absent.extend(file.absent);
    }
    Ok(all)
}
