//! The messages between keyferry and a plugin: what is asked ([`StepRequest`]) and what is answered ([`Step`]).
//!
//! They travel as JSON. Enums are externally tagged with snake_case names, so that a newer minor version can
//! add fields and variants: a plugin ignores fields it does not know, and keyferry refuses unknown fields only
//! from a plugin of its own minor version or an older one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod algorithm;
mod answer;
mod error;

pub use algorithm::Algorithm;
pub use answer::{
    CredentialSet, CredentialValue, DoneStep, FailStep, HttpStep, InstanceResult, Outcome, Pair, Profile,
    ReadStep, RunStep, Session, Step, WaitStep,
};
pub use error::{Effect, ErrorKind, ProviderError};

/// Major version of the contract. Another major is refused.
pub const ABI_MAJOR: u16 = 1;
/// Minor version of the contract. It grows when fields or variants are added.
pub const ABI_MINOR: u16 = 0;

/// One question to a plugin: what is the next step of this operation?
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepRequest {
    /// What is to be done, with its parameters.
    pub operation: Operation,
    /// Time, nonce and the account's settings. A plugin never asks the system for them.
    pub context: Context,
    /// What the plugin's previous step asked to be given back; null at the first step.
    #[serde(default)]
    pub state: Value,
    /// What the previous step led to; none at the first step.
    #[serde(default)]
    pub reply: Option<Reply>,
}

/// The operations of the contract. A plugin's manifest lists the ones it has.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Make a pair at the provider; the reply holds the private half, which the courier captures.
    Create(Create),
    /// Register a public key under a name.
    Import(Import),
    /// List all pairs, page by page.
    List(List),
    /// Describe one pair.
    Get(PairReference),
    /// Delete pairs.
    Delete(Delete),
    /// Bind a pair to instances.
    Attach(Attachment),
    /// Release a pair from instances.
    Detach(Attachment),
    /// Tell which instances name a pair.
    ListInstances(PairReference),
    /// Run a command on an instance through the provider. Reserved: not asked for in this version.
    RunCommand(RunCommand),
    /// Obtain the account's credentials from the vendor's own chain, and log in where the vendor wants that.
    Credentials(Credentials),
    /// Tell which profiles the vendor's own files hold, for `keyferry init`. It reads, and sends nothing.
    Profiles(Profiles),
}

impl Operation {
    /// The operation without its parameters.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Create(_) => OperationKind::Create,
            Self::Import(_) => OperationKind::Import,
            Self::List(_) => OperationKind::List,
            Self::Get(_) => OperationKind::Get,
            Self::Delete(_) => OperationKind::Delete,
            Self::Attach(_) => OperationKind::Attach,
            Self::Detach(_) => OperationKind::Detach,
            Self::ListInstances(_) => OperationKind::ListInstances,
            Self::RunCommand(_) => OperationKind::RunCommand,
            Self::Credentials(_) => OperationKind::Credentials,
            Self::Profiles(_) => OperationKind::Profiles,
        }
    }
}

/// The name of an operation, as in the manifest and on the command line.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// See [`Operation::Create`].
    Create,
    /// See [`Operation::Import`].
    Import,
    /// See [`Operation::List`].
    List,
    /// See [`Operation::Get`].
    Get,
    /// See [`Operation::Delete`].
    Delete,
    /// See [`Operation::Attach`].
    Attach,
    /// See [`Operation::Detach`].
    Detach,
    /// See [`Operation::ListInstances`].
    ListInstances,
    /// See [`Operation::RunCommand`].
    RunCommand,
    /// See [`Operation::Credentials`].
    Credentials,
    /// See [`Operation::Profiles`].
    Profiles,
}

impl OperationKind {
    /// All operations, in the contract's order.
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Import,
        Self::List,
        Self::Get,
        Self::Delete,
        Self::Attach,
        Self::Detach,
        Self::ListInstances,
        Self::RunCommand,
        Self::Credentials,
        Self::Profiles,
    ];

    /// The operation's name, as in the JSON form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Import => "import",
            Self::List => "list",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::ListInstances => "list_instances",
            Self::RunCommand => "run_command",
            Self::Credentials => "credentials",
            Self::Profiles => "profiles",
        }
    }
}

