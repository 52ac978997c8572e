//! What a plugin says about itself before any of its code runs: `manifest.json` of its crate.
//!
//! keyferry reads it from the library file, shows it (`keyferry plugin info`), checks config files against it and
//! holds the plugin to it: hosts, calls, files and variables that it does not list are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::{Algorithm, OperationKind};

/// The manifest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's name, as accounts name it: `alibaba-ens`.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// One line for a person.
    pub title: String,
    /// Hosts it may send to: `ecs.{region}.aliyuncs.com`. `{region}` stands for one label. `{catalogue}` alone stands for
    /// the hosts of URLs that an answer to `credentials` named ([`Session::urls`](crate::contract::Session)), and
    /// `{setting}` alone for those of settings and documents that are URLs. A metadata address (`169.254.169.254`) is for
    /// `credentials` only.
    pub hosts: Vec<String>,
    /// Whether an account needs a region.
    pub region: RegionRule,
    /// Headers a request may carry besides a call's own; `*` at the end stands for any rest.
    pub headers: Vec<String>,
    /// Whether credentials that `env`, `file` or `command` gave must be exchanged before they are good for other
    /// operations: `credentials` is then asked with their fields present.
    #[serde(default)]
    pub login: bool,
    /// The vendor's policy document that allows exactly these permissions; the text `{permissions}`, where it is an element
    /// of a list, is replaced by the permissions of the operations in use.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// The operations it has.
    pub operations: BTreeMap<OperationKind, OperationRules>,
    /// Rules for pair names.
    pub names: NameRules,
    /// Algorithms, the preferred first.
    pub algorithms: AlgorithmRules,
    /// The vendor's limit on pairs, where known.
    #[serde(default)]
    pub quota: Option<Quota>,
    /// What an account's `[settings]` may hold.
    #[serde(default)]
    pub settings: BTreeMap<String, SettingRules>,
    /// Credential fields by name.
    pub credentials: BTreeMap<String, CredentialField>,
    /// Files and variables that `credentials` may read, by the name that [`Step::Read`](crate::contract::Step) uses.
    #[serde(default)]
    pub sources: BTreeMap<String, Source>,
    /// How the vendor makes fingerprints, in the order to try.
    pub fingerprints: Vec<FingerprintForm>,
}

/// The metadata addresses that [`Manifest::hosts`] may list: of Alibaba Cloud, of AWS and others, of AWS's containers and
/// of Volcengine. They are asked over plain http, never through a proxy, and by `credentials` alone.
pub const METADATA_HOSTS: [&str; 5] = [
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.96.0.96",
];

/// Places below which no file of a [`FileSource`] may lie, whatever named its path: those of keys, of keyferry's own files,
/// and of what is no file.
pub const PROTECTED_PLACES: [&str; 7] = [
    "~/.ssh",
    "~/.gnupg",
    "~/.local/state/keyferry",
    "~/.config/keyferry",
    "/proc",
    "/dev",
    "/sys",
];

/// Whether an account needs a region.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionRule {
    /// Taken where it is given.
    Optional,
    /// An account or a key must name one.
    Required,
}

/// The calls of one operation, and what they need.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OperationRules {
    /// The calls it may make. `credentials` may have none.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// What the user must be allowed at the vendor: `ens:CreateKeyPair`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Of `attach` alone: what it means for an instance, for the person who is asked whether to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceRules>,
}

/// What binding a pair means for an instance, as far as the vendor says.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceRules {
    /// What has to be done with it; none: the vendor does not say.
    #[serde(default)]
    pub needs: Option<InstanceNeeds>,
    /// Whether a pair that is bound to it goes; false: the vendor does not say.
    #[serde(default)]
    pub replaces: bool,
    /// Whether logins by password end; false: the vendor does not say.
    #[serde(default)]
    pub disables_passwords: bool,
}

/// What has to be done with an instance, so that a pair that is bound to it logs in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceNeeds {
    /// It is restarted after that, or started.
    Restart,
    /// It is stopped before that, and started after it.
    Stopped,
}

