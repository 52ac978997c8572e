//! A plugin's own requests are those of the vendor's SDK.

use keyferry_plugin::Provider;
use keyferry_plugin::contract::{
    Attachment, Create, Delete, HttpStep, Import, List, Operation, PairReference,
};
use keyferry_plugin::manifest::Manifest;
use keyferry_plugin::recipe::Expr;
use serde_json::Value;

use crate::drive::{context, parameters, send};
use crate::vector::folder::are_our_own;
use crate::vector::{Vector, vectors};

/// What a list may have besides the vector's parameters.
const LIST_EXTRAS: [&str; 3] = ["IncludePublicKey", "PageNumber", "PageSize"];

/// What a vector's list may have and ours has otherwise or not: one page of some pairs.
const LIST_FILTERS: [&str; 5] = [
    "KeyPairId",
    "KeyPairName",
    "PageNumber",
    "PageSize",
    "ClientToken",
];

/// Compares method, host, path and parameters with every vector of this provider that is signed with ACS3-HMAC-SHA256, for
/// the operations that the plugins have.
pub(crate) fn check_against_vectors<P: Provider + Copy>(provider: P, name: &str, manifest: &Manifest) {
    let mut seen = Vec::new();
    for vector in vectors(name).iter().filter(|vector| vector.provider == name) {
        if vector.signing != "ACS3-HMAC-SHA256" {
            continue;
        }
        let (path, mut expected) = vector.target();
        expected.sort();
        let Some(operation) = operation(vector, &expected) else {
            continue;
        };

        let mut context = context();
        context.endpoint = Some(format!("http://{}", vector.host));
        context.time.clone_from(&vector.timestamp);
        context.nonce = vector.nonce.clone().unwrap_or_default();
        context.region = parameter(&expected, "RegionId").map(str::to_owned);
        if vector.credentials.session_token.is_some() {
            context.credential_fields.push("security_token".to_owned());
        }
        if let Some(token) = parameter(&expected, "ClientToken") {
            context.idempotency_token = token.to_owned();
        }
        if let Some(group) = parameter(&expected, "ResourceGroupId") {
            context.settings.insert("resource_group".to_owned(), group.into());
        }
        let tags: serde_json::Map<String, Value> = (1..)
            .map_while(|n| {
                let part = |part: &str| parameter(&expected, &format!("Tag.{n}.{part}"));
                Some((part("Key")?.to_owned(), part("Value")?.into()))
            })
            .collect();
        context.settings.insert("tags".to_owned(), tags.into());

        let step = send(provider, &operation, &context);
        let id = &vector.id;
        assert_eq!(step.request.method, vector.request.method, "{id}");
        assert_eq!(step.request.authority(), vector.host, "{id}");
        assert_eq!(step.request.path, path, "{id}");
        let found = parameters(&step).into_iter().filter(|(name, _)| {
            let extra = match &*vector.operation {
                "list" => LIST_EXTRAS.contains(&&**name),
                // The SDK sends none unless it is told to.
                _ => name == "ClientToken",
            };
            !extra || expected.iter().any(|(known, _)| known == name)
        });
        // A list of the SDK's may be of one page, or of some names.
        let asked = expected
            .iter()
            .filter(|(name, _)| vector.operation != "list" || !LIST_FILTERS.contains(&&**name));
        let found: Vec<_> = found
            .filter(|(name, _)| vector.operation != "list" || !LIST_FILTERS.contains(&&**name))
            .collect();
        assert_eq!(in_order(found.into_iter()), in_order(asked.cloned()), "{id}");
        check_headers(vector, &step.request.headers);
        check_manifest(manifest, &operation, &step);
        seen.push(vector.operation.clone());
    }
    for operation in ["create", "import", "list", "delete", "attach", "detach"] {
        assert!(
            seen.iter().any(|seen| seen == operation) || !are_our_own(),
            "no vector of {name} for {operation}"
        );
    }
}

fn operation(vector: &Vector, parameters: &[(String, String)]) -> Option<Operation> {
    let name = || parameter(parameters, "KeyPairName").map(str::to_owned);
    Some(match &*vector.operation {
        "create" => {
            let algorithm = keyferry_plugin::contract::Algorithm::Rsa2048;
            Operation::Create(Create {
                name: name()?,
                algorithm,
            })
        }
        "import" => {
            let public_key = parameter(parameters, "PublicKeyBody")?.to_owned();
            Operation::Import(Import {
                name: name()?,
                public_key,
            })
        }
        "list" => Operation::List(List::default()),
        "delete" => {
            let names = match parameter(parameters, "KeyPairNames") {
                Some(names) => serde_json::from_str(names).expect("names are a JSON list"),
                None => match numbered(parameters, "KeyPairNames") {
                    names if names.is_empty() => vec![name()?],
                    names => names,
                },
            };
            let pairs = names
                .into_iter()
                .map(|name| PairReference { name, id: None })
                .collect();
            Operation::Delete(Delete { pairs })
        }
        "attach" | "detach" => {
            let instances = match parameter(parameters, "InstanceIds") {
                Some(ids) => serde_json::from_str(ids).expect("instances are a JSON list"),
                None => numbered(parameters, "InstanceIds"),
            };
            let pair = PairReference {
                name: name()?,
                id: None,
            };
            let attachment = Attachment { pair, instances };
            match &*vector.operation {
                "attach" => Operation::Attach(attachment),
                _ => Operation::Detach(attachment),
            }
        }
        _ => return None,
    })
}

/// `Name.1`, `Name.2` and so on.
fn numbered(parameters: &[(String, String)], name: &str) -> Vec<String> {
    (1..)
        .map_while(|n| parameter(parameters, &format!("{name}.{n}")))
        .map(str::to_owned)
        .collect()
}

