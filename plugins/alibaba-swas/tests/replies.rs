//! What the plugin makes of this product's own answers. What all products share is tested with alibaba-ens.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the requests have tests of their own")]
mod drive;

use keyferry_alibaba_swas::AlibabaSwas;
use keyferry_plugin::contract::{
    Algorithm, Attachment, Create, Delete, Effect, ErrorKind, Import, InstanceResult, List, Operation,
    Outcome, PairReference, Step,
};
use serde_json::{Value, json};

use crate::drive::{captured, context, fail, finish, lost, response, send, step};

fn pair() -> PairReference {
    PairReference {
        name: "web".to_owned(),
        id: None,
    }
}

fn create() -> Operation {
    Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

fn attach() -> Operation {
    Operation::Attach(Attachment {
        pair: pair(),
        instances: vec!["one".to_owned(), "two".to_owned()],
    })
}

fn done(step: Step) -> Outcome {
    match step {
        Step::Done(done) => done.outcome,
        other => panic!("not done: {other:?}"),
    }
}

fn page(pairs: &[Value], total: u64) -> Value {
    json!({"RequestId": "CAFE", "TotalCount": total, "PageNumber": 1, "PageSize": 10, "KeyPairs": pairs})
}

#[test]
fn a_pair_is_known_by_name_and_public_key() {
    let item = json!({
        "KeyPairName": "web",
        "CreationTime": "2024-05-06T02:28Z",
        "PublicKey": "ssh-rsa AAAA",
        "InstanceIds": ["one"],
    });
    let Outcome::Pair(pair) = done(finish(
        AlibabaSwas,
        &Operation::Get(pair()),
        response(200, page(&[item], 1)),
    )) else {
        panic!("no pair")
    };
    assert_eq!((pair.id, pair.fingerprint), (None, None));
    assert_eq!(pair.public_key.as_deref(), Some("ssh-rsa AAAA"));
    assert_eq!(pair.created_at.as_deref(), Some("2024-05-06T02:28Z"));
}

#[test]
fn a_created_pair_has_its_private_key_captured() {
    let body = json!({"RequestId": "CAFE", "KeyPairName": "web", "PrivateKeyBody": ""});
    assert!(matches!(
        done(finish(AlibabaSwas, &create(), captured(200, &body))),
        Outcome::Pair(pair) if pair.name == "web"
    ));
    let error = fail(AlibabaSwas, &create(), response(200, &body));
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
}

#[test]
fn pages_of_ten_are_listed_to_the_end() {
    let list = Operation::List(List::default());
    let sent = send(AlibabaSwas, &list, &context());
    let items: Vec<Value> = (0..10).map(|n| json!({"KeyPairName": format!("p{n}")})).collect();
    let second = step(
        AlibabaSwas,
        &list,
        &context(),
        sent.state,
        Some(response(200, page(&items, 11))),
    );
    let Step::Http(second) = second else {
        panic!("{second:?}")
    };
    assert_eq!(second.emit.len(), 10);
    let last = response(200, page(&[json!({"KeyPairName": "p10"})], 11));
    let outcome = done(step(AlibabaSwas, &list, &context(), second.state, Some(last)));
    assert!(matches!(outcome, Outcome::Pairs(pairs) if pairs.len() == 1));
}

#[test]
fn the_list_of_pairs_names_servers() {
    let ask = |pairs: &[Value]| {
        finish(
            AlibabaSwas,
            &Operation::ListInstances(pair()),
            response(200, page(pairs, pairs.len() as u64)),
        )
    };
    for (ids, expected) in [
        (json!(["one", "two"]), &["one", "two"][..]),
        (json!([]), &[]),
        (Value::Null, &[]),
    ] {
        let pairs = [
            json!({"KeyPairName": "web2", "InstanceIds": ["three"]}),
            json!({"KeyPairName": "web", "InstanceIds": ids}),
        ];
        let expected = expected.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(done(ask(&pairs)), Outcome::Instances(expected));
    }
    for (pairs, kind) in [
        (vec![], ErrorKind::NotFound),
        (
            vec![json!({"KeyPairName": "web", "InstanceIds": [7]})],
            ErrorKind::Internal,
        ),
        (
            vec![json!({"KeyPairName": "web", "InstanceIds": "one"})],
            ErrorKind::Internal,
        ),
    ] {
        match ask(&pairs) {
            Step::Fail(failed) => assert_eq!(failed.error.kind, kind),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_server_has_its_own_result() {
    let body = |first: Value, second: Value| {
        json!({"RequestId": "CAFE", "TotalCount": 2, "FailCount": 1, "Results": [
            {"InstanceId": "one", "Success": first, "Code": "200", "Message": "success"},
            {"InstanceId": "two", "Success": second, "Code": "InternalError", "Message": "Failed."},
        ]})
    };
    for (yes, no) in [(json!("true"), json!("false")), (json!(true), json!(false))] {
        let Outcome::Attached(results) = done(finish(AlibabaSwas, &attach(), response(200, body(yes, no))))
        else {
            panic!("not attached")
        };
        let [one, two] = &*results else {
            panic!("{results:?}")
        };
        let ok = InstanceResult {
            instance: "one".to_owned(),
            error: None,
        };
        assert_eq!(*one, ok);
        let error = two.error.as_ref().expect("the second one failed");
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::Unavailable, Some("InternalError"))
        );
        assert_eq!(error.message, "failed");
    }
    let short = json!({"RequestId": "CAFE", "Results": [{"InstanceId": "one", "Success": "true"}]});
    let Outcome::Attached(results) = done(finish(AlibabaSwas, &attach(), response(200, short))) else {
        panic!("not attached")
    };
    assert_eq!(results[0].error, None);
    let error = results[1].error.as_ref().expect("the second one is left out");
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    assert_eq!(error.request_id.as_deref(), Some("CAFE"));
    let error = fail(
        AlibabaSwas,
        &attach(),
        response(200, json!({"RequestId": "CAFE"})),
    );
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
}

#[test]
fn its_own_codes_have_kinds() {
    use ErrorKind::*;
    for (status, code, kind) in [
        (400, "KeyPairNameAlreadyExist", AlreadyExists),
        (403, "QuotaExceed.KeyPair", Quota),
        (404, "InvalidRegionId.NotFound", Invalid),
        (400, "InvalidParameter.KeyPairName", Invalid),
        (400, "MissingParameter", Invalid),
        (403, "Forbidden.RAM", Unauthorized),
        (400, "Throttling.User", Throttled),
    ] {
        let body = json!({"RequestId": "CAFE", "Code": code, "Message": "No."});
        let error = fail(AlibabaSwas, &create(), response(status, body));
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{code}");
    }
}

#[test]
fn a_lost_answer_of_a_change_is_unknown_and_of_a_list_is_not() {
    let import = Operation::Import(Import {
        name: "web".to_owned(),
        public_key: "ssh-rsa AAAA".to_owned(),
    });
    let delete = Operation::Delete(Delete { pairs: vec![pair()] });
    for (operation, effect) in [
        (create(), Effect::Unknown),
        (import, Effect::Unknown),
        (delete, Effect::Unknown),
        (attach(), Effect::Unknown),
        (Operation::List(List::default()), Effect::None),
        (Operation::ListInstances(pair()), Effect::None),
    ] {
        let error = fail(AlibabaSwas, &operation, lost(true));
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, effect));
    }
}

#[test]
fn a_missing_permission_is_named() {
    let body = json!({"RequestId": "CAFE", "Code": "Forbidden.RAM", "Message": "No."});
    let error = fail(AlibabaSwas, &attach(), response(403, body));
    assert!(
        error.message.contains("swas-open:AttachKeyPair"),
        "{}",
        error.message
    );
}
