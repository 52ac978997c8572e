//! What the plugin sends is what the vendor's SDK sends.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the replies have tests of their own")]
mod drive;
#[path = "../../../crates/keyferry-plugin/tests/support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use keyferry_plugin::contract::{
    Algorithm, Attachment, Context, Create, Delete, ErrorKind, FailStep, HttpStep, Import, List, Operation,
    PairReference, Step,
};
use keyferry_plugin::manifest::Manifest;
use keyferry_plugin::recipe::Expr;
use keyferry_volcengine_ecs::VolcengineEcs;
use serde_json::{Value, json};

use crate::drive::{context, parameters, send, step};
use crate::vector::folder::are_our_own;
use crate::vector::{Vector, vectors};

fn manifest() -> Manifest {
    let manifest: Manifest = serde_json::from_str(include_str!("../manifest.json")).expect("it is one");
    assert_eq!(format!("keyferry-{}", manifest.name), env!("CARGO_PKG_NAME"));
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    manifest
}

fn pair(name: &str) -> PairReference {
    PairReference {
        name: name.to_owned(),
        id: None,
    }
}

/// The operation that a vector is of, and the account's settings that its parameters come of.
fn operation(vector: &Vector, sent: &[(String, String)], context: &mut Context) -> Option<Operation> {
    let get = |name: &str| {
        let found = sent.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.clone())
    };
    let list = |name: &str| -> Vec<String> { (1..).map_while(|n| get(&format!("{name}.{n}"))).collect() };
    for (setting, parameter) in [("description", "Description"), ("project", "ProjectName")] {
        context
            .settings
            .extend(get(parameter).map(|value| (setting.to_owned(), value.into())));
    }
    let tag = |n: usize| {
        Some((
            get(&format!("Tags.{n}.Key"))?,
            get(&format!("Tags.{n}.Value"))?.into(),
        ))
    };
    let tags: serde_json::Map<String, Value> = (1..).map_while(tag).collect();
    if !tags.is_empty() {
        context.settings.insert("tags".to_owned(), tags.into());
    }
    if let Some(token) = get("ClientToken") {
        context.idempotency_token = token;
    }
    let attachment = || Attachment {
        pair: pair(&get("KeyPairName").unwrap_or_default()),
        instances: list("InstanceIds"),
    };
    Some(match &*vector.operation {
        "create" => Operation::Create(Create {
            name: get("KeyPairName")?,
            algorithm: Algorithm::Rsa2048,
        }),
        "import" => Operation::Import(Import {
            name: get("KeyPairName")?,
            public_key: get("PublicKey")?,
        }),
        "list" => Operation::List(List::default()),
        "delete" => Operation::Delete(Delete {
            pairs: list("KeyPairNames").iter().map(|name| pair(name)).collect(),
        }),
        "attach" => Operation::Attach(attachment()),
        "detach" => Operation::Detach(attachment()),
        // Nothing of ours is changed in place.
        "modify" => return None,
        other => panic!("{other} of {}", vector.id),
    })
}

#[test]
fn requests_are_those_of_the_vectors() {
    let mut seen = Vec::new();
    for vector in vectors("volcengine-ecs") {
        let (path, mut expected) = vector.target();
        expected.sort();
        let mut context = context();
        context.endpoint = Some(format!("http://{}", vector.host));
        context.region = Some("cn-beijing".to_owned());
        if vector.credentials.session_token.is_some() {
            context.credential_fields.push("security_token".to_owned());
        }
        let Some(operation) = operation(&vector, &expected, &mut context) else {
            continue;
        };
        let step = send(VolcengineEcs, &operation, &context);
        let id = &vector.id;
        assert_eq!(step.request.method, vector.request.method, "{id}");
        assert_eq!(step.request.authority(), vector.host, "{id}");
        assert_eq!(step.request.path, path, "{id}");
        assert_eq!(step.request.body, Expr::text(""), "{id}");
        // A token is ours to send, and a page's size.
        let ours = ["ClientToken", "MaxResults"];
        let is_in_vector = |name: &str| expected.iter().any(|(other, _)| other == name);
        let found: Vec<_> = tags_sorted(parameters(&step))
            .into_iter()
            .filter(|(name, _)| is_in_vector(name) || !ours.contains(&&**name))
            .collect();
        assert_eq!(found, tags_sorted(expected), "{id}");
        let token = step
            .request
            .headers
            .iter()
            .find(|(name, _)| name == "x-security-token");
        assert_eq!(
            token.is_some(),
            vector.credentials.session_token.is_some(),
            "{id}"
        );
        seen.push(vector.operation.clone());
    }
    for operation in ["create", "import", "list", "delete", "attach", "detach"] {
        assert!(
            seen.iter().any(|seen| seen == operation) || !are_our_own(),
            "no vector for {operation}"
        );
    }
}

/// Parameters with tags as pairs, since their order is free.
fn tags_sorted(parameters: Vec<(String, String)>) -> Vec<(String, String)> {
    let get = |name: String| {
        parameters
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value.clone())
    };
    let mut all: Vec<(String, String)> = parameters
        .iter()
        .filter(|(name, _)| !name.starts_with("Tags."))
        .cloned()
        .collect();
    all.extend((1..).map_while(|n| {
        let (key, value) = (get(format!("Tags.{n}.Key"))?, get(format!("Tags.{n}.Value"))?);
        Some((format!("tag {key}"), value))
    }));
    all.sort();
    all
}