/// Parameters as [`parsed`], with numbered tags in the order of their keys: which number one has means nothing.
fn in_order(parameters: impl Iterator<Item = (String, String)>) -> Vec<(String, Value)> {
    let (tags, mut others): (Vec<_>, Vec<_>) = parsed(parameters)
        .into_iter()
        .partition(|(name, _)| name.starts_with("Tag."));
    let value = |number: &str, part: &str| {
        let wanted = format!("Tag.{number}.{part}");
        tags.iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.to_string())
            .unwrap_or_default()
    };
    others.extend(tags.iter().filter_map(|(name, key)| {
        let number = name.strip_prefix("Tag.")?.strip_suffix(".Key")?;
        Some((format!("tag {key}"), Value::String(value(number, "Value"))))
    }));
    others.sort_by(|(left, _), (right, _)| left.cmp(right));
    others
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.as_str())
}

/// Parameters, with lists in JSON text as lists: their spacing is free.
fn parsed(parameters: impl Iterator<Item = (String, String)>) -> Vec<(String, Value)> {
    let parse = |value: String| match serde_json::from_str(&value) {
        Ok(list @ Value::Array(_)) => list,
        _ => Value::String(value),
    };
    parameters.map(|(name, value)| (name, parse(value))).collect()
}

/// Every `x-acs-` header of the vector is sent with the same value, but the SDK's word on its own configuration.
fn check_headers(vector: &Vector, headers: &[(String, Expr)]) {
    let credentials = &vector.credentials;
    for (name, expected) in &vector.request.headers {
        if !name.starts_with("x-acs-") || name == "x-acs-credentials-provider" {
            continue;
        }
        let (_, value) = headers
            .iter()
            .find(|(other, _)| other == name)
            .unwrap_or_else(|| panic!("{}: no {name}", vector.id));
        match value {
            Expr::Text(text) => assert_eq!(text, expected, "{name} of {}", vector.id),
            Expr::Secret(field) if field == "access_key_id" => assert_eq!(*expected, credentials.access_key),
            Expr::Secret(field) if field == "security_token" => {
                assert_eq!(Some(expected), credentials.session_token.as_ref())
            }
            Expr::Hex(_) => assert_eq!((&**name, &*vector.request.body), ("x-acs-content-sha256", "")),
            other => panic!("{}: {name} is {other:?}", vector.id),
        }
    }
}

/// The manifest lists the call, with these parameters.
pub(crate) fn check_manifest(manifest: &Manifest, operation: &Operation, step: &HttpStep) {
    let (method, headers, parameters) = (&step.request.method, &step.request.headers, &parameters(step));
    let calls = &manifest.operations[&operation.kind()].calls;
    let listed = calls.iter().any(|call| {
        call.headers
            .iter()
            .all(|(name, value)| headers.contains(&(name.clone(), Expr::text(value))))
            && call.method == *method
            && parameters.iter().all(|(name, _)| {
                // A delete of several pairs is only shown, never sent.
                call.parameters.keys().any(|pattern| is_named(pattern, name))
                    || (name.starts_with("KeyPairNames.") && call.parameters.contains_key("KeyPairNames.1"))
            })
            && call
                .required
                .iter()
                .all(|name| parameters.iter().any(|(other, _)| is_named(name, other)))
    });
    assert!(
        listed,
        "the manifest lists no such call for {}: {parameters:?}",
        operation.kind()
    );
    for (name, _) in headers {
        let allowed = manifest
            .headers
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == pattern,
            });
        assert!(allowed, "the manifest does not list the header {name}");
    }
}

/// The manifest is one, says the crate's own name and version, and has what the shared code relies on.
pub(crate) fn manifest(json: &str, package: &str, version: &str) -> Manifest {
    let manifest: Manifest = serde_json::from_str(json).expect("the manifest is one");
    assert_eq!(format!("keyferry-{}", manifest.name), package);
    assert_eq!(manifest.version, version);
    let sources = [
        "config",
        "credentials_ini",
        "environment",
        "external",
        "oidc_token",
    ];
    assert!(manifest.sources.keys().eq(sources), "{:?}", manifest.sources);
    let fields = [
        "access_key_id",
        "access_key_secret",
        "oidc_token",
        "security_token",
    ];
    assert!(
        manifest.credentials.keys().eq(fields),
        "{:?}",
        manifest.credentials
    );
    check_policy(&manifest);
    manifest
}

/// The policy is RAM's form, and every operation that sends something says what it needs.
fn check_policy(manifest: &Manifest) {
    let policy = serde_json::json!({
        "Version": "1",
        "Statement": [{"Effect": "Allow", "Action": ["{permissions}"], "Resource": "*"}],
    });
    assert_eq!(manifest.policy, Some(policy));
    for (operation, rules) in &manifest.operations {
        let kind = operation.name();
        if ["credentials", "profiles"].contains(&kind) {
            assert!(rules.permissions.is_empty(), "{kind}");
            continue;
        }
        let actions: Vec<&str> = rules
            .calls
            .iter()
            .map(|call| call.headers["x-acs-action"].as_str())
            .collect();
        for permission in &rules.permissions {
            let (_, action) = permission.split_once(':').expect("PRODUCT:ACTION");
            assert!(actions.contains(&action), "{kind}: {permission}");
        }
        assert!(!rules.permissions.is_empty(), "{kind}");
    }
}

/// Whether a parameter has this name, in which `*` stands for a number.
fn is_named(pattern: &str, name: &str) -> bool {
    let parts = (pattern.split('.'), name.split('.'));
    parts.0.clone().count() == parts.1.clone().count()
        && parts
            .0
            .zip(parts.1)
            .all(|(wanted, part)| wanted == part || (wanted == "*" && part.parse::<u32>().is_ok()))
}