impl std::fmt::Display for OperationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Parameters of [`Operation::Create`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Create {
    /// The pair's name, already fitted to the manifest's name rules.
    pub name: String,
    /// One of the manifest's algorithms for create.
    pub algorithm: Algorithm,
}

/// Parameters of [`Operation::Import`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Import {
    /// The pair's name, already fitted to the manifest's name rules.
    pub name: String,
    /// The public key in OpenSSH's one-line form (`ssh-rsa AAAA... [comment]`).
    pub public_key: String,
}

/// Parameters of [`Operation::List`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct List {
    /// Pairs per page, from 1; none: the plugin's own choice. A plugin asks for no more than its vendor gives.
    #[serde(default)]
    pub page_size: Option<u32>,
}

/// Names one pair at the provider.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PairReference {
    /// The pair's name.
    pub name: String,
    /// The provider's own identifier, where it has one and we know it.
    #[serde(default)]
    pub id: Option<String>,
}

/// Parameters of [`Operation::Delete`]. The daemon asks for one pair at a time, with a permit for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Delete {
    /// The pairs to delete; never empty.
    pub pairs: Vec<PairReference>,
}

/// Parameters of [`Operation::Attach`] and [`Operation::Detach`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Attachment {
    /// The pair.
    pub pair: PairReference,
    /// The provider's identifiers of the instances.
    pub instances: Vec<String>,
}

/// Parameters of [`Operation::RunCommand`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunCommand {
    /// The provider's identifier of the instance.
    pub instance: String,
    /// The script to run, as text for `sh`.
    pub script: String,
}

/// Parameters of [`Operation::Credentials`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Credentials {
    /// The profile of the vendor's chain that the account names; none: the chain's default.
    #[serde(default)]
    pub profile: Option<String>,
}

/// Parameters of [`Operation::Profiles`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Profiles {}

/// What a plugin may know about the moment and the account.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Context {
    /// The time in UTC, RFC 3339 with whole seconds: `2026-11-22T01:36:49Z`.
    pub time: String,
    /// 32 lower-case hex digits, new for every step.
    pub nonce: String,
    /// 32 lower-case hex digits, the same for every retry of one operation.
    pub idempotency_token: String,
    /// Names of the credential fields that are present. Their values never reach a plugin.
    #[serde(default)]
    pub credential_fields: Vec<String>,
    /// The account's region or the key's own, where one is set.
    #[serde(default)]
    pub region: Option<String>,
    /// An origin (`https://host[:port]`) to use instead of the vendor's, where the account names one.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The account's `[settings]`, checked against the manifest.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// The public part of the account's session ([`Session::public`]); null where there is none.
    #[serde(default)]
    pub session: Value,
}

/// What the previous step led to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The provider answered.
    Response(Response),
    /// No whole answer came.
    TransportError(TransportError),
    /// A source was read ([`Step::Read`]), or a command's output ([`Step::Run`]).
    Document(Document),
    /// The time of a [`Step::Wait`] is over.
    Waited,
}

/// An HTTP response, after secrets were captured and blanked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, in the order received.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body as UTF-8; other bytes are replaced.
    pub body: String,
    /// The captures of the request that were found.
    #[serde(default)]
    pub captured: Vec<String>,
}

/// A request without a whole answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TransportError {
    /// Whether any byte of the request may have reached the provider. If so, the outcome is unknown.
    pub sent: bool,
    /// What went wrong, in words.
    pub message: String,
}

/// A source as a document. A secret field stands in it as `{"handle": "..."}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Document {
    /// The source's name in the manifest.
    pub source: String,
    /// Where it was read, for messages: a path, or `environment`.
    pub location: String,
    /// Whether it exists. A source that exists and cannot be read fails the operation before the plugin sees it.
    pub found: bool,
    /// The fields that the manifest lists; null when not found.
    #[serde(default)]
    pub content: Value,
}