/// The manifest lists the call, with these parameters, and each header.
#[track_caller]
fn check_manifest(operation: &Operation, step: &HttpStep) {
    let manifest = manifest();
    let sent = parameters(step);
    let is_named = |pattern: &str, name: &str| match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())),
    };
    let listed = manifest.operations[&operation.kind()].calls.iter().any(|call| {
        sent.iter().all(|(name, value)| {
            let template = call
                .parameters
                .iter()
                .find(|(pattern, _)| is_named(pattern, name));
            template.is_some_and(|(_, template)| {
                template == "*" || template.starts_with('{') || template == value
            })
        }) && call
            .required
            .iter()
            .all(|pattern| sent.iter().any(|(name, _)| is_named(pattern, name)))
    });
    assert!(listed, "no such call for {}: {sent:?}", operation.kind());
    for (name, _) in &step.request.headers {
        assert!(
            manifest.headers.contains(name),
            "the manifest does not list the header {name}"
        );
    }
}

#[test]
fn every_call_is_in_the_manifest() {
    let mut context = context();
    context.region = Some("cn-beijing".to_owned());
    context.credential_fields.push("security_token".to_owned());
    context.settings.extend([
        ("description".to_owned(), json!("made by keyferry")),
        ("project".to_owned(), json!("web")),
        ("tags".to_owned(), json!({"team": "web", "empty": ""})),
    ]);
    let known = PairReference {
        name: "web".to_owned(),
        id: Some("kp-1".to_owned()),
    };
    let attachment = Attachment {
        pair: known.clone(),
        instances: vec!["i-1".to_owned(), "i-2".to_owned()],
    };
    for operation in [
        Operation::Create(Create {
            name: "web".to_owned(),
            algorithm: Algorithm::Rsa2048,
        }),
        Operation::Import(Import {
            name: "web".to_owned(),
            public_key: "ssh-rsa AAAA".to_owned(),
        }),
        Operation::List(List::default()),
        Operation::Get(known.clone()),
        Operation::Delete(Delete {
            pairs: vec![known.clone()],
        }),
        Operation::Attach(attachment.clone()),
        Operation::Detach(attachment),
        Operation::ListInstances(known),
    ] {
        let step = send(VolcengineEcs, &operation, &context);
        check_manifest(&operation, &step);
        assert_eq!(
            step.capture
                .iter()
                .map(|capture| &*capture.name)
                .collect::<Vec<_>>(),
            if matches!(operation, Operation::Create(_)) {
                vec!["private_key"]
            } else {
                vec![]
            }
        );
    }
}

#[test]
fn what_the_settings_say_is_sent() {
    let mut context = context();
    context
        .settings
        .insert("tags".to_owned(), json!({"team": "web", "cost": ""}));
    let create = Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    });
    let sent = parameters(&send(VolcengineEcs, &create, &context));
    let token = "00".repeat(16);
    let expected = [
        ("Action", "CreateKeyPair"),
        ("ClientToken", &*token),
        ("KeyPairName", "web"),
        ("Tags.1.Key", "cost"),
        ("Tags.1.Value", ""),
        ("Tags.2.Key", "team"),
        ("Tags.2.Value", "web"),
        ("Version", "2020-04-01"),
    ];
    assert_eq!(
        sent,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn an_id_wins_over_a_name() {
    let attach = Operation::Attach(Attachment {
        pair: PairReference {
            name: "web".to_owned(),
            id: Some("kp-1".to_owned()),
        },
        instances: vec!["i-1".to_owned()],
    });
    let sent = parameters(&send(VolcengineEcs, &attach, &context()));
    let has = |name: &str, value: &str| sent.contains(&(name.to_owned(), value.to_owned()));
    assert!(
        has("KeyPairId", "kp-1") && has("KeyPairName", "web") && has("InstanceIds.1", "i-1"),
        "{sent:?}"
    );
}

#[test]
fn regions_share_a_host_but_for_some() {
    let origin = |region: &str| {
        let mut context = context();
        context.region = Some(region.to_owned());
        send(VolcengineEcs, &Operation::List(List::default()), &context)
            .request
            .origin
    };
    assert_eq!(origin("cn-beijing"), "https://open.volcengineapi.com");
    assert_eq!(origin("ap-southeast-1"), "https://open.volcengineapi.com");
    assert_eq!(
        origin("ap-southeast-3"),
        "https://ecs.ap-southeast-3.volcengineapi.com"
    );
    let hosts = manifest().hosts;
    assert!(hosts.contains(&"open.volcengineapi.com".to_owned()));
    assert!(hosts.contains(&"ecs.{region}.volcengineapi.com".to_owned()));
}

#[test]
fn a_name_that_the_rules_do_not_allow_is_refused_before_a_request() {
    let refused = |name: &str| {
        let create = Operation::Create(Create {
            name: name.to_owned(),
            algorithm: Algorithm::Rsa2048,
        });
        match step(VolcengineEcs, &create, &context(), Value::Null, None) {
            Step::Fail(FailStep { error }) => {
                assert_eq!(error.kind, ErrorKind::Invalid);
                true
            }
            _ => false,
        }
    };
    for name in ["-web", "web-", ".web", "web.", "we--b", "we..b"] {
        assert!(refused(name), "{name}");
    }
    for name in ["web", "web-1.a_b"] {
        assert!(!refused(name), "{name}");
    }
}

#[test]
fn the_manifest_knows_the_vendors_name_rules() {
    let names = manifest().names;
    assert!(names.check("keyferry-web-3fa2c1-12").is_ok() && names.check("a.b_c").is_ok());
    let long = "a".repeat(65);
    for name in ["a", "-a", "9a", "web:1", "wéb", &*long] {
        assert!(names.check(name).is_err(), "{name}");
    }
}

#[test]
fn a_missing_region_is_named() {
    let mut context = context();
    context.region = None;
    match step(
        VolcengineEcs,
        &Operation::List(List::default()),
        &context,
        Value::Null,
        None,
    ) {
        Step::Fail(FailStep { error }) => {
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains("`region`"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}