/// One call. A request must match a call of the operation in progress, entirely.
///
/// A path may begin with `{base}`: the path of the URL (of a setting, a document or the catalogue) whose origin the request
/// goes to, without a slash at its end; nothing for any other host.
///
/// Templates are literal text with `{name}`, `{id}`, `{public_key}` and `{region}`, or `*` alone for any value. A segment
/// `*` of a path stands for any one segment. Where `{public_key}` is all of a value, the key may stand there in base64 once more.
/// Of `attach` and `detach`, `{instance}` as all of a value stands for one of the instances that were asked for, and
/// `{instances}` for a JSON list of such. What binds or releases has one of them among what is required.
/// With several pairs (a delete that is only shown), `{name}` and `{id}` stand for all of them joined by `","`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path as a template; a placeholder's value is percent-encoded.
    pub path: String,
    /// Headers that must be there with exactly this value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters that may be there: name (`*` stands for a number: `Tag.*.Key`) to template. Each at most once.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Query parameters, or fields of the body, that must be there.
    #[serde(default)]
    pub required: Vec<String>,
    /// What the body is.
    #[serde(default)]
    pub body: Body,
    /// Where its answer holds secrets, as `json:POINTER`, `xml:PATH` of element names or `header:NAME`: keyferry takes them out
    /// before the plugin sees the answer, whether the plugin captures them or not.
    #[serde(default)]
    pub secrets: Vec<String>,
}

/// What the body of a call is; of `DELETE`, `GET` and `HEAD` there is none. Where the plugin sets no `content-type`, keyferry
/// does.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// The parameters, as `application/x-www-form-urlencoded`; the query is empty.
    Form,
    /// A JSON object. Every value that is no object or list is at one of these JSON pointers (`*` stands for an index), each
    /// with its template; of a value that is no string, its JSON text counts.
    Json(BTreeMap<String, String>),
}

/// Rules for pair names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NameRules {
    /// Least number of characters.
    pub min_length: usize,
    /// Greatest number of characters.
    pub max_length: usize,
    /// Whether the first character must be an ASCII letter.
    pub starts_with_letter: bool,
    /// Characters allowed besides ASCII letters and digits.
    pub punctuation: String,
    /// Beginnings that are not allowed, in lower case.
    #[serde(default)]
    pub forbidden_prefixes: Vec<String>,
}

impl NameRules {
    /// Checks a name.
    ///
    /// # Errors
    /// What is not allowed, in words that go on after the name.
    pub fn check(&self, name: &str) -> Result<(), String> {
        let length = name.chars().count();
        if length < self.min_length || length > self.max_length {
            return Err(format!(
                "has {length} characters, {} to {} are allowed",
                self.min_length, self.max_length
            ));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || self.punctuation.contains(c);
        if let Some(c) = name.chars().find(|&c| !allowed(c)) {
            return Err(format!(
                "contains {c:?}; allowed are letters, digits and {}",
                self.punctuation
                    .chars()
                    .map(|c| format!("`{c}`"))
                    .collect::<Vec<_>>()
                    .join(" ")
            ));
        }
        if self.starts_with_letter && !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err("does not start with a letter".to_owned());
        }
        let lower = name.to_ascii_lowercase();
        match self
            .forbidden_prefixes
            .iter()
            .find(|prefix| lower.starts_with(prefix.as_str()))
        {
            Some(prefix) => Err(format!("starts with {prefix}")),
            None => Ok(()),
        }
    }
}

/// Algorithms that the vendor takes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AlgorithmRules {
    /// For `create`.
    pub create: Vec<Algorithm>,
    /// For `import`.
    pub import: Vec<Algorithm>,
}

/// The vendor's limit on pairs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// How many pairs.
    pub pairs: u32,
    /// Of what: `region`, `account`, `user`, `project`.
    pub scope: String,
}

/// One setting of an account.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SettingRules {
    /// The value's type.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// One line for a person.
    pub help: String,
    /// What the user must be allowed at the vendor besides, where it is set: `ec2:CreateTags`.
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// Types of settings.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingType {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A table of strings: `{ team = "web" }`.
    Map,
    /// A string.
    String,
    /// An `https` or `http` URL that the plugin may send to.
    Url,
}

/// One credential field.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialField {
    /// Where it may stand in a recipe.
    pub class: FieldClass,
    /// Whether credentials without it are complete.
    #[serde(default)]
    pub optional: bool,
    /// For [`FieldClass::Bearer`]: the places where its bare value may be sent, as `header:NAME`, `query:NAME`, `form:NAME` or
    /// `json:POINTER`, one for each signing scheme or way to log in. In a header or the query, literal text may stand around
    /// it; in a body it is a whole value, as [`percent`](crate::recipe::Expr::percent) of it in a form and as
    /// [`json_string`](crate::recipe::Expr::json_string) of it in JSON, a part of its own of the body's recipe.
    #[serde(default)]
    pub places: Vec<String>,
}

