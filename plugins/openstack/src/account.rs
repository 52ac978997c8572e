//! What a login needs, from the account's own fields and settings or from a cloud of the tools' files.

use std::collections::BTreeMap;

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{ErrorKind, ProviderError};
use keyferry_plugin::recipe::Expr;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TOKEN;
use crate::clouds::{Cloud, unusable};

/// The fields that may name user, project and application credential, and the three secrets.
const FIELDS: [&str; 13] = [
    "application_credential_id",
    "application_credential_name",
    APPLICATION_CREDENTIAL_SECRET,
    PASSWORD,
    "project_domain_id",
    "project_domain_name",
    "project_id",
    "project_name",
    TOKEN,
    "user_domain_id",
    "user_domain_name",
    "user_id",
    "username",
];
pub(crate) const APPLICATION_CREDENTIAL_SECRET: &str = "application_credential_secret";
pub(crate) const PASSWORD: &str = "password";

/// A way to log in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Method {
    ApplicationCredential,
    Password,
    Token,
}

/// Where and how to log in.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) auth_url: String,
    pub(crate) fields: BTreeMap<String, Expr>,
    pub(crate) choice: Choice,
}

/// What counts once the token is there.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Choice {
    pub(crate) method: Method,
    pub(crate) region: Option<String>,
    /// `public`, `internal` or `admin`.
    pub(crate) interface: String,
    /// A URL in place of the catalogue's.
    pub(crate) endpoint_override: Option<String>,
    pub(crate) microversion: Option<String>,
    pub(crate) source: String,
    pub(crate) attempts: Vec<String>,
}

impl Account {
    /// The account's own fields. Their values stay in the courier.
    pub(crate) fn given(turn: &Turn<'_>) -> Result<Self, ProviderError> {
        let names = &turn.context.credential_fields;
        let fields = names
            .iter()
            .map(|name| (name.clone(), Expr::secret(name)))
            .collect();
        Self::new(fields, None, Cloud::default(), turn)
    }

    /// A cloud of the tools' files or the environment.
    pub(crate) fn of_cloud(mut cloud: Cloud, turn: &Turn<'_>) -> Result<Self, ProviderError> {
        if let Some((what, remedy)) = unusable(&cloud) {
            let message = format!(
                "{} has {what}, which is not in this version: {remedy}",
                cloud.source
            );
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        }
        if let Some(file) = text(&cloud, "cacert") {
            let note = format!(
                "{}: cacert {file:?} is not read, but `ca_file` of keyferry.toml's [network]",
                cloud.source
            );
            cloud.attempts.push(note);
        }
        let method = match text(&cloud, "auth_type") {
            Some("password" | "v3password") => Some(Method::Password),
            Some("token" | "v3token") => Some(Method::Token),
            Some("v3applicationcredential") => Some(Method::ApplicationCredential),
            _ => None,
        };
        let expression = |value: &Value| match (value, value.get("handle")) {
            (Value::String(text), _) if !text.is_empty() => Some(Expr::text(text)),
            (_, Some(Value::String(handle))) => Some(Expr::secret(handle)),
            _ => None,
        };
        let fields = FIELDS
            .iter()
            .filter_map(|&name| Some((name.to_owned(), expression(cloud.fields.get(name)?)?)));
        Self::new(fields.collect(), method, cloud, turn)
    }

    fn new(
        fields: BTreeMap<String, Expr>,
        method: Option<Method>,
        cloud: Cloud,
        turn: &Turn<'_>,
    ) -> Result<Self, ProviderError> {
        let option = |setting: &str, field: &str| {
            let setting = turn.setting(setting).or_else(|| text(&cloud, field));
            setting
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let auth_url = option("auth_url", "auth_url").ok_or_else(|| {
            invalid("nothing says where Keystone is: add `auth_url` to the account's [settings]".to_owned())
        })?;
        let secrets = [
            (PASSWORD, Method::Password),
            (APPLICATION_CREDENTIAL_SECRET, Method::ApplicationCredential),
            (TOKEN, Method::Token),
        ];
        let mut there = secrets.iter().filter(|(name, _)| fields.contains_key(*name));
        let method = match (method, there.next(), there.next()) {
            (Some(method), _, _) | (None, Some(&(_, method)), None) => method,
            (None, Some((one, _)), Some((other, _))) => {
                return Err(invalid(format!(
                    "both {one} and {other} are given: leave one of them out, or say `auth_type`"
                )));
            }
            (None, None, _) => {
                return Err(invalid(
                    "none of password, application_credential_secret and token is given".to_owned(),
                ));
            }
        };
        let interface = option("interface", "interface").unwrap_or_else(|| "public".to_owned());
        let choice = Choice {
            method,
            region: turn.context.region.clone().or_else(|| option("", "region_name")),
            // The tools take `publicURL` too.
            interface: interface.trim_end_matches("URL").to_ascii_lowercase(),
            endpoint_override: option("compute_endpoint_override", "compute_endpoint_override"),
            microversion: option("microversion", "compute_default_microversion"),
            source: if cloud.source.is_empty() {
                "the account's own fields".to_owned()
            } else {
                cloud.source
            },
            attempts: cloud.attempts,
        };
        Ok(Self {
            auth_url,
            fields,
            choice,
        })
    }
}

fn text<'a>(cloud: &'a Cloud, field: &str) -> Option<&'a str> {
    cloud
        .fields
        .get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

pub(crate) fn invalid(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Invalid, message)
}
