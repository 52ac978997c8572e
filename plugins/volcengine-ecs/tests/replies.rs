//! What the plugin makes of the vendor's answers.

#[path = "../../alibaba/tests/support/drive.rs"]
mod drive;

use keyferry_plugin::contract::{
    Algorithm, Attachment, Create, Delete, Effect, ErrorKind, Import, List, Operation, Outcome,
    PairReference, Reply, Response, Step,
};
use keyferry_volcengine_ecs::VolcengineEcs;
use serde_json::{Value, json};

use crate::drive::{captured, context, fail, finish, lost, parameters, response, send, step};

fn create() -> Operation {
    Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

fn import() -> Operation {
    Operation::Import(Import {
        name: "web".to_owned(),
        public_key: "ssh-rsa AAAA".to_owned(),
    })
}

fn web() -> PairReference {
    PairReference {
        name: "web".to_owned(),
        id: None,
    }
}

fn delete() -> Operation {
    Operation::Delete(Delete { pairs: vec![web()] })
}

fn attach() -> Operation {
    Operation::Attach(Attachment {
        pair: web(),
        instances: vec!["i-1".to_owned(), "i-2".to_owned()],
    })
}

fn metadata() -> Value {
    json!({"RequestId": "CAFE", "Action": "X", "Version": "2020-04-01", "Service": "ecs", "Region": "cn-beijing"})
}

fn result(result: Value) -> Value {
    json!({"ResponseMetadata": metadata(), "Result": result})
}

fn refusal(code: &str, message: &str) -> Value {
    let mut metadata = metadata();
    metadata["Error"] = json!({"Code": code, "CodeN": 1, "Message": message});
    json!({"ResponseMetadata": metadata})
}

fn item(name: &str) -> Value {
    json!({"KeyPairName": name, "KeyPairId": format!("kp-{name}"), "FingerPrint": "b1d10ffd00ff7177307fdcd310f6d370",
        "CreatedAt": "2026-01-02T03:04:05+08:00"})
}

#[test]
fn a_created_pair_has_an_id_and_a_fingerprint() {
    let Step::Done(done) = finish(VolcengineEcs, &create(), captured(200, result(item("web")))) else {
        panic!("not done")
    };
    let Outcome::Pair(pair) = done.outcome else {
        panic!("no pair")
    };
    assert_eq!((pair.name.as_str(), pair.id.as_deref()), ("web", Some("kp-web")));
    assert_eq!(
        pair.fingerprint.as_deref(),
        Some("b1d10ffd00ff7177307fdcd310f6d370")
    );
    assert_eq!(pair.created_at.as_deref(), Some("2026-01-02T03:04:05+08:00"));
    assert_eq!(pair.public_key, None);
}

#[test]
fn an_error_counts_whatever_the_status() {
    for status in [200, 400, 409] {
        let error = fail(
            VolcengineEcs,
            &create(),
            response(status, refusal("InvalidKeyPairName.Conflict", "It exists.")),
        );
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::AlreadyExists, Effect::None)
        );
        assert_eq!(error.code.as_deref(), Some("InvalidKeyPairName.Conflict"));
        assert_eq!(error.request_id.as_deref(), Some("CAFE"));
    }
    // A private key beside an error changes nothing.
    let error = fail(
        VolcengineEcs,
        &create(),
        captured(200, refusal("LimitExceeded.MaximumKeyPairs", "")),
    );
    assert_eq!(error.kind, ErrorKind::Quota);
}

#[test]
fn codes_have_kinds() {
    use ErrorKind::*;
    for (status, code, kind, effect) in [
        (400, "MissingParameter.KeyPairName", Invalid, Effect::None),
        (400, "InvalidKeyPairName.Malformed", Invalid, Effect::None),
        (400, "InvalidKeyPairDescription.Malformed", Invalid, Effect::None),
        (400, "InvalidClientToken.Malformed", Invalid, Effect::None),
        (400, "IdempotentParameterMismatch", Invalid, Effect::None),
        (400, "LimitExceeded.MaximumKeyPairs", Quota, Effect::None),
        (404, "InvalidProject.NotFound", Invalid, Effect::None),
        (412, "IdempotentProcessing", Unavailable, Effect::Unknown),
        (500, "InternalError", Unavailable, Effect::Unknown),
        (200, "InternalError", Unavailable, Effect::Unknown),
        (400, "InvalidTimestamp", Unavailable, Effect::None),
        (401, "InvalidAccessKey", Unauthorized, Effect::None),
        (401, "SignatureDoesNotMatch", Unauthorized, Effect::None),
        (401, "SomethingNew", Unauthorized, Effect::None),
        (403, "LackPolicy", Unauthorized, Effect::None),
        (429, "SomeFlowLimitExceeded", Throttled, Effect::None),
        (429, "SomethingNew", Throttled, Effect::None),
        (418, "SomethingNew", Invalid, Effect::None),
        (503, "SomethingNew", Unavailable, Effect::Unknown),
    ] {
        let error = fail(
            VolcengineEcs,
            &import(),
            response(status, refusal(code, "Words of theirs.")),
        );
        assert_eq!((error.kind, error.effect), (kind, effect), "{status} {code}");
        assert!(!error.message.is_empty(), "{code}");
    }
}

