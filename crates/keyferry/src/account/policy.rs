//! `keyferry account policy`.

use keyferry_engine::desired::{Account, CredentialSource, Desired, GeneratedBy};
use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::Manifest;
use serde_json::{Value, json};

use super::{named, open};
use crate::cli::AccountPolicyArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::{plugin, table};

/// Prints the policy document; where the vendor has none, the permissions.
pub(crate) fn run(arguments: &AccountPolicyArguments) -> Result<Exit, Error> {
    let (desired, catalogue) = open(&arguments.place)?;
    let account = named(&desired, &arguments.name)?;
    let facts = plugin::facts(&catalogue, &account.plugin)?;
    let permissions = permissions(&facts.manifest, &operations(&desired, account), account);
    let document = document(&facts.manifest, &permissions);
    if arguments.json {
        // Most vendors' documents are JSON themselves.
        let parsed = serde_json::from_str(&document).unwrap_or(Value::Null);
        table::print_json(&json!({
            "account": arguments.name,
            "permissions": permissions,
            "document": parsed,
        }))?;
    } else {
        table::print(&document)?;
    }
    Ok(Exit::Fine)
}

/// What the account's keys make keyferry do.
fn operations(desired: &Desired, account: &Account) -> Vec<OperationKind> {
    let keys = || desired.keys.values().filter(|key| key.account == account.name);
    let any = |generated_by| keys().next().is_none() || keys().any(|key| key.generated_by == generated_by);
    let mut operations = Vec::new();
    if any(GeneratedBy::Provider) {
        operations.push(OperationKind::Create);
    }
    // A generation that the provider made is imported into the key's further regions.
    if any(GeneratedBy::Keyferry) || keys().any(|key| !key.further_regions.is_empty()) {
        operations.push(OperationKind::Import);
    }
    operations.extend([OperationKind::List, OperationKind::Get, OperationKind::Delete]);
    // A role is assumed on the vendor's own chain alone.
    if matches!(account.credentials, CredentialSource::Chain { .. }) {
        operations.push(OperationKind::Credentials);
    }
    operations
}

/// The permissions of these operations and of the account's settings, once each.
fn permissions(manifest: &Manifest, operations: &[OperationKind], account: &Account) -> Vec<String> {
    let of_operations = operations.iter().filter_map(|kind| manifest.operations.get(kind));
    let of_settings = account
        .settings
        .keys()
        .filter_map(|name| manifest.settings.get(name));
    let all = of_operations
        .flat_map(|rules| &rules.permissions)
        .chain(of_settings.flat_map(|rules| &rules.permissions));
    let mut permissions = Vec::new();
    for permission in all {
        if !permissions.contains(permission) {
            permissions.push(permission.clone());
        }
    }
    permissions
}

fn document(manifest: &Manifest, permissions: &[String]) -> String {
    match &manifest.policy {
        Some(policy) => format!("{:#}", filled(policy, permissions)),
        None if permissions.is_empty() => format!(
            "plugin {} names no permissions: whoever may log in to this vendor may have key pairs",
            manifest.name
        ),
        None => permissions.join("\n"),
    }
}

/// The document with the permissions in place of the element that stands for them.
fn filled(policy: &Value, permissions: &[String]) -> Value {
    match policy {
        Value::Array(items) => {
            let items = items.iter().flat_map(|item| {
                if item == PLACEHOLDER {
                    permissions
                        .iter()
                        .map(|name| Value::from(name.as_str()))
                        .collect()
                } else {
                    vec![filled(item, permissions)]
                }
            });
            Value::Array(items.collect())
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), filled(value, permissions)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

const PLACEHOLDER: &str = "{permissions}";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn permissions_stand_where_the_document_has_their_place() {
        let policy = json!({"Version": "1", "Statement": [{"Action": [PLACEHOLDER], "Resource": "*"}]});
        let permissions = ["ecs:ImportKeyPair".to_owned(), "ecs:DeleteKeyPairs".to_owned()];
        assert_eq!(
            filled(&policy, &permissions),
            json!({"Version": "1", "Statement": [{"Action": permissions, "Resource": "*"}]})
        );
    }
}
