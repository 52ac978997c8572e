//! A plugin's own requests are those of the vendor's SDK.

use keyferry_plugin::Provider;
use keyferry_plugin::contract::{Create, Delete, Import, List, Operation, PairReference};
use keyferry_plugin::manifest::Manifest;
use keyferry_plugin::recipe::Expr;
use serde_json::Value;

use crate::drive::{context, parameters, send};
use crate::vector::{Vector, vectors};

/// What a list may have besides the vector's parameters.
const LIST_EXTRAS: [&str; 3] = ["IncludePublicKey", "PageNumber", "PageSize"];

/// Compares method, host, path and parameters with every basic and sts vector of this provider that is signed with
/// ACS3-HMAC-SHA256, for create, import, list and delete.
pub(crate) fn check_against_vectors<P: Provider + Copy>(provider: P, name: &str, manifest: &Manifest) {
    let mut seen = Vec::new();
    for vector in vectors(name).iter().filter(|vector| vector.provider == name) {
        if vector.signing != "ACS3-HMAC-SHA256" || !["basic", "sts"].contains(&&*vector.variant) {
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

        let step = send(provider, &operation, &context);
        let id = &vector.id;
        assert_eq!(step.request.method, vector.request.method, "{id}");
        assert_eq!(step.request.authority(), vector.host, "{id}");
        assert_eq!(step.request.path, path, "{id}");
        let found = parameters(&step).into_iter().filter(|(name, _)| {
            vector.operation != "list"
                || expected.iter().any(|(known, _)| known == name)
                || !LIST_EXTRAS.contains(&&**name)
        });
        assert_eq!(parsed(found), parsed(expected.iter().cloned()), "{id}");
        check_headers(vector, &step.request.headers);
        check_manifest(manifest, &operation, &step.request.headers, &parameters(&step));
        seen.push(vector.operation.clone());
    }
    for operation in ["create", "import", "list", "delete"] {
        assert!(
            seen.iter().any(|seen| seen == operation),
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
                None => vec![name()?],
            };
            let pairs = names
                .into_iter()
                .map(|name| PairReference { name, id: None })
                .collect();
            Operation::Delete(Delete { pairs })
        }
        _ => return None,
    })
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
pub(crate) fn check_manifest(
    manifest: &Manifest,
    operation: &Operation,
    headers: &[(String, Expr)],
    parameters: &[(String, String)],
) {
    let calls = &manifest.operations[&operation.kind()].calls;
    let listed = calls.iter().any(|call| {
        call.headers
            .iter()
            .all(|(name, value)| headers.contains(&(name.clone(), Expr::text(value))))
            && parameters
                .iter()
                .all(|(name, _)| call.parameters.contains_key(name))
            && call
                .required
                .iter()
                .all(|name| parameters.iter().any(|(other, _)| other == name))
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
    assert!(
        manifest
            .sources
            .keys()
            .eq(["config", "credentials_ini", "environment"]),
        "{:?}",
        manifest.sources
    );
    let fields = ["access_key_id", "access_key_secret", "security_token"];
    assert!(
        manifest.credentials.keys().eq(fields),
        "{:?}",
        manifest.credentials
    );
    manifest
}
