//! What the environment says: an access key, a role by OpenID Connect, and how the chain goes on.

use keyferry_plugin::contract::{Document, Profile};
use serde::{Deserialize, Serialize};

use super::role::Role;
use super::way::{Key, Way};

/// The variables that matter later, without any secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Environment {
    /// `ALIBABA_CLOUD_PROFILE`.
    pub(super) profile: Option<String>,
    /// `ALIBABA_CLOUD_CLI_PROFILE_DISABLED`.
    pub(super) cli_disabled: bool,
    /// `ALIBABA_CLOUD_ROLE_ARN`.
    pub(super) role_arn: Option<String>,
    /// `ALIBABA_CLOUD_ROLE_SESSION_NAME`.
    pub(super) session_name: Option<String>,
    /// `ALIBABA_CLOUD_OIDC_PROVIDER_ARN`.
    pub(super) oidc_provider_arn: Option<String>,
    /// `ALIBABA_CLOUD_OIDC_TOKEN_FILE`.
    pub(super) oidc_token_file: Option<String>,
    /// `ALIBABA_CLOUD_STS_REGION`.
    pub(super) sts_region: Option<String>,
    /// `ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED`.
    pub(super) vpc: bool,
    /// `ALIBABA_CLOUD_ECS_METADATA`.
    pub(super) metadata_role: Option<String>,
    /// `ALIBABA_CLOUD_ECS_METADATA_DISABLED`.
    pub(super) metadata_disabled: bool,
    /// `ALIBABA_CLOUD_IMDSV1_DISABLED`.
    pub(super) imds_v1_disabled: bool,
    /// `ALIBABA_CLOUD_CREDENTIALS_URI`.
    pub(super) credentials_uri: Option<String>,
}

impl Environment {
    pub(super) fn read(document: &Document) -> Self {
        let variable = |name: &str| {
            document
                .text(&format!("/ALIBABA_CLOUD_{name}"))
                .map(str::to_owned)
        };
        let is_true = |name: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self {
            profile: variable("PROFILE"),
            cli_disabled: is_true("CLI_PROFILE_DISABLED"),
            role_arn: variable("ROLE_ARN"),
            session_name: variable("ROLE_SESSION_NAME"),
            oidc_provider_arn: variable("OIDC_PROVIDER_ARN"),
            oidc_token_file: variable("OIDC_TOKEN_FILE"),
            sts_region: variable("STS_REGION"),
            vpc: is_true("VPC_ENDPOINT_ENABLED"),
            metadata_role: variable("ECS_METADATA"),
            metadata_disabled: is_true("ECS_METADATA_DISABLED"),
            imds_v1_disabled: is_true("IMDSV1_DISABLED"),
            credentials_uri: variable("CREDENTIALS_URI"),
        }
    }

    /// The access key of the environment; else why there is none.
    pub(super) fn access_key(&self, document: &Document) -> Result<Way, &'static str> {
        let id = document
            .text("/ALIBABA_CLOUD_ACCESS_KEY_ID")
            .ok_or("ALIBABA_CLOUD_ACCESS_KEY_ID is not set")?;
        let secret = document
            .secret("/ALIBABA_CLOUD_ACCESS_KEY_SECRET")
            .ok_or("ALIBABA_CLOUD_ACCESS_KEY_SECRET is not set")?;
        let token = document.secret("/ALIBABA_CLOUD_SECURITY_TOKEN");
        Ok(Way::key(
            Key {
                id: id.to_owned(),
                secret,
                token,
            },
            "environment".to_owned(),
        ))
    }

    /// The role that the environment asks for by OpenID Connect, where all of its variables are set.
    pub(super) fn open_id_connect(&self) -> Option<Way> {
        self.oidc_token_file.as_ref()?;
        let role = Role {
            arn: self.role_arn.clone()?,
            session_name: self.session_name.clone(),
            oidc_provider_arn: Some(self.oidc_provider_arn.clone()?),
            sts_region: self.sts_region.clone(),
            vpc: self.vpc,
            ..Role::default()
        };
        Some(Way::open_id_connect(role, "environment".to_owned()))
    }

    /// What the environment offers for a first account.
    pub(super) fn profile(&self, document: &Document) -> Option<Profile> {
        let way = self
            .access_key(document)
            .ok()
            .or_else(|| self.open_id_connect())?;
        Some(Profile {
            source: way.source().to_owned(),
            ..Profile::default()
        })
    }
}
