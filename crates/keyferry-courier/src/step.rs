//! Asks the plugin for one step.

use std::time::SystemTime;

use keyferry_plugin::contract::{Context, Effect, Operation, Reply};
use keyferry_plugin::{Step, StepRequest};
use serde_json::Value;

use crate::credentials::Credentials;
use crate::enforce::Refusal;
use crate::job::{JobError, JobRequest, Preview};
use crate::process::Shared;

/// Time and nonce of one step.
pub(crate) struct Moment {
    time: String,
    nonce: String,
}

impl Moment {
    /// Now, with a new nonce; or what a preview asks for.
    pub(crate) fn of(preview: Option<&Preview>) -> Self {
        match preview {
            Some(preview) => Self {
                time: preview.now.clone(),
                nonce: preview.nonce.clone(),
            },
            None => Self {
                time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                nonce: random_hex(),
            },
        }
    }
}

/// What the plugin may know of the account's credentials.
pub(crate) struct Known<'a> {
    /// Names of the fields that are there.
    pub(crate) fields: Vec<String>,
    /// The public part of the session.
    pub(crate) session: &'a Value,
}

impl Known<'_> {
    /// There are none.
    pub(crate) fn nothing() -> Self {
        Self {
            fields: Vec::new(),
            session: &Value::Null,
        }
    }
}

impl<'a> From<&'a Credentials> for Known<'a> {
    fn from(credentials: &'a Credentials) -> Self {
        Self {
            fields: credentials.fields.keys().cloned().collect(),
            session: &credentials.session,
        }
    }
}

/// Asks for the next step; the error says in words what the plugin did instead, and what to do.
pub(crate) fn ask(
    shared: &Shared,
    job: &JobRequest,
    operation: &Operation,
    known: Known<'_>,
    moment: Moment,
    state: Value,
    reply: Option<Reply>,
) -> Result<Step, String> {
    let account = &shared.setup.account;
    let request = StepRequest {
        operation: operation.clone(),
        context: Context {
            time: moment.time,
            nonce: moment.nonce,
            idempotency_token: job.idempotency_token.clone(),
            credential_fields: known.fields,
            region: shared.region(job).map(str::to_owned),
            endpoint: shared
                .endpoint
                .as_ref()
                .map(|endpoint| endpoint.origin.to_string()),
            settings: account.settings.clone(),
            session: known.session.clone(),
        },
        state,
        reply,
    };
    let sandbox = shared.sandbox().map_err(|error| in_words(&error))?;
    sandbox.step(&request).map_err(|error| in_words(&error))
}

/// A refusal as a job's error: names the plugin and what it tried.
pub(crate) fn refused(shared: &Shared, refusal: Refusal, effect: Effect) -> JobError {
    JobError::Refused {
        rule: refusal.rule,
        message: format!("plugin {} {}", shared.setup.library.name, refusal.message),
        effect,
    }
}

fn in_words(error: &keyferry_sandbox::SandboxError) -> String {
    format!("{error}; {}", error.remedy())
}

/// 32 hex digits that nobody can guess.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0; 16];
    // The generator of aws-lc does not fail; were it to, a repeated nonce is refused by the provider.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
