//! What the plugin sends is what the vendor's SDK sends.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the replies have tests of their own")]
mod drive;
#[path = "../../../crates/keyferry-plugin/tests/support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use keyferry_huawei_ecs::HuaweiEcs;
use keyferry_plugin::contract::{
    Algorithm, Context, Create, Delete, ErrorKind, FailStep, HttpStep, Import, List, Operation,
    PairReference, Step,
};
use keyferry_plugin::manifest::{Body, Manifest};
use keyferry_plugin::recipe::Expr;
use keyferry_plugin::signing::percent_encode;
use serde_json::{Value, json};

use crate::drive::{parameters, send, step};
use crate::vector::folder::are_our_own;
use crate::vector::{Vector, vectors};

const PROJECT: &str = "0123456789abcdef0123456789abcdef";

fn context() -> Context {
    let region = "cn-north-4";
    Context {
        region: Some(region.to_owned()),
        session: json!({"project_id": PROJECT, "region": region}),
        ..drive::context()
    }
}

fn manifest() -> Manifest {
    let manifest: Manifest = serde_json::from_str(include_str!("../manifest.json")).expect("it is one");
    assert_eq!(format!("keyferry-{}", manifest.name), env!("CARGO_PKG_NAME"));
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert!(manifest.login);
    manifest
}

fn pair(name: &str) -> PairReference {
    PairReference {
        name: name.to_owned(),
        id: None,
    }
}

