//! Roles of RAM, assumed at STS, version 2015-04-01.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{CredentialValue, Effect, ErrorKind, HttpStep, ProviderError};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::reply::text;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::way::Key;
use crate::call::Signer;
use crate::{ACCESS_KEY, Call, Product, SECURITY_TOKEN};

/// A role to assume.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Role {
    pub(super) arn: String,
    /// None: `keyferry`.
    pub(super) session_name: Option<String>,
    /// How long the access key lasts; none: an hour.
    pub(super) seconds: Option<u64>,
    /// What less it may do.
    pub(super) policy: Option<String>,
    pub(super) external_id: Option<String>,
    /// Whose token is believed, for a role by OpenID Connect.
    pub(super) oidc_provider_arn: Option<String>,
    pub(super) sts_region: Option<String>,
    /// Whether the region's internal host is meant.
    pub(super) vpc: bool,
}

/// An access key that was issued for some time.
pub(super) struct Issued {
    pub(super) key: Key,
    pub(super) expires_at: Option<String>,
}

const STS: Product = Product {
    name: "sts",
    version: "2015-04-01",
    list_action: "",
    page_size: 0,
    most_instances: 0,
    errors: &[
        ErrorRule::new(
            "EntityNotExist.Role*",
            ErrorKind::Unauthorized,
            "there is no such role, or its trust policy does not name this user",
        ),
        ErrorRule::new("InvalidParameter.*", ErrorKind::Invalid, ""),
    ],
};

/// How long an access key lasts where nothing else is said.
const SECONDS: u64 = 3600;

/// The call that assumes a role.
pub(super) fn call(role: &Role, signer: Signer, turn: &Turn<'_>) -> Result<Call, ProviderError> {
    let call = STS.call_as(signer, turn, &role.host(turn)?, "AssumeRole");
    Ok(role
        .parameters()
        .into_iter()
        .fold(call, |call, (name, value)| call.parameter(name, value))
        .optional("ExternalId", role.external_id.as_deref())
        .capturing(ACCESS_KEY.secret, "/Credentials/AccessKeySecret")
        .capturing(SECURITY_TOKEN, "/Credentials/SecurityToken"))
}

/// The request that assumes a role by the token of this handle: unsigned, since the token speaks for itself.
pub(super) fn send_with_token(role: &Role, token: &str, turn: &Turn<'_>) -> Result<HttpStep, ProviderError> {
    let request = HttpRequest::new("GET", turn.origin(&role.host(turn)?), "/")
        .with_query("Action", "AssumeRoleWithOIDC")
        .with_query("Format", "JSON")
        .with_query("Version", STS.version)
        .with_query("Timestamp", &*turn.context.time)
        .with_query(
            "OIDCProviderArn",
            role.oidc_provider_arn.as_deref().unwrap_or_default(),
        )
        .with_query("OIDCToken", Expr::secret(token));
    let request = role
        .parameters()
        .into_iter()
        .fold(request, |request, (name, value)| request.with_query(name, value));
    Ok(HttpStep::new(request)
        .capturing(ACCESS_KEY.secret, "/Credentials/AccessKeySecret")
        .capturing(SECURITY_TOKEN, "/Credentials/SecurityToken"))
}

/// The access key of the answer; errors name where the way began.
pub(super) fn read(turn: &Turn<'_>, action: &str, source: &str) -> Result<Issued, ProviderError> {
    let named = |error: ProviderError| ProviderError {
        message: format!("{source}: {}", error.message),
        ..error
    };
    let answered = STS.answer(turn, action).map_err(named)?;
    let answered = answered.ok_or_else(|| super::internal("an answer is missing"))?;
    issued(turn, &answered.body["Credentials"]).map_err(named)
}

/// The access key of an object with `AccessKeyId` and `Expiration`, whose secrets were captured.
pub(super) fn issued(turn: &Turn<'_>, object: &Value) -> Result<Issued, ProviderError> {
    let has_captured = |name: &str| {
        turn.response(Effect::None)
            .is_ok_and(|response| response.is_some_and(|response| response.has_captured(name)))
    };
    let missing = |what: &str| ProviderError::new(ErrorKind::Internal, format!("the answer holds no {what}"));
    for (field, name) in [
        (ACCESS_KEY.secret, "AccessKeySecret"),
        (SECURITY_TOKEN, "SecurityToken"),
    ] {
        if !has_captured(field) {
            return Err(missing(name));
        }
    }
    let id = text(object, "AccessKeyId")?.ok_or_else(|| missing("AccessKeyId"))?;
    let expires_at = text(object, "Expiration")?.ok_or_else(|| missing("Expiration"))?;
    Ok(Issued {
        key: Key {
            id: id.to_owned(),
            secret: CredentialValue::Kept,
            token: Some(CredentialValue::Kept),
        },
        expires_at: Some(expires_at.to_owned()),
    })
}

impl Role {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let session_name = self.session_name.as_deref().unwrap_or("keyferry");
        let mut parameters = vec![
            ("DurationSeconds", self.seconds.unwrap_or(SECONDS).to_string()),
            ("RoleArn", self.arn.clone()),
            ("RoleSessionName", session_name.to_owned()),
        ];
        parameters.extend(self.policy.clone().map(|policy| ("Policy", policy)));
        parameters
    }

    /// The account's region has a host of its own; for every other region the central one issues the same access keys.
    fn host(&self, turn: &Turn<'_>) -> Result<String, ProviderError> {
        let region = self
            .sts_region
            .as_deref()
            .filter(|wanted| turn.context.region.as_deref() == Some(*wanted));
        match (region, self.vpc) {
            (Some(region), true) => Ok(format!("sts-vpc.{region}.aliyuncs.com")),
            (Some(region), false) => Ok(format!("sts.{region}.aliyuncs.com")),
            // Without any region, the vendor's own chain takes the central host too.
            (None, true) if self.sts_region.is_some() => Err(ProviderError::new(
                ErrorKind::Unsupported,
                "the internal host of STS is that of another region than the account's: give both the same region",
            )),
            (None, _) => Ok("sts.aliyuncs.com".to_owned()),
        }
    }
}
