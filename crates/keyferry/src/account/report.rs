//! How an account's credentials fare: what the daemon tells, and a command without a daemon finds out by itself.

use std::collections::BTreeMap;

use keyferry_courier::{Courier, Hooks, JobError, JobRequest, JobResult};
use keyferry_engine::desired::{Account, CredentialSource};
use keyferry_plugin::contract::{
    Credentials, ErrorKind, Operation, OperationKind, PairReference, ProviderError,
};
use keyferry_plugin::manifest::Manifest;
use serde::{Deserialize, Serialize};

/// What came of looking at one account.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct AccountReport {
    pub(crate) name: String,
    pub(crate) plugin: String,
    /// Where the credentials came from, in words.
    pub(crate) source: Option<String>,
    /// What was looked at before and had none, and why.
    pub(crate) attempts: Vec<String>,
    /// When they end (RFC 3339), where that is known.
    pub(crate) expires_at: Option<String>,
    /// The operation that was tried with them; none where it did not come to that.
    pub(crate) tried: Option<String>,
    /// What went wrong.
    pub(crate) error: Option<ReportError>,
    /// The variables that the credentials may come from, and whether each is set where they were looked for.
    pub(crate) variables: BTreeMap<String, bool>,
}

/// Why an account's credentials do not do.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ReportError {
    /// The contract's kind of error, or `credentials`.
    pub(crate) kind: String,
    /// The vendor's code.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    /// The vendor's request id.
    pub(crate) request_id: Option<String>,
}

impl AccountReport {
    /// A report of something that failed before a courier could be asked.
    pub(crate) fn failed(account: &Account, kind: &str, message: String) -> Self {
        let error = ReportError {
            kind: kind.to_owned(),
            code: None,
            message,
            request_id: None,
        };
        Self {
            error: Some(error),
            ..Self::of(account)
        }
    }

    /// Has a courier obtain the credentials anew, and read with them.
    pub(crate) async fn obtain(account: &Account, manifest: &Manifest, courier: &Courier) -> Self {
        let mut report = Self {
            variables: variables(account, manifest),
            ..Self::of(account)
        };
        let profile = match &account.credentials {
            CredentialSource::Chain { profile } => profile.clone(),
            _ => None,
        };
        let obtaining = job(Operation::Credentials(Credentials { profile }));
        match courier.run(obtaining).await {
            Ok(JobResult::Credentials {
                source,
                attempts,
                expires_at,
            }) => {
                report.source = Some(source);
                report.attempts = attempts;
                report.expires_at = expires_at;
            }
            Ok(_) => {
                report.error = Some(unexpected());
                return report;
            }
            Err(mut error) => {
                if let JobError::Credentials { attempts, .. } = &mut error {
                    report.attempts = std::mem::take(attempts);
                }
                report.error = Some(ReportError::from(error));
                return report;
            }
        }
        if manifest.operations.contains_key(&OperationKind::Get) {
            report.tried = Some(OperationKind::Get.name().to_owned());
            let nothing = PairReference {
                name: NO_PAIR.to_owned(),
                id: None,
            };
            match courier.run(job(Operation::Get(nothing))).await {
                // Whether there is one is not the question.
                Ok(JobResult::Pair(_)) => {}
                Err(JobError::Provider(error)) if error.kind == ErrorKind::NotFound => {}
                Ok(_) => report.error = Some(unexpected()),
                Err(error) => report.error = Some(ReportError::from(error)),
            }
        }
        report
    }

    fn of(account: &Account) -> Self {
        Self {
            name: account.name.clone(),
            plugin: account.plugin.clone(),
            ..Self::default()
        }
    }
}

impl From<JobError> for ReportError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Provider(error) => Self::of_provider(error),
            JobError::Credentials { error, answered, .. } => {
                let may_pass = matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable);
                let report = Self::of_provider(*error);
                match answered || may_pass {
                    true => report,
                    // Something on this machine is missing or wrong.
                    false => Self {
                        kind: "credentials".to_owned(),
                        ..report
                    },
                }
            }
            other => Self {
                kind: match other {
                    JobError::Plugin { .. } | JobError::Refused { .. } => "plugin",
                    _ => "process",
                }
                .to_owned(),
                code: None,
                message: other.to_string(),
                request_id: None,
            },
        }
    }
}

impl ReportError {
    fn of_provider(error: ProviderError) -> Self {
        Self {
            kind: error.kind.name().to_owned(),
            code: error.code,
            message: error.message,
            request_id: error.request_id,
        }
    }
}

/// The variables that an account's credentials may come from, and whether each is set in this process.
fn variables(account: &Account, manifest: &Manifest) -> BTreeMap<String, bool> {
    let is_set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match &account.credentials {
        CredentialSource::Environment(fields) => {
            fields.values().map(|name| (name.clone(), is_set(name))).collect()
        }
        CredentialSource::Chain { .. } => Hooks::default().variables_set(manifest),
        CredentialSource::Command(_) | CredentialSource::File(_) => BTreeMap::new(),
    }
}

fn job(operation: Operation) -> JobRequest {
    JobRequest::new(operation, "0".repeat(32))
}

fn unexpected() -> ReportError {
    ReportError {
        kind: "internal".to_owned(),
        code: None,
        message: "the courier answered another operation than it was asked".to_owned(),
        request_id: None,
    }
}

/// The cheapest request that reads, at every vendor: one pair, which need not exist. The name is good everywhere.
const NO_PAIR: &str = "keyferry-account-check";
