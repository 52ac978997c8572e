//! `~/.volcengine/config.json`, which the vendor's command line writes.

use keyferry_plugin::contract::Document;

use crate::credentials::{Finding, Key, handle};

/// What the file holds for this profile, else for its own default.
pub(crate) fn find(document: &Document, profile: Option<&str>) -> Finding {
    if !document.found {
        return Finding::Absent("no such file".to_owned());
    }
    let named = profile.or_else(|| document.text("/current"));
    let name = named.unwrap_or("default");
    if !document.content["profiles"][name].is_object() {
        return Finding::Absent(format!("no profile {name:?}"));
    }
    let place = format!("/profiles/{}", name.replace('~', "~0").replace('/', "~1"));
    let text = |field: &str| document.text(&format!("{place}/{field}"));
    let needed =
        |field: &str| text(field).ok_or_else(|| Finding::Absent(format!("profile {name:?} has no {field}")));
    let source = format!("profile {name:?} of {}", document.location);
    let mode = text("mode").unwrap_or_default();
    let mode_name = mode.to_ascii_lowercase();
    let found = || match &*mode_name {
        "ststoken" if document.secret(&format!("{place}/session-token")).is_none() => {
            Err(Finding::Absent(format!("profile {name:?} has no session-token")))
        }
        "" | "ak" | "ststoken" => Ok(Finding::Key(Key {
            id: needed("access-key")?.to_owned(),
            secret: document
                .secret(&format!("{place}/secret-key"))
                .ok_or_else(|| Finding::Absent(format!("profile {name:?} has no secret-key")))?,
            token: document.secret(&format!("{place}/session-token")),
            source: source.clone(),
        })),
        "ramrolearn" => Ok(Finding::Role {
            id: needed("access-key")?.to_owned(),
            secret: handle(document, &format!("{place}/secret-key"))
                .ok_or_else(|| Finding::Absent(format!("profile {name:?} has no secret-key")))?,
            role_trn: format!("trn:iam::{}:role/{}", needed("account-id")?, needed("role-name")?),
            source: source.clone(),
        }),
        "ecsrole" => Ok(Finding::Instance {
            role: needed("role-name")?.to_owned(),
        }),
        _ => Ok(Finding::Refused(format!(
            "{source} has mode {mode:?}, which is not in this version, only {MODES}: use a profile of those, or \
             `env`, `file` or `command` in the account's [credentials]"
        ))),
    };
    found().unwrap_or_else(|absent| absent)
}

/// The modes of a profile, for messages.
pub(crate) const MODES: &str = "AK, StsToken, RamRoleArn and EcsRole";
