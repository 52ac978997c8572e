//! What the plugin makes of this product's own answers. What all products share is tested with alibaba-ens.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the requests have tests of their own")]
mod drive;

use keyferry_alibaba_ecs::AlibabaEcs;
use keyferry_plugin::contract::{
    Algorithm, Attachment, Create, Delete, Effect, ErrorKind, List, Operation, Outcome, PairReference, Step,
};
use serde_json::{Value, json};

use crate::drive::{captured, context, fail, finish, parameters, response, send, step};

fn create() -> Operation {
    Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

fn delete(count: usize) -> Operation {
    let pair = |n| PairReference {
        name: format!("web-{n}"),
        id: None,
    };
    Operation::Delete(Delete {
        pairs: (0..count).map(pair).collect(),
    })
}

fn refusal(code: &str, message: &str) -> Value {
    json!({"RequestId": "CAFE", "HostId": "ecs.aliyuncs.com", "Code": code, "Message": message, "Recommend": ""})
}

#[test]
fn its_own_codes_have_kinds() {
    use ErrorKind::*;
    for (status, code, message, kind) in [
        (
            400,
            "KeyPair.AlreadyExist",
            "The key pair already exist.",
            AlreadyExists,
        ),
        (
            400,
            "InvalidKeyPairName.Malformed",
            "The specified Key Pair name is not valid.",
            Invalid,
        ),
        (
            400,
            "InvalidKeyPairName.Malformed",
            "Specified Key Pair name already exists.",
            AlreadyExists,
        ),
        (400, "InvalidPublicKeyBody.Malformed", "", Invalid),
        (403, "QuotaExceed.KeyPair", "", Quota),
        (404, "InvalidRegionId.NotFound", "", Invalid),
        (404, "InvalidResourceGroup.NotFound", "", Invalid),
        (404, "InvalidKeyPair.NotFound", "", NotFound),
        (400, "InvalidParameter.KeypairAlreadyAttachedInstance", "", InUse),
        (403, "InstanceKeyPairLimitExceeded", "", Invalid),
    ] {
        let error = fail(AlibabaEcs, &create(), response(status, refusal(code, message)));
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{code}");
        assert!(!error.message.is_empty(), "{code}");
    }
}

#[test]
fn a_missing_permission_is_named() {
    let error = fail(
        AlibabaEcs,
        &delete(1),
        response(403, refusal("Forbidden.RAM", "No.")),
    );
    assert!(error.message.contains("ecs:DeleteKeyPairs"), "{}", error.message);
}

#[test]
fn listed_pairs_have_public_keys() {
    let item = json!({
        "KeyPairName": "web",
        "KeyPairFingerPrint": "89f0ba62acb8aae1615efd8169866d6b",
        "CreationTime": "2026-01-02T03:04:05Z",
        "ResourceGroupId": "",
        "PublicKey": "ssh-rsa AAAA",
        "Tags": {"Tag": []},
    });
    let body = json!({"RequestId": "CAFE", "TotalCount": 1, "KeyPairs": {"KeyPair": [item]}});
    let Step::Done(done) = finish(AlibabaEcs, &Operation::List(List::default()), response(200, body)) else {
        panic!("not done")
    };
    let Outcome::Pairs(pairs) = done.outcome else {
        panic!("no pairs")
    };
    let [pair] = &*pairs else { panic!("{pairs:?}") };
    assert_eq!(pair.public_key.as_deref(), Some("ssh-rsa AAAA"));
    assert_eq!(pair.created_at.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(pair.id, None);
}

#[test]
fn a_garbled_success_of_a_create_is_unknown() {
    let error = fail(
        AlibabaEcs,
        &create(),
        captured(200, "{\"RequestId\":\"CAFE\",\"KeyPairNa"),
    );
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
}

#[test]
fn more_names_than_a_call_takes_are_refused() {
    assert!(matches!(
        step(AlibabaEcs, &delete(100), &context(), Value::Null, None),
        Step::Http(_)
    ));
    match step(AlibabaEcs, &delete(101), &context(), Value::Null, None) {
        Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}

#[test]
fn instances_are_found_page_by_page() {
    let operation = Operation::ListInstances(PairReference {
        name: "web".to_owned(),
        id: None,
    });
    let page = |ids: &[&str], next: Value| {
        let items: Vec<Value> = ids
            .iter()
            .map(|id| json!({"InstanceId": id, "KeyPairName": if *id == "i-other" { "web2" } else { "web" }}))
            .collect();
        response(
            200,
            json!({"RequestId": "CAFE", "NextToken": next, "Instances": {"Instance": items}}),
        )
    };
    let sent = send(AlibabaEcs, &operation, &context());
    let next = step(
        AlibabaEcs,
        &operation,
        &context(),
        sent.state,
        Some(page(&["i-1", "i-other"], json!("token"))),
    );
    let Step::Http(sent) = next else {
        panic!("{next:?}")
    };
    assert!(parameters(&sent).contains(&("NextToken".to_owned(), "token".to_owned())));
    let last = step(
        AlibabaEcs,
        &operation,
        &context(),
        sent.state,
        Some(page(&["i-2"], json!(""))),
    );
    let Step::Done(done) = last else {
        panic!("{last:?}")
    };
    assert_eq!(
        done.outcome,
        Outcome::Instances(vec!["i-1".to_owned(), "i-2".to_owned()])
    );
}

#[test]
fn wrapped_results_with_counts_in_words_are_read() {
    let attach = Operation::Attach(Attachment {
        pair: PairReference {
            name: "web".to_owned(),
            id: None,
        },
        instances: vec!["i-1".to_owned()],
    });
    let body = json!({
        "RequestId": "CAFE", "KeyPairName": "web", "TotalCount": "1", "FailCount": "0",
        "Results": {"Result": [{"InstanceId": "i-1", "Success": "true", "Code": "200", "Message": "successful"}]},
    });
    let Step::Done(done) = finish(AlibabaEcs, &attach, response(200, body)) else {
        panic!("not done")
    };
    assert!(matches!(done.outcome, Outcome::Attached(results) if results[0].error.is_none()));
}