/// Where a credential field may stand in a recipe.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldClass {
    /// Its own places, and the data of an HMAC whose key is an `hmac_key`.
    Bearer,
    /// The key of an HMAC, with literal text before or after it.
    HmacKey,
    /// Anywhere: an access key id.
    Public,
}

/// A place that `credentials` may read.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// What a command prints that a field of another source names.
    Command(CommandSource),
    /// Variables of the daemon's environment. The document is an object of those that are set.
    Environment(EnvironmentSource),
    /// A file.
    File(FileSource),
}

/// Variables. Those of `secret` reach the plugin as handles, each good for its own credential field alone; an empty one
/// counts as not set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSource {
    /// Those of `public` whose values are URLs that `credentials` may send to.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Names whose values the plugin sees.
    #[serde(default)]
    pub public: Vec<String>,
    /// Names whose values it does not see, each with the credential field that it holds.
    #[serde(default)]
    pub secret: BTreeMap<String, String>,
}

/// A file, outside of [`PROTECTED_PLACES`]. Only the listed fields reach the plugin, those of `secret` as handles, each good
/// for its own credential field alone; an empty secret counts as missing, and one of several lines is refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// The path; `~/` at the beginning stands for the home directory. Empty: only [`Self::path_variable`] names one.
    #[serde(default)]
    pub path: String,
    /// Paths to look at when there is nothing at `path` and no variable names another; the first that exists counts.
    #[serde(default)]
    pub alternatives: Vec<String>,
    /// A variable that names another path, where it is set and not empty.
    #[serde(default)]
    pub path_variable: Option<String>,
    /// How the file is written.
    pub format: FileFormat,
    /// Of [`FileFormat::Ini`]: whether a `#` ends a value. Vendors' tools differ in that.
    #[serde(default)]
    pub inline_comments: bool,
    /// JSON pointers of fields that the plugin sees; `*` stands for any one key or index.
    #[serde(default)]
    pub public: Vec<String>,
    /// JSON pointers of fields that it gets as handles, each with the credential field that it holds.
    #[serde(default)]
    pub secret: BTreeMap<String, String>,
    /// Those of `public` whose values are URLs that this and later operations may send to.
    #[serde(default)]
    pub urls: Vec<String>,
    /// JSON pointers of fields that hold a command ([`Step::Run`](crate::contract::Step)), with the name of the
    /// [`Source::Command`] that describes its output. The plugin sees `true` in their place.
    #[serde(default)]
    pub commands: BTreeMap<String, String>,
}

/// What a command prints: one JSON object. Only the listed fields reach the plugin, as those of a [`FileSource`].
///
/// The command stands in a field of another source; it is split into words as a POSIX shell does, and no shell runs it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSource {
    /// JSON pointers of fields that the plugin sees.
    #[serde(default)]
    pub public: Vec<String>,
    /// JSON pointers of fields that it gets as handles, each with the credential field that it holds.
    #[serde(default)]
    pub secret: BTreeMap<String, String>,
}

/// File formats of a [`FileSource`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// INI: sections of `name = value`, names in lower case. A line that begins with `#` or `;` is a comment; whether a `#`
    /// ends a value, [`FileSource::inline_comments`] says. The document is an object of objects.
    Ini,
    /// JSON.
    Json,
    /// One secret, without the white space around it: a token. Its JSON pointer is the empty one.
    Text,
    /// YAML 1.2; a scalar is a string, whatever it looks like.
    Yaml,
}

/// How a vendor makes a fingerprint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FingerprintForm {
    /// MD5 of the SSH public key blob, hex with or without colons.
    Md5,
    /// MD5 of the DER SubjectPublicKeyInfo, hex.
    Md5Spki,
    /// SHA-1 of the DER PKCS#8 private key, hex.
    Sha1Pkcs8,
    /// SHA-1 of the DER SubjectPublicKeyInfo, hex.
    Sha1Spki,
    /// SHA-256 of the SSH public key blob, base64.
    Sha256,
}