/// The last segment of a path, decoded.
fn name_in(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.rsplit('/').next().unwrap_or_default().as_bytes();
    while let [byte, tail @ ..] = rest {
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                rest = after;
            }
            _ => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn operation(
    vector: &Vector,
    path: &str,
    query: &[(String, String)],
    context: &mut Context,
) -> (Operation, Value) {
    let body: Value = serde_json::from_str(&vector.request.body).unwrap_or_default();
    let text = |field: &str| body["keypair"][field].as_str().unwrap_or_default().to_owned();
    if !text("type").is_empty() {
        context.settings.insert("type".to_owned(), text("type").into());
    }
    let limit = query.iter().find(|(name, _)| name == "limit");
    let marker = query.iter().find(|(name, _)| name == "marker");
    // A page after the first one is asked for with what the one before led to.
    let state = marker.map_or(
        Value::Null,
        |(_, marker)| json!({"marker": marker, "whole": false}),
    );
    let operation = match &*vector.operation {
        "create" => Operation::Create(Create {
            name: text("name"),
            algorithm: Algorithm::Rsa2048,
        }),
        "import" => Operation::Import(Import {
            name: text("name"),
            public_key: text("public_key"),
        }),
        "list" => Operation::List(List {
            page_size: limit.map(|(_, limit)| limit.parse().expect("a number")),
        }),
        "show" => Operation::Get(pair(&name_in(path))),
        "delete" => Operation::Delete(Delete {
            pairs: vec![pair(&name_in(path))],
        }),
        other => panic!("{other} of {}", vector.id),
    };
    (operation, state)
}

#[test]
fn requests_are_those_of_the_vectors() {
    let mut seen = Vec::new();
    for vector in vectors("huawei-ecs") {
        let (path, mut expected) = vector.target();
        expected.sort();
        let mut context = context();
        context.endpoint = Some(format!("http://{}", vector.host));
        if vector.credentials.session_token.is_some() {
            context.credential_fields.push("security_token".to_owned());
        }
        let (operation, state) = operation(&vector, &path, &expected, &mut context);
        let step = match step(HuaweiEcs, &operation, &context, state, None) {
            Step::Http(step) => *step,
            other => panic!("{}: {other:?}", vector.id),
        };
        let id = &vector.id;
        assert_eq!(step.request.method, vector.request.method, "{id}");
        assert_eq!(step.request.authority(), vector.host, "{id}");
        assert_eq!(step.request.path, path, "{id}");
        // How many we ask for at once is ours to say.
        let is_in_vector = |name: &str| expected.iter().any(|(other, _)| other == name);
        let found: Vec<_> = parameters(&step)
            .into_iter()
            .filter(|(name, _)| is_in_vector(name) || name != "limit")
            .collect();
        assert_eq!(found, expected, "{id}");
        let body = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let Expr::Text(sent) = &step.request.body else {
            panic!("{id}: {:?}", step.request.body)
        };
        assert_eq!(body(sent), body(&vector.request.body), "{id}");
        for (name, expected) in &vector.request.headers {
            let name = name.to_ascii_lowercase();
            let found = step.request.headers.iter().find(|(other, _)| *other == name);
            match &*name {
                "content-type" | "x-project-id" => {
                    assert_eq!(
                        found.map(|(_, value)| value),
                        Some(&Expr::text(expected)),
                        "{id}: {name}"
                    );
                }
                "openstack-api-version" => {
                    assert_eq!(found.map(|(_, value)| value), Some(&Expr::text(expected)), "{id}");
                }
                "x-sdk-date" => assert!(found.is_some(), "{id}"),
                "x-security-token" => {
                    assert_eq!(
                        found.map(|(_, value)| value),
                        Some(&Expr::secret("security_token")),
                        "{id}"
                    );
                }
                _ => {}
            }
        }
        check_manifest(&operation, &step);
        seen.push(vector.operation.clone());
    }
    for operation in ["create", "import", "list", "show", "delete"] {
        assert!(
            seen.iter().any(|seen| seen == operation) || !are_our_own(),
            "no vector for {operation}"
        );
    }
}

/// The manifest lists the call, with these parameters, fields and headers.
#[track_caller]
fn check_manifest(operation: &Operation, step: &HttpStep) {
    let manifest = manifest();
    let name = match operation {
        Operation::Get(pair) => pair.name.clone(),
        Operation::Delete(delete) => delete.pairs[0].name.clone(),
        _ => String::new(),
    };
    let Expr::Text(body) = &step.request.body else {
        panic!("{:?}", step.request.body)
    };
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let listed = manifest.operations[&operation.kind()].calls.iter().any(|call| {
        let path = call
            .path
            .replacen('*', PROJECT, 1)
            .replace("{name}", &percent_encode(&name));
        let fields = match &call.body {
            Body::Json(fields) => fields.clone(),
            _ => Default::default(),
        };
        let sent = body["keypair"].as_object().into_iter().flatten();
        call.method == step.request.method
            && path == step.request.path
            && parameters(step)
                .iter()
                .all(|(name, _)| call.parameters.contains_key(name))
            && sent
                .into_iter()
                .all(|(name, _)| fields.contains_key(&format!("/keypair/{name}")))
            && call.required.iter().all(|field| body.pointer(field).is_some())
    });
    assert!(
        listed,
        "no such call for {}: {:?}",
        operation.kind(),
        step.request
    );
    for (name, _) in &step.request.headers {
        assert!(
            manifest.headers.contains(name),
            "the manifest does not list the header {name}"
        );
    }
}

fn create() -> Operation {
    Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

fn header<'a>(step: &'a HttpStep, name: &str) -> Option<&'a Expr> {
    step.request
        .headers
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value)
}

#[test]
fn a_token_is_sent_instead_of_a_signature() {
    let mut context = context();
    context.credential_fields = vec!["token".to_owned()];
    let step = send(HuaweiEcs, &create(), &context);
    assert_eq!(header(&step, "x-auth-token"), Some(&Expr::secret("token")));
    assert_eq!(
        (header(&step, "authorization"), header(&step, "x-sdk-date")),
        (None, None)
    );
    check_manifest(&create(), &step);
}

