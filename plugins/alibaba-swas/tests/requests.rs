//! What the plugin sends.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the replies have tests of their own")]
mod drive;
#[path = "../../alibaba/tests/support/requests.rs"]
mod requests;
#[path = "../../../crates/keyferry-plugin/tests/support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use keyferry_alibaba_swas::AlibabaSwas;
use keyferry_plugin::contract::{
    Algorithm, Attachment, Create, Delete, ErrorKind, Import, List, Operation, PairReference, Step,
};
use keyferry_plugin::manifest::Manifest;
use serde_json::Value;

use crate::drive::{context, parameters, send, step};
use crate::requests::{check_against_vectors, check_manifest};

fn manifest() -> Manifest {
    requests::manifest(
        include_str!("../manifest.json"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
    )
}

fn pair() -> PairReference {
    PairReference {
        name: "web".to_owned(),
        id: None,
    }
}

fn attachment(count: usize) -> Attachment {
    Attachment {
        pair: pair(),
        instances: (0..count).map(|n| format!("server-{n}")).collect(),
    }
}

#[test]
fn requests_are_those_of_the_vectors() {
    check_against_vectors(AlibabaSwas, "alibaba-swas", &manifest());
}

#[test]
fn a_change_carries_the_idempotency_token() {
    let mut context = context();
    context.idempotency_token = "5f".repeat(16);
    for operation in [
        Operation::Create(Create {
            name: "web".to_owned(),
            algorithm: Algorithm::Rsa2048,
        }),
        Operation::Import(Import {
            name: "web".to_owned(),
            public_key: "ssh-rsa AAAA".to_owned(),
        }),
        Operation::Delete(Delete { pairs: vec![pair()] }),
        Operation::Attach(attachment(2)),
        Operation::Detach(attachment(2)),
    ] {
        let step = send(AlibabaSwas, &operation, &context);
        let token = ("ClientToken".to_owned(), "5f".repeat(16));
        assert!(parameters(&step).contains(&token), "{operation:?}");
        check_manifest(&manifest(), &operation, &step);
    }
}

#[test]
fn what_changes_nothing_is_a_get_without_a_token() {
    for operation in [
        Operation::List(List::default()),
        Operation::Get(pair()),
        Operation::ListInstances(pair()),
    ] {
        let step = send(AlibabaSwas, &operation, &context());
        assert_eq!(step.request.method, "GET");
        assert!(!parameters(&step).iter().any(|(name, _)| name == "ClientToken"));
        check_manifest(&manifest(), &operation, &step);
    }
}

#[test]
fn every_region_has_a_host() {
    let step = send(AlibabaSwas, &Operation::List(List::default()), &context());
    assert_eq!(step.request.origin, "https://swas.cn-hangzhou.aliyuncs.com");
}

#[test]
fn more_than_a_call_takes_is_refused() {
    let pairs = (0..51).map(|_| pair()).collect();
    for (operation, kind) in [
        (Operation::Delete(Delete { pairs }), ErrorKind::Unsupported),
        (Operation::Attach(attachment(51)), ErrorKind::Unsupported),
        (Operation::Detach(attachment(0)), ErrorKind::Invalid),
    ] {
        match step(AlibabaSwas, &operation, &context(), Value::Null, None) {
            Step::Fail(failed) => assert_eq!(failed.error.kind, kind),
            other => panic!("{other:?}"),
        }
    }
    let attach = Operation::Attach(attachment(50));
    let step = send(AlibabaSwas, &attach, &context());
    assert_eq!(step.request.query.len(), 53);
}

#[test]
fn names_follow_the_vendors_rules() {
    let names = manifest().names;
    for name in ["ab", "keyferry:web_1-a", &"a".repeat(64)] {
        assert_eq!(names.check(name), Ok(()), "{name}");
    }
    for name in ["a", "1ab", "a.b", "测试", "https://a", &"a".repeat(65)] {
        assert!(names.check(name).is_err(), "{name}");
    }
}
