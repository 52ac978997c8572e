//! What the plugin sends is what OpenStack's own clients send.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "support/drive.rs"]
mod drive;
#[path = "../../../tests/vectors/folder.rs"]
mod folder;

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    Algorithm, Context, Create, Delete, HttpStep, Import, List, Operation, PairReference, Step,
};
use keyferry_plugin::manifest::{Body, Manifest};
use serde_json::{Value, json};

use crate::drive::{
    account, after, credentials, evaluate, header, http, log_in, logged_in, response, step, versions,
};

fn vectors() -> Vec<Value> {
    let files = std::fs::read_dir(folder::named())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let own = files.filter(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("openstack-")
    });
    own.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

fn manifest() -> Manifest {
    serde_json::from_str(include_str!("../manifest.json")).unwrap()
}

/// The fields that a captured login body holds, with their values.
fn fields(body: &Value) -> BTreeMap<String, String> {
    let places = [
        ("username", "/identity/password/user/name"),
        ("user_id", "/identity/password/user/id"),
        ("user_domain_id", "/identity/password/user/domain/id"),
        ("user_domain_name", "/identity/password/user/domain/name"),
        ("password", "/identity/password/user/password"),
        ("application_credential_id", "/identity/application_credential/id"),
        (
            "application_credential_secret",
            "/identity/application_credential/secret",
        ),
        ("token", "/identity/token/id"),
        ("project_id", "/scope/project/id"),
        ("project_name", "/scope/project/name"),
        ("project_domain_id", "/scope/project/domain/id"),
        ("project_domain_name", "/scope/project/domain/name"),
    ];
    let text = |pointer| {
        body["auth"]
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    places
        .iter()
        .filter_map(|(name, pointer)| Some(((*name).to_owned(), text(pointer)?)))
        .collect()
}

fn captured(request: &Value, name: &str) -> Option<String> {
    let headers = request["headers"].as_array().unwrap();
    let found = headers
        .iter()
        .find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
    found.map(|header| header[1].as_str().unwrap().to_owned())
}

#[track_caller]
fn assert_same_place(id: &str, step: &HttpStep, request: &Value) {
    assert_eq!(request["method"], *step.request.method, "{id}");
    assert_eq!(
        captured(request, "host").unwrap(),
        step.request.authority(),
        "{id}"
    );
    assert_eq!(request["target"], *step.request.path, "{id}");
    assert!(step.request.query.is_empty(), "{id}");
}

/// Walks the captured login with the plugin, request by request; the context of the operation after it.
fn walk_login(vector: &Value, microversion: &str) -> Context {
    let id = vector["id"].as_str().unwrap();
    let preceding = vector["preceding"].as_array().unwrap();
    let login = &preceding[0];
    let body: Value = serde_json::from_str(login["body"].as_str().unwrap()).unwrap();
    let fields = fields(&body);
    let target = login["target"]
        .as_str()
        .unwrap()
        .strip_suffix("/auth/tokens")
        .unwrap();
    let auth_url = format!("http://{}{target}", captured(login, "host").unwrap());

    let mut context = account(&fields.keys().map(String::as_str).collect::<Vec<_>>());
    context.settings.insert("auth_url".to_owned(), json!(auth_url));
    context
        .settings
        .insert("microversion".to_owned(), json!(microversion));
    let asked = http(step(&credentials(), &context, Value::Null, None));
    assert_same_place(id, &asked, login);
    let sent: Value = serde_json::from_str(&evaluate(&asked.request.body, &fields)).unwrap();
    assert_eq!(sent, body, "{id}");

    let answer: Value = serde_json::from_str(login["response"]["body"].as_str().unwrap()).unwrap();
    let ask = http(step(
        &credentials(),
        &context,
        asked.state,
        Some(response(201, &answer, &["token"])),
    ));
    // novaclient does not ask.
    let announced = match preceding.get(1) {
        Some(request) => {
            assert_same_place(id, &ask, request);
            serde_json::from_str(request["response"]["body"].as_str().unwrap()).unwrap()
        }
        None => versions("2.1", "2.103"),
    };
    let session = log_in(&context, answer, announced).unwrap();
    after(context, session)
}

#[test]
fn requests_are_those_of_the_vectors() {
    let mut seen = BTreeMap::new();
    for vector in vectors() {
        let id = vector["id"].as_str().unwrap();
        let request = &vector["request"];
        let microversion = captured(request, "x-openstack-nova-api-version").unwrap();
        let context = walk_login(&vector, &microversion);
        let mut body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap_or_default();
        let name = body
            .pointer("/keypair/name")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let in_path = request["target"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        let reference = PairReference {
            name: in_path,
            id: None,
        };
        let operation = match vector["operation"].as_str().unwrap() {
            "create" => Operation::Create(Create {
                name: name.unwrap(),
                algorithm: Algorithm::Rsa2048,
            }),
            "import" => {
                let public_key = body["keypair"]["public_key"].as_str().unwrap().to_owned();
                Operation::Import(Import {
                    name: name.unwrap(),
                    public_key,
                })
            }
            "list" => Operation::List(List::default()),
            "show" => Operation::Get(reference),
            "delete" => Operation::Delete(Delete {
                pairs: vec![reference],
            }),
            other => panic!("{id}: {other}"),
        };
        let sent = http(step(&operation, &context, Value::Null, None));
        assert_same_place(id, &sent, request);
        for name in [
            "openstack-api-version",
            "x-openstack-nova-api-version",
            "content-type",
        ] {
            if let Some(expected) = captured(request, name) {
                assert_eq!(header(&sent, name), Some(expected), "{id}: {name}");
            }
        }
        assert_eq!(header(&sent, "x-auth-token").as_deref(), Some("<token>"), "{id}");
        let sent_body = evaluate(&sent.request.body, &BTreeMap::new());
        if body.is_null() {
            assert_eq!(sent_body, "", "{id}");
        } else {
            // Both clients leave the type out unless they are told one; here it is always said where there is one.
            if microversion != "2.1" {
                body["keypair"]["type"] = json!("ssh");
            }
            assert_eq!(serde_json::from_str::<Value>(&sent_body).unwrap(), body, "{id}");
        }
        assert_listed(&operation, &sent);
        *seen
            .entry(vector["operation"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    if !folder::are_our_own() {
        // Another directory may leave operations out.
        return;
    }
    let operations: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(
        operations,
        ["create", "delete", "import", "list", "show"],
        "{seen:?}"
    );
}

/// The manifest lists the request, its headers, and every value of its body.
#[track_caller]
fn assert_listed(operation: &Operation, step: &HttpStep) {
    let manifest = manifest();
    let call = &manifest.operations[&operation.kind()].calls[0];
    assert_eq!(call.method, step.request.method);
    for (name, _) in &step.request.headers {
        assert!(manifest.headers.contains(name), "{name}");
    }
    for (name, _) in &step.request.query {
        assert!(call.parameters.contains_key(name), "{name}");
    }
    let body = evaluate(&step.request.body, &BTreeMap::new());
    match &call.body {
        Body::Json(pointers) => {
            let body: Value = serde_json::from_str(&body).unwrap();
            let pair = body["keypair"].as_object().unwrap();
            for name in pair.keys() {
                assert!(pointers.contains_key(&format!("/keypair/{name}")), "{name}");
            }
        }
        _ => assert_eq!(body, ""),
    }
}

#[test]
fn the_manifest_is_of_this_crate() {
    let manifest = manifest();
    assert_eq!(format!("keyferry-{}", manifest.name), env!("CARGO_PKG_NAME"));
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert!(manifest.login);
}

#[test]
fn a_name_is_one_segment_of_the_path() {
    let context = logged_in(&[], "2.1", "2.103");
    let name = "a b/c?d#é".to_owned();
    let get = Operation::Get(PairReference { name, id: None });
    let sent = http(step(&get, &context, Value::Null, None));
    assert_eq!(sent.request.path, "/v2.1/os-keypairs/a%20b%2Fc%3Fd%23%C3%A9");
}

#[test]
fn the_newest_common_microversion_is_asked_for() {
    let import = Operation::Import(Import {
        name: "web".to_owned(),
        public_key: "ssh-ed25519 AAAA".to_owned(),
    });
    let create = Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    });
    for (greatest, pinned, imports, creates) in [
        ("2.103", None, "2.92", "2.91"),
        ("2.92", None, "2.92", "2.91"),
        ("2.91", None, "2.91", "2.91"),
        ("2.60", None, "2.60", "2.60"),
        ("2.1", None, "2.1", "2.1"),
        ("2.103", Some("2.10"), "2.10", "2.10"),
        ("2.103", Some("2.2"), "2.2", "2.2"),
    ] {
        let settings: Vec<(&str, &str)> = pinned
            .map(|version| ("microversion", version))
            .into_iter()
            .collect();
        let context = logged_in(&settings, "2.1", greatest);
        for (operation, expected) in [(&import, imports), (&create, creates)] {
            let sent = http(step(operation, &context, Value::Null, None));
            assert_eq!(
                header(&sent, "x-openstack-nova-api-version").as_deref(),
                Some(expected),
                "{greatest} {pinned:?}"
            );
            assert_eq!(
                header(&sent, "openstack-api-version"),
                Some(format!("compute {expected}"))
            );
            let body: Value = serde_json::from_str(&evaluate(&sent.request.body, &BTreeMap::new())).unwrap();
            assert_eq!(body["keypair"].get("type").is_some(), expected != "2.1");
        }
    }
}

#[test]
fn what_nova_no_longer_makes_is_imported() {
    let create = Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    });
    for context in [
        logged_in(&[("microversion", "2.92")], "2.1", "2.103"),
        logged_in(&[], "2.92", "2.103"),
    ] {
        match step(&create, &context, Value::Null, None) {
            Step::Fail(failed) => {
                assert_eq!(
                    failed.error.kind,
                    keyferry_plugin::contract::ErrorKind::Unsupported
                );
                assert!(
                    failed.error.message.contains("generated_by = \"keyferry\""),
                    "{}",
                    failed.error.message
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
