//! What a plugin answers: the next step, and in the end what came of the operation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ProviderError;
use crate::recipe::{Capture, HttpRequest};

/// A plugin's answer: the next step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Send this request and ask again with the reply.
    Http(Box<HttpStep>),
    /// Ask again after this time.
    Wait(WaitStep),
    /// Read a source that the manifest lists; the reply is a [`Document`](super::Document).
    Read(ReadStep),
    /// Run the command that a field of a source holds; the reply is a [`Document`](super::Document).
    Run(RunStep),
    /// The operation succeeded. One at the provider ends so only after an answer of the provider's.
    Done(Box<DoneStep>),
    /// The operation failed.
    Fail(FailStep),
}

/// See [`Step::Http`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HttpStep {
    /// The request, as a recipe.
    pub request: HttpRequest,
    /// Secrets to lift out of the reply before the plugin sees it.
    #[serde(default)]
    pub capture: Vec<Capture>,
    /// Pairs found so far (a page of `list`); they are streamed on.
    #[serde(default)]
    pub emit: Vec<Pair>,
    /// Given back with the next question.
    #[serde(default)]
    pub state: Value,
}

/// See [`Step::Wait`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct WaitStep {
    /// Milliseconds.
    pub ms: u64,
    /// Given back with the next question.
    #[serde(default)]
    pub state: Value,
}

/// See [`Step::Read`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ReadStep {
    /// The source's name in the manifest.
    pub source: String,
    /// Given back with the next question.
    #[serde(default)]
    pub state: Value,
}

/// See [`Step::Run`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunStep {
    /// The name in the manifest of the source in which the command stands; the reply's own source is the command's.
    pub source: String,
    /// JSON pointer (RFC 6901) of the field that holds the command.
    pub field: String,
    /// Given back with the next question.
    #[serde(default)]
    pub state: Value,
}

/// See [`Step::Done`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DoneStep {
    /// What came of the operation.
    pub outcome: Outcome,
    /// What a login produced. Of `credentials` alone.
    #[serde(default)]
    pub session: Option<Session>,
}

/// See [`Step::Fail`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FailStep {
    /// Why.
    pub error: ProviderError,
}

/// What an operation produced.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of `create`, `import` and `get`.
    Pair(Pair),
    /// Of `list`: the pairs that were not yet emitted.
    Pairs(Vec<Pair>),
    /// Of `delete`.
    Deleted,
    /// Of `credentials`.
    Credentials(CredentialSet),
    /// Of `attach` and `detach`.
    Attached(Vec<InstanceResult>),
    /// Of `list_instances`: the provider's identifiers.
    Instances(Vec<String>),
    /// Of `run_command`: what it printed. Reserved.
    Output(String),
    /// Of `profiles`, the one that the vendor's tools take by default first.
    Profiles(Vec<Profile>),
}

/// A set of credentials that the vendor's own tools would find on this machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Profile {
    /// What an account's `profile` would say; none: the chain without a profile leads to it (the environment, say).
    #[serde(default)]
    pub name: Option<String>,
    /// Where it is, in words: `profile "prod" of ~/.aliyun/config.json`.
    pub source: String,
    /// The region it names, where it names one.
    #[serde(default)]
    pub region: Option<String>,
    /// What the account's `[settings]` need to say besides, where the chain does not find it by itself.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// Why it cannot be used, where the plugin knows that already: a mode that it does not have.
    #[serde(default)]
    pub unusable: Option<String>,
}

/// A generation's entry at the provider, as the provider describes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// The provider's own identifier, where it has one.
    #[serde(default)]
    pub id: Option<String>,
    /// The fingerprint as the provider writes it.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The public key as the provider writes it.
    #[serde(default)]
    pub public_key: Option<String>,
    /// When it was made, as the provider writes it.
    #[serde(default)]
    pub created_at: Option<String>,
}

/// The credentials that a chain led to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CredentialSet {
    /// Field name of the manifest to its value.
    pub fields: BTreeMap<String, CredentialValue>,
    /// Where they came from, in words: `profile "prod" of ~/.aliyun/config.json`.
    pub source: String,
    /// When they stop being valid (RFC 3339), where known.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// What was looked at before and had none, and why, in the order of the chain: one line each.
    #[serde(default)]
    pub attempts: Vec<String>,
}

/// One credential field of a [`CredentialSet`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialValue {
    /// A secret of a document that was read in this operation, for the one field that the manifest says it is.
    Handle(String),
    /// The field of this name that was given or captured in this operation, unchanged.
    Kept,
    /// A public field's value.
    Text(String),
}

/// What a login produced, kept beside the credentials until they expire or are refused.
///
/// In the recipes of `credentials`, `Secret` names a field that was given (see
/// [`Manifest::login`](crate::manifest::Manifest)) or captured in this operation, the later one first, or the handle of a
/// document's secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Session {
    /// Names of captures to keep as credential fields, besides those of the [`CredentialSet`].
    #[serde(default)]
    pub captures: Vec<String>,
    /// Given to later operations as [`Context::session`](super::Context::session).
    #[serde(default)]
    pub public: Value,
    /// URLs that an answer of this operation contained (a service catalogue) and that later operations send to. Those of
    /// the account's settings and of documents need not be named here.
    #[serde(default)]
    pub urls: Vec<String>,
    /// When it ends (RFC 3339), where known. The earlier one counts of this and [`CredentialSet::expires_at`].
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// How binding or releasing one instance went.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InstanceResult {
    /// The provider's identifier of the instance.
    pub instance: String,
    /// Why it failed; none: it succeeded.
    #[serde(default)]
    pub error: Option<ProviderError>,
}
