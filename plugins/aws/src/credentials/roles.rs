//! Roles, which the Security Token Service gives temporary keys for. API version 2011-06-15.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{CredentialValue, Document, ErrorKind, HttpStep, ProviderError};
use keyferry_plugin::recipe::Expr;
use serde::{Deserialize, Serialize};

use super::profiles::Profile;
use super::{Keys, unauthorized};
use crate::{ACCESS_KEY, Call, SESSION_TOKEN, Service};

/// A role to assume.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Role {
    pub(super) arn: String,
    session_name: String,
    external_id: Option<String>,
    /// Seconds.
    duration: Option<u32>,
}

impl Role {
    pub(super) fn new(arn: &str, session_name: Option<&str>) -> Self {
        Self {
            arn: arn.to_owned(),
            session_name: session_name.unwrap_or(SESSION_NAME).to_owned(),
            external_id: None,
            duration: None,
        }
    }

    /// The role of a profile that has one.
    pub(super) fn of(profile: &Profile<'_>, name: &str) -> Result<Self, ProviderError> {
        if let Some(serial) = profile.text("mfa_serial") {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!(
                    "profile {name:?} wants a one-time code (mfa_serial {serial}), which is not in this version: use a role \
                     that needs none"
                ),
            ));
        }
        let arn = profile.text("role_arn").unwrap_or_default();
        Ok(Self {
            external_id: profile.text("external_id").map(str::to_owned),
            // The vendor's tools take no notice of what is not a number either.
            duration: profile
                .text("duration_seconds")
                .and_then(|text| text.parse().ok()),
            ..Self::new(arn, profile.text("role_session_name"))
        })
    }
}

/// Asks for keys of a role with these ones.
pub(super) fn assume(role: &Role, keys: &Keys, turn: &Turn<'_>) -> Result<HttpStep, ProviderError> {
    let duration = role.duration.map(|seconds| seconds.to_string());
    let call = call(ASSUME_ROLE, role, turn)?
        .optional("DurationSeconds", duration.as_deref())
        .optional("ExternalId", role.external_id.as_deref());
    Ok(call.send_with(&keys.key(), keys.token()))
}

/// Asks for keys of a role with a token that a file holds.
pub(super) fn assume_with_web_identity(
    role: &Role,
    token: &Document,
    turn: &Turn<'_>,
) -> Result<HttpStep, ProviderError> {
    let Some(CredentialValue::Handle(token)) = token.secret("") else {
        let message = format!(
            "{} holds no token: AWS_WEB_IDENTITY_TOKEN_FILE names it",
            token.location
        );
        return Err(unauthorized(message));
    };
    let call =
        call(ASSUME_ROLE_WITH_WEB_IDENTITY, role, turn)?.parameter("WebIdentityToken", Expr::secret(token));
    Ok(call.send_unsigned())
}

/// The keys that came of [`assume`]; `source` says in words how.
pub(super) fn keys(source: &str, turn: &Turn<'_>) -> Result<Keys, ProviderError> {
    answered_keys(ASSUME_ROLE, source.to_owned(), turn)
}

/// The keys that came of [`assume_with_web_identity`].
pub(super) fn keys_of_web_identity(role: &Role, turn: &Turn<'_>) -> Result<Keys, ProviderError> {
    let source = format!("role {} by AWS_WEB_IDENTITY_TOKEN_FILE", role.arn);
    answered_keys(ASSUME_ROLE_WITH_WEB_IDENTITY, source, turn)
}

fn call(action: &str, role: &Role, turn: &Turn<'_>) -> Result<Call, ProviderError> {
    let place = |name| format!("{action}Response/{action}Result/Credentials/{name}");
    Ok(STS
        .call(turn, action)?
        .parameter("RoleArn", &*role.arn)
        .parameter("RoleSessionName", &*role.session_name)
        .capturing(ACCESS_KEY.secret, &place("SecretAccessKey"))
        .capturing(SESSION_TOKEN, &place("SessionToken")))
}

fn answered_keys(action: &str, source: String, turn: &Turn<'_>) -> Result<Keys, ProviderError> {
    let Some(answer) = STS.answer(turn, action)? else {
        return Err(ProviderError::new(
            ErrorKind::Internal,
            "there is no answer to go on with",
        ));
    };
    let result = answer.root().child(&format!("{action}Result"));
    let credentials = result.and_then(|result| result.child("Credentials"));
    let id = credentials.and_then(|credentials| credentials.text("AccessKeyId"));
    let complete = answer.has_captured(ACCESS_KEY.secret) && answer.has_captured(SESSION_TOKEN);
    match (id, complete) {
        (Some(id), true) => Ok(Keys {
            id: id.to_owned(),
            secret: CredentialValue::Kept,
            token: Some(CredentialValue::Kept),
            expires_at: credentials
                .and_then(|credentials| credentials.text("Expiration"))
                .map(str::to_owned),
            source,
        }),
        _ => Err(answer.blame("the answer holds no keys of the role")),
    }
}

/// What the vendor's audit log shows of a profile that says nothing else.
const SESSION_NAME: &str = "keyferry";

const ASSUME_ROLE: &str = "AssumeRole";
const ASSUME_ROLE_WITH_WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";

const STS: Service = Service {
    name: "sts",
    version: "2011-06-15",
    errors: &[],
};