#[test]
fn messages_say_what_to_do() {
    let error = fail(
        VolcengineEcs,
        &delete(),
        response(403, refusal("LackPolicy", "No.")),
    );
    assert!(error.message.contains("ecs:DeleteKeyPairs"), "{}", error.message);
    let error = fail(
        VolcengineEcs,
        &delete(),
        response(400, refusal("InvalidTimestamp", "No.")),
    );
    assert!(
        error.message.contains("2026-11-22T01:36:49Z"),
        "{}",
        error.message
    );
}

#[test]
fn the_time_to_wait_is_read() {
    let reply = Reply::Response(Response {
        status: 429,
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        body: refusal("AccountFlowLimitExceeded", "").to_string(),
        captured: Vec::new(),
    });
    assert_eq!(fail(VolcengineEcs, &create(), reply).retry_after_ms, Some(7000));
}

#[test]
fn an_answer_that_is_not_the_vendors_is_no_success() {
    for (status, body, kind) in [
        (200, "{}", ErrorKind::Internal),
        (200, "", ErrorKind::Internal),
        (200, "<html>", ErrorKind::Internal),
        (200, "[1]", ErrorKind::Internal),
        (200, r#"{"ResponseMetadata":7,"Result":{}}"#, ErrorKind::Internal),
        (
            200,
            r#"{"ResponseMetadata":{"Error":"x"},"Result":{}}"#,
            ErrorKind::Internal,
        ),
        (302, "", ErrorKind::Internal),
        (502, "bad gateway", ErrorKind::Unavailable),
        (429, "", ErrorKind::Throttled),
    ] {
        let error = fail(VolcengineEcs, &create(), captured(status, body));
        assert_eq!(
            (error.kind, error.effect),
            (kind, Effect::Unknown),
            "{status} {body}"
        );
        let error = fail(
            VolcengineEcs,
            &Operation::List(List::default()),
            response(status, body),
        );
        assert_eq!(
            (error.kind, error.effect),
            (kind, Effect::None),
            "{status} {body}"
        );
    }
}

#[test]
fn a_create_without_a_private_key_is_unknown() {
    let error = fail(VolcengineEcs, &create(), response(200, result(item("web"))));
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    for body in [
        result(Value::Null),
        result(json!({})),
        result(item("other")),
        result(json!({"KeyPairName": 7})),
    ] {
        let error = fail(VolcengineEcs, &create(), captured(200, body));
        assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    }
}

#[test]
fn a_lost_reply_is_unknown_only_where_something_was_sent() {
    for (sent, effect) in [(true, Effect::Unknown), (false, Effect::None)] {
        let error = fail(VolcengineEcs, &create(), lost(sent));
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, effect));
    }
}

