//! The vendor's own credential chain, as its SDK goes through it. The first that holds wins:
//!
//! 1. OpenID Connect with STS, when `HUAWEICLOUD_OIDC_PROVIDER_URN` and `HUAWEICLOUD_OIDC_AGENCY_URN` are set: not in this
//!    version, so it is refused rather than passed over;
//! 2. the environment: `HUAWEICLOUD_SDK_AK`, `HUAWEICLOUD_SDK_SK`, and where they are set `HUAWEICLOUD_SDK_SECURITY_TOKEN`
//!    and `HUAWEICLOUD_SDK_PROJECT_ID`; with `HUAWEICLOUD_SDK_IDP_ID` and `HUAWEICLOUD_SDK_ID_TOKEN_FILE`, which would win
//!    over them, it is refused;
//! 3. `~/.huaweicloud/credentials`, or the file of `HUAWEICLOUD_SDK_CREDENTIALS_FILE`: section `[basic]` with `ak`, `sk`,
//!    `security_token`, `project_id`, `iam_endpoint`;
//! 4. the agency of the instance, by the metadata service;
//! 5. the identity of a pod (`HC_CONTAINER_CREDENTIALS_FULL_URI`): not in this version.
//!
//! `HUAWEICLOUD_SDK_IAM_ENDPOINT` names another IAM. The chain has no profiles.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, Document, ErrorKind, ProviderError, Step,
};
use keyferry_plugin::{Answer, Turn};
use serde_json::{Value, json};

use crate::login::Login;
use crate::metadata::{self, Search};
use crate::{ACCESS_KEY_ID, ACCESS_KEY_SECRET, SECURITY_TOKEN};

/// Names of the sources in the manifests.
pub(crate) const ENVIRONMENT: &str = "environment";
pub(crate) const CREDENTIALS: &str = "credentials";

/// The first step.
pub(crate) fn begin(credentials: &Credentials) -> Answer {
    match &credentials.profile {
        None => Ok(Step::read(ENVIRONMENT, Value::Null)),
        Some(profile) => Err(ProviderError::new(
            ErrorKind::Invalid,
            format!("the vendor's credential chain has no profiles: leave out `profile = {profile:?}`"),
        )),
    }
}

/// What a document says, or the step after it.
pub(crate) fn read(turn: &Turn<'_>, document: &Document) -> Answer {
    if document.source == ENVIRONMENT {
        return environment(turn, document);
    }
    let mut search: Search = turn.state()?;
    let reason = match key(document, "/basic/ak", "/basic/sk", "/basic/security_token") {
        _ if !document.found => "no such file",
        _ if is_set(document, &["/basic/idp_id", "/basic/id_token_file"]) => {
            let place = format!("section [basic] of {}", document.location);
            return Err(refused(&place, "an identity provider (idp_id, id_token_file)"));
        }
        Some(fields) => {
            let source = format!("section [basic] of {}", document.location);
            let iam = document
                .text("/basic/iam_endpoint")
                .map(str::to_owned)
                .or(search.iam.take());
            let project_id = document.text("/basic/project_id").map(str::to_owned);
            return search.found(fields, source, project_id, iam).with_project(turn);
        }
        None => "no section [basic] with ak and sk",
    };
    search.attempts.push(format!("{}: {reason}", document.location));
    Ok(metadata::ask(search))
}

fn environment(turn: &Turn<'_>, document: &Document) -> Answer {
    if is_set(
        document,
        &["/HUAWEICLOUD_OIDC_PROVIDER_URN", "/HUAWEICLOUD_OIDC_AGENCY_URN"],
    ) {
        let what = "OpenID Connect (HUAWEICLOUD_OIDC_PROVIDER_URN, HUAWEICLOUD_OIDC_AGENCY_URN)";
        return Err(refused("the environment", what));
    }
    if is_set(
        document,
        &["/HUAWEICLOUD_SDK_IDP_ID", "/HUAWEICLOUD_SDK_ID_TOKEN_FILE"],
    ) {
        let what = "an identity provider (HUAWEICLOUD_SDK_IDP_ID, HUAWEICLOUD_SDK_ID_TOKEN_FILE)";
        return Err(refused("the environment", what));
    }
    let mut search = Search {
        iam: document.text("/HUAWEICLOUD_SDK_IAM_ENDPOINT").map(str::to_owned),
        pod: document.text("/HC_CONTAINER_CREDENTIALS_FULL_URI").is_some(),
        ..Search::default()
    };
    let fields = key(
        document,
        "/HUAWEICLOUD_SDK_AK",
        "/HUAWEICLOUD_SDK_SK",
        "/HUAWEICLOUD_SDK_SECURITY_TOKEN",
    );
    if let Some(fields) = fields {
        let project_id = document.text("/HUAWEICLOUD_SDK_PROJECT_ID").map(str::to_owned);
        let iam = search.iam.take();
        return search
            .found(fields, "environment".to_owned(), project_id, iam)
            .with_project(turn);
    }
    search
        .attempts
        .push("environment: HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK are not both set".to_owned());
    Ok(Step::read(CREDENTIALS, json!(search)))
}

impl Search {
    /// An access key that was found.
    pub(crate) fn found(
        self,
        fields: BTreeMap<String, CredentialValue>,
        source: String,
        project_id: Option<String>,
        iam: Option<String>,
    ) -> Login {
        let set = CredentialSet {
            fields,
            source,
            expires_at: None,
            attempts: self.attempts,
        };
        Login {
            set,
            project_id,
            iam,
            expires_at: None,
        }
    }

    /// The end of the chain.
    pub(crate) fn without_metadata(mut self, reason: &str) -> Answer {
        if self.pod {
            return Err(refused(
                "the environment",
                "a pod's identity (HC_CONTAINER_CREDENTIALS_FULL_URI)",
            ));
        }
        self.attempts.push(format!("metadata service: {reason}"));
        Err(ProviderError::new(
            ErrorKind::Unauthorized,
            format!(
                "no credentials found: {}; profiles of the command line (~/.hcloud) are not in this version: write ak and \
                 sk into ~/.huaweicloud/credentials, or name `env`, `file` or `command` in the account's [credentials]",
                self.attempts.join("; ")
            ),
        ))
    }
}

/// An access key in a document.
fn key(
    document: &Document,
    id: &str,
    secret: &str,
    token: &str,
) -> Option<BTreeMap<String, CredentialValue>> {
    let id = CredentialValue::Text(document.text(id)?.to_owned());
    let mut fields = BTreeMap::from([
        (ACCESS_KEY_ID.to_owned(), id),
        (ACCESS_KEY_SECRET.to_owned(), document.secret(secret)?),
    ]);
    fields.extend(
        document
            .secret(token)
            .map(|token| (SECURITY_TOKEN.to_owned(), token)),
    );
    Some(fields)
}

fn is_set(document: &Document, places: &[&str]) -> bool {
    places.iter().all(|place| document.text(place).is_some())
}

fn refused(place: &str, what: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Unsupported,
        format!(
            "{place} asks for {what}, which is not in this version: take it out, or name `env`, `file` or `command` in the \
             account's [credentials]"
        ),
    )
}