#[test]
fn microversions_are_asked_for_as_they_are_needed() {
    let sent = |settings: &[(&str, &str)]| {
        let mut context = context();
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()));
        context.settings = settings.collect();
        let step = send(HuaweiEcs, &create(), &context);
        let Expr::Text(body) = &step.request.body else {
            panic!("{:?}", step.request.body)
        };
        let version = header(&step, "openstack-api-version").cloned();
        (serde_json::from_str::<Value>(body).expect("JSON"), version)
    };
    assert_eq!(sent(&[]), (json!({"keypair": {"name": "web"}}), None));
    assert_eq!(
        sent(&[("type", "ssh")]),
        (
            json!({"keypair": {"name": "web", "type": "ssh"}}),
            Some(Expr::text("2.2"))
        )
    );
    assert_eq!(
        sent(&[("user_id", "u1"), ("type", "ssh")]),
        (
            json!({"keypair": {"name": "web", "type": "ssh", "user_id": "u1"}}),
            Some(Expr::text("2.10"))
        )
    );
}

#[test]
fn the_user_whose_pairs_they_are_is_named_in_every_request() {
    let mut context = context();
    context.settings.insert("user_id".to_owned(), "u1".into());
    let list = Operation::List(List { page_size: Some(7) });
    let delete = Operation::Delete(Delete {
        pairs: vec![pair("web")],
    });
    for (operation, version, expected) in [
        (&list, "2.35", [("limit", "7"), ("user_id", "u1")].as_slice()),
        (&Operation::Get(pair("web")), "2.10", &[("user_id", "u1")]),
        (&delete, "2.10", &[("user_id", "u1")]),
    ] {
        let step = send(HuaweiEcs, operation, &context);
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(parameters(&step), expected);
        assert_eq!(header(&step, "openstack-api-version"), Some(&Expr::text(version)));
        check_manifest(operation, &step);
    }
    // A service without pages is still asked about this user.
    let all = json!({"marker": null, "whole": true});
    let Step::Http(step) = step(HuaweiEcs, &list, &context, all, None) else {
        panic!("no request")
    };
    assert_eq!(parameters(&step), [("user_id".to_owned(), "u1".to_owned())]);
    assert_eq!(header(&step, "openstack-api-version"), Some(&Expr::text("2.10")));
}

fn refused(operation: &Operation, context: &Context, words: &str) {
    match step(HuaweiEcs, operation, context, Value::Null, None) {
        Step::Fail(FailStep { error }) => {
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains(words), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_type_of_key_is_refused() {
    let mut context = context();
    context.settings.insert("type".to_owned(), "x509".into());
    refused(&create(), &context, "x509");
}

#[test]
fn a_public_key_that_is_too_long_is_refused_before_a_request() {
    let import = |length: usize| {
        Operation::Import(Import {
            name: "web".to_owned(),
            public_key: format!("ssh-rsa {}", "A".repeat(length - 8)),
        })
    };
    assert!(matches!(
        step(HuaweiEcs, &import(1024), &context(), Value::Null, None),
        Step::Http(_)
    ));
    refused(&import(1025), &context(), "at most 1024");
}

#[test]
fn another_region_than_the_logins_is_refused() {
    let mut context = context();
    context.region = Some("cn-east-3".to_owned());
    refused(&create(), &context, "cn-north-4");
}

#[test]
fn regions_have_hosts() {
    let step = send(HuaweiEcs, &create(), &context());
    assert_eq!(step.request.origin, "https://ecs.cn-north-4.myhuaweicloud.com");
    assert_eq!(step.request.path, format!("/v2.1/{PROJECT}/os-keypairs"));
    assert!(
        manifest()
            .hosts
            .contains(&"ecs.{region}.myhuaweicloud.com".to_owned())
    );
}

#[test]
fn the_manifest_has_no_operation_that_the_api_has_not() {
    let operations: Vec<_> = manifest()
        .operations
        .into_keys()
        .map(|kind| kind.name())
        .collect();
    assert_eq!(
        operations,
        [
            "create",
            "import",
            "list",
            "get",
            "delete",
            "credentials",
            "profiles"
        ]
    );
}