#[test]
fn pages_follow_one_another() {
    let list = Operation::List(List { page_size: Some(2) });
    let first = send(VolcengineEcs, &list, &context());
    assert!(parameters(&first).contains(&("MaxResults".to_owned(), "2".to_owned())));
    let page = |names: &[&str], next: &str| {
        let items: Vec<Value> = names.iter().map(|name| item(name)).collect();
        response(200, result(json!({"KeyPairs": items, "NextToken": next})))
    };
    let Step::Http(second) = step(
        VolcengineEcs,
        &list,
        &context(),
        first.state,
        Some(page(&["a", "b"], "t2")),
    ) else {
        panic!("no second page")
    };
    assert_eq!(second.emit.len(), 2);
    assert!(parameters(&second).contains(&("NextToken".to_owned(), "t2".to_owned())));
    // A page may be empty and not be the last.
    let Step::Http(third) = step(
        VolcengineEcs,
        &list,
        &context(),
        second.state.clone(),
        Some(page(&[], "t3")),
    ) else {
        panic!("no third page")
    };
    let Step::Done(done) = step(
        VolcengineEcs,
        &list,
        &context(),
        third.state,
        Some(page(&["c"], "")),
    ) else {
        panic!("no end")
    };
    let Outcome::Pairs(pairs) = done.outcome else {
        panic!("no pairs")
    };
    assert_eq!(pairs.len(), 1);
    // A page that leads to itself is no list.
    match step(
        VolcengineEcs,
        &list,
        &context(),
        second.state,
        Some(page(&["a"], "t2")),
    ) {
        Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Internal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_list_may_be_null() {
    let list = Operation::List(List::default());
    for body in [
        json!({}),
        json!({"KeyPairs": null, "NextToken": null}),
        json!({"KeyPairs": []}),
    ] {
        let Step::Done(done) = finish(VolcengineEcs, &list, response(200, result(body))) else {
            panic!("not done")
        };
        assert_eq!(done.outcome, Outcome::Pairs(Vec::new()));
    }
    // But all of the result is not.
    for body in [Value::Null, json!({"KeyPairs": {}})] {
        assert_eq!(
            fail(VolcengineEcs, &list, response(200, result(body))).kind,
            ErrorKind::Internal
        );
    }
}

#[test]
fn one_pair_is_found_by_its_exact_name() {
    let get = Operation::Get(web());
    let body = result(json!({"KeyPairs": [item("web-2"), item("web")], "NextToken": ""}));
    let Step::Done(done) = finish(VolcengineEcs, &get, response(200, body)) else {
        panic!("not done")
    };
    assert!(matches!(done.outcome, Outcome::Pair(pair) if pair.name == "web"));
    let body = result(json!({"KeyPairs": [item("web-2")], "NextToken": ""}));
    assert_eq!(
        fail(VolcengineEcs, &get, response(200, body)).kind,
        ErrorKind::NotFound
    );
}

#[test]
fn each_deleted_pair_must_have_succeeded() {
    let details =
        |error: Value| result(json!({"OperationDetails": [{"KeyPairName": "web", "Error": error}]}));
    let Step::Done(done) = finish(VolcengineEcs, &delete(), response(200, details(Value::Null))) else {
        panic!("not done")
    };
    assert_eq!(done.outcome, Outcome::Deleted);
    for (code, kind) in [
        ("InvalidKeyPairName.NotFound", ErrorKind::NotFound),
        ("InvalidKeyPair.InUse", ErrorKind::InUse),
        ("SomethingNew", ErrorKind::Invalid),
        ("InternalError", ErrorKind::Unavailable),
    ] {
        let body = details(json!({"Code": code, "Message": "Words."}));
        let error = fail(VolcengineEcs, &delete(), response(200, body));
        assert_eq!((error.kind, error.code.as_deref()), (kind, Some(code)));
    }
    for body in [
        result(Value::Null),
        result(json!({"OperationDetails": []})),
        result(json!({"OperationDetails": [{"KeyPairName": "other", "Error": null}]})),
        result(json!({"OperationDetails": [7]})),
    ] {
        let error = fail(VolcengineEcs, &delete(), response(200, body));
        assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    }
}

#[test]
fn each_instance_has_a_result_of_its_own() {
    let body = result(json!({"OperationDetails": [
        {"InstanceId": "i-1", "Error": null},
        {"InstanceId": "i-2", "Error": {"Code": "InvalidInstance.NotFound", "Message": "No."}},
    ]}));
    let Step::Done(done) = finish(VolcengineEcs, &attach(), response(200, body)) else {
        panic!("not done")
    };
    let Outcome::Attached(results) = done.outcome else {
        panic!("no results")
    };
    assert_eq!(results[0].instance, "i-1");
    assert!(results[0].error.is_none());
    let error = results[1].error.as_ref().expect("it failed");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(error.code.as_deref(), Some("InvalidInstance.NotFound"));
}

#[test]
fn an_instance_that_the_answer_leaves_out_is_unknown() {
    let body = result(json!({"OperationDetails": [
        {"InstanceId": "i-2", "Error": null},
        {"InstanceId": "i-9", "Error": null},
    ]}));
    let Step::Done(done) = finish(VolcengineEcs, &attach(), response(200, body)) else {
        panic!("not done")
    };
    let Outcome::Attached(results) = done.outcome else {
        panic!("no results")
    };
    let told: Vec<&str> = results.iter().map(|result| result.instance.as_str()).collect();
    assert_eq!(told, ["i-1", "i-2"]);
    let error = results[0].error.as_ref().expect("nothing is known of it");
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    assert!(results[1].error.is_none());
}

#[test]
fn instances_are_counted_over_pages() {
    let list = Operation::ListInstances(web());
    let first = send(VolcengineEcs, &list, &context());
    let page = |ids: &[&str], next: &str| {
        let items: Vec<Value> = ids
            .iter()
            .map(|id| json!({"InstanceId": id, "KeyPairName": "web"}))
            .collect();
        response(200, result(json!({"Instances": items, "NextToken": next})))
    };
    let Step::Http(second) = step(
        VolcengineEcs,
        &list,
        &context(),
        first.state,
        Some(page(&["i-1", "i-2"], "t")),
    ) else {
        panic!("no second page")
    };
    let last = result(json!({"Instances": [
        {"InstanceId": "i-3", "KeyPairName": "web"},
        {"InstanceId": "i-4", "KeyPairName": "web-2"},
    ]}));
    let Step::Done(done) = step(
        VolcengineEcs,
        &list,
        &context(),
        second.state,
        Some(response(200, last)),
    ) else {
        panic!("not done")
    };
    let expected = ["i-1", "i-2", "i-3"].map(str::to_owned).to_vec();
    assert_eq!(done.outcome, Outcome::Instances(expected));
}

#[test]
fn more_than_a_call_takes_is_refused() {
    let many = |count: usize| {
        Operation::Attach(Attachment {
            pair: web(),
            instances: (0..count).map(|n| format!("i-{n}")).collect(),
        })
    };
    assert!(matches!(
        step(VolcengineEcs, &many(100), &context(), Value::Null, None),
        Step::Http(_)
    ));
    match step(VolcengineEcs, &many(101), &context(), Value::Null, None) {
        Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}
