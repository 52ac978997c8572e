//! The plugin's own requests are those of the vendor's SDK: method, host, path and fields.

#[path = "../../aws/tests/support/drive.rs"]
#[expect(dead_code, reason = "the replies have tests of their own")]
mod drive;
#[path = "../../../crates/keyferry-plugin/tests/support/evaluate.rs"]
mod evaluate;
#[path = "../../../crates/keyferry-plugin/tests/support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_aws_ec2::AwsEc2;
use keyferry_plugin::contract::{Algorithm, Create, Delete, Import, List, Operation, PairReference};
use keyferry_plugin::manifest::{Body, Manifest};
use keyferry_plugin::recipe::{HttpRequest, Place};
use serde_json::{Map, Value, json};

use crate::drive::{context, decoded, form, header, send};
use crate::evaluate::evaluate;
use crate::vector::folder::are_our_own;
use crate::vector::{Vector, vectors};

/// What we say and the SDK leaves to the vendor.
const OURS: [(&str, &str); 2] = [("IncludePublicKey", "true"), ("KeyType", "rsa")];

#[test]
fn requests_are_those_of_the_sdk() {
    let mut seen = BTreeSet::new();
    let mut identical = Vec::new();
    for vector in vectors("aws-ec2-") {
        let expected = fields(&vector);
        let field = |name: &str| {
            let found = expected.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let mut context = context();
        context.endpoint = Some(format!("http://{}", vector.host));
        context.time = rfc3339(&vector.timestamp);
        if vector.credentials.session_token.is_some() {
            context.credential_fields.push("session_token".to_owned());
        }
        let tags: Map<String, Value> = (1..)
            .map_while(|n| {
                let key = field(&format!("TagSpecification.1.Tag.{n}.Key"))?;
                let value = field(&format!("TagSpecification.1.Tag.{n}.Value"))?;
                Some((key, json!(value)))
            })
            .collect();
        context.settings.insert("tags".to_owned(), Value::Object(tags));
        let operation = operation(&vector, &field);

        let step = send(AwsEc2, &operation, &context);
        let id = &vector.id;
        assert_eq!(step.request.method, vector.request.method, "{id}");
        assert_eq!(step.request.authority(), vector.host, "{id}");
        assert_eq!(step.request.path, vector.request.target, "{id}");
        assert!(step.request.query.is_empty(), "{id}");
        let found: Vec<(String, String)> = form(&step.request);
        let ours = |(name, value): &&(String, String)| {
            OURS.contains(&(name, value)) && !expected.iter().any(|(known, _)| known == name)
        };
        let without_ours = found.iter().filter(|field| !ours(field)).cloned().collect();
        assert_eq!(
            with_tags_in_any_order(without_ours),
            with_tags_in_any_order(expected.clone()),
            "{id}"
        );
        check_headers(&vector, &step.request);
        check_manifest(&operation, &step.request);
        let captures: Vec<&Place> = step.capture.iter().map(|capture| &capture.place).collect();
        let key = Place::XmlPath("CreateKeyPairResponse/keyMaterial".to_owned());
        let expected = if vector.operation == "create" {
            vec![&key]
        } else {
            vec![]
        };
        assert_eq!(captures, expected, "{id}");
        seen.insert(vector.operation.clone());
        if is_identical(&vector, &step.request) {
            identical.push(vector.id);
        }
    }
    if !are_our_own() {
        // Another directory has other ones, and may leave operations out.
        return;
    }
    assert_eq!(
        identical,
        [
            "aws-ec2-delete-basic",
            "aws-ec2-delete-sts",
            "aws-ec2-import-basic",
            "aws-ec2-list-basic",
            "aws-ec2-list-sts"
        ]
    );
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["create", "delete", "import", "list", "show"]
    );
}

#[test]
fn instances_are_asked_for_by_the_pairs_name() {
    let operation = Operation::ListInstances(PairReference {
        name: "web".to_owned(),
        id: Some("key-07".to_owned()),
    });
    let request = send(AwsEc2, &operation, &context()).request;
    assert_eq!(request.origin, "https://ec2.us-east-1.amazonaws.com");
    let fields: Vec<String> = form(&request)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        fields,
        [
            "Action=DescribeInstances",
            "Version=2016-11-15",
            "Filter.1.Name=key-name",
            "Filter.1.Value.1=web",
            "MaxResults=1000"
        ]
    );
    check_manifest(&operation, &request);
}

#[test]
fn the_manifest_is_one_and_its_policy_is_a_policy() {
    let manifest = manifest();
    assert_eq!(format!("keyferry-{}", manifest.name), env!("CARGO_PKG_NAME"));
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(
        manifest.policy,
        Some(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["{permissions}"], "Resource": "*"}
        ]}))
    );
    for (kind, rules) in &manifest.operations {
        let permissions = rules
            .permissions
            .iter()
            .all(|permission| permission.starts_with("ec2:"));
        assert!(permissions, "{kind}");
    }
}

fn manifest() -> Manifest {
    serde_json::from_str(include_str!("../manifest.json")).expect("the manifest is one")
}

fn operation(vector: &Vector, field: &impl Fn(&str) -> Option<String>) -> Operation {
    let name = field("KeyName")
        .or_else(|| field("KeyName.1"))
        .unwrap_or_default();
    let pair = PairReference {
        name: name.clone(),
        id: None,
    };
    match &*vector.operation {
        "create" => {
            let algorithm = match field("KeyType").as_deref() {
                Some("ed25519") => Algorithm::Ed25519,
                _ => Algorithm::Rsa2048,
            };
            Operation::Create(Create { name, algorithm })
        }
        "import" => {
            let material = field("PublicKeyMaterial").expect("an import has a key");
            let public_key =
                String::from_utf8(STANDARD.decode(&material).expect("it is base64")).expect("a line is text");
            Operation::Import(Import { name, public_key })
        }
        "list" => Operation::List(List::default()),
        "show" => Operation::Get(pair),
        "delete" => Operation::Delete(Delete { pairs: vec![pair] }),
        other => panic!("{} is of the operation {other}", vector.id),
    }
}

fn fields(vector: &Vector) -> Vec<(String, String)> {
    let pairs = vector.request.body.split('&');
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').expect("a field has a value");
            (decoded(name), decoded(value))
        })
        .collect()
}

/// The fields, with a tag's key and value under one name that has no number.
fn with_tags_in_any_order(fields: Vec<(String, String)>) -> BTreeSet<(String, String)> {
    let value_of = |key: &str| {
        let name = key.replace(".Key", ".Value");
        let value = fields.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let is_of_tag = |name: &str| name.contains(".Tag.");
    fields
        .iter()
        .filter(|(name, _)| !is_of_tag(name) || name.ends_with(".Key"))
        .map(|(name, value)| match is_of_tag(name) {
            true => ("tag".to_owned(), format!("{value}={}", value_of(name))),
            false => (name.clone(), value.clone()),
        })
        .collect()
}

/// Every header that the vector signs is sent with the same value, and the signature has its scope.
fn check_headers(vector: &Vector, request: &HttpRequest) {
    let id = &vector.id;
    for (name, expected) in &vector.request.headers {
        let name = name.to_ascii_lowercase();
        let found = header(request, &name);
        match &*name {
            "content-type" | "x-amz-date" => assert_eq!(found.as_ref(), Some(expected), "{name} of {id}"),
            "x-amz-security-token" => assert_eq!(found.as_deref(), Some("<session_token>"), "{id}"),
            "authorization" => {
                let (expected, _) = expected.split_once("Signature=").expect("it is signed");
                let expected = expected.replace(&vector.credentials.access_key, "<access_key_id>");
                let found = found.expect("it is signed");
                assert!(found.starts_with(&expected), "{id}: {found}");
                let key = "hmac(AWS4<secret_access_key>, ";
                assert!(found.contains(key), "{id}: {found}");
            }
            _ => assert_eq!(found, None, "{name} of {id}"),
        }
    }
}

/// Whether the body is the SDK's own, byte for byte; then so is the signature. Elsewhere the SDK writes blanks as `+`, or
/// leaves to the vendor what we say.
fn is_identical(vector: &Vector, request: &HttpRequest) -> bool {
    let credentials = &vector.credentials;
    let mut secrets = BTreeMap::from([
        ("access_key_id", credentials.access_key.clone()),
        ("secret_access_key", credentials.secret_key.clone()),
    ]);
    secrets.extend(
        credentials
            .session_token
            .clone()
            .map(|token| ("session_token", token)),
    );
    if evaluate(&request.body, &secrets) != vector.request.body.as_bytes() {
        return false;
    }
    let (_, authorization) = request
        .headers
        .iter()
        .find(|(name, _)| name == "authorization")
        .expect("it is signed");
    let found = evaluate(authorization, &secrets);
    let expected = vector.authorization.as_deref().expect("the vector is signed");
    assert_eq!(String::from_utf8_lossy(&found), expected, "{}", vector.id);
    true
}

/// The manifest lists the call with these fields, and the headers.
fn check_manifest(operation: &Operation, request: &HttpRequest) {
    let manifest = manifest();
    let fields = form(request);
    let is_listed = |parameters: &BTreeMap<String, String>, name: &str, value: &str| {
        let same = |pattern: &str| {
            let (known, asked) = (pattern.split('.'), name.split('.'));
            known.clone().count() == asked.clone().count()
                && known
                    .zip(asked)
                    .all(|(known, asked)| known == asked || known == "*" && asked.parse::<u32>().is_ok())
        };
        parameters
            .iter()
            .any(|(pattern, template)| same(pattern) && (template.contains(['*', '{']) || template == value))
    };
    let calls = &manifest.operations[&operation.kind()].calls;
    let listed = calls.iter().any(|call| {
        call.method == request.method
            && call.path == request.path
            && call.body == Body::Form
            && fields
                .iter()
                .all(|(name, value)| is_listed(&call.parameters, name, value))
            && call
                .required
                .iter()
                .all(|name| fields.iter().any(|(other, _)| other == name))
    });
    assert!(
        listed,
        "the manifest lists no such call for {}: {fields:?}",
        operation.kind()
    );
    for (name, _) in &request.headers {
        assert!(
            manifest.headers.contains(name),
            "the manifest does not list the header {name}"
        );
    }
}

/// `20261122T013818Z` with its punctuation.
fn rfc3339(compact: &str) -> String {
    let part = |range: std::ops::Range<usize>| &compact[range];
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(9..11),
        part(11..13),
        part(13..15)
    )
}
