//! What the plugin makes of the vendor's answers; most of it is shared with the vendor's other products.

#[path = "../../alibaba/tests/support/drive.rs"]
mod drive;

use keyferry_alibaba_ens::AlibabaEns;
use keyferry_plugin::contract::{
    Algorithm, Create, Delete, Effect, ErrorKind, Import, List, Operation, Outcome, Pair, PairReference,
    Reply, Step,
};
use keyferry_plugin::recipe::Place;
use serde_json::{Value, json};

use crate::drive::{captured, context, fail, finish, lost, parameters, response, send, step};

const REQUEST_ID: &str = "4F1D2C3B-0000-4000-8000-00000000CAFE";

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

fn list() -> Operation {
    Operation::List(List::default())
}

fn get() -> Operation {
    Operation::Get(pair())
}

fn delete() -> Operation {
    Operation::Delete(Delete { pairs: vec![pair()] })
}

fn pair() -> PairReference {
    PairReference {
        name: "web".to_owned(),
        id: None,
    }
}

/// Every operation that sends something, and what may have come of it when no answer says so.
fn operations() -> [(Operation, Effect); 5] {
    [
        (create(), Effect::Unknown),
        (import(), Effect::Unknown),
        (delete(), Effect::Unknown),
        (list(), Effect::None),
        (get(), Effect::None),
    ]
}

fn refusal(code: &str, message: &str) -> Value {
    json!({"RequestId": REQUEST_ID, "HostId": "ens.aliyuncs.com", "Code": code, "Message": message})
}

#[track_caller]
fn done(step: Step) -> Outcome {
    match step {
        Step::Done(done) => done.outcome,
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn a_created_pair_has_its_private_key_captured() {
    let sent = send(AlibabaEns, &create(), &context());
    let [capture] = &*sent.capture else {
        panic!("{:?}", sent.capture)
    };
    assert_eq!(capture.name, "private_key");
    assert_eq!(capture.place, Place::JsonPointer("/PrivateKeyBody".to_owned()));

    let body = json!({
        "RequestId": REQUEST_ID,
        "KeyPairId": "ssh-50cynkq42",
        "KeyPairName": "web",
        "KeyPairFingerPrint": "7880c1ad4687fdbf7a6da2131e5ea90d",
        "PrivateKeyBody": "",
    });
    let expected = Pair {
        name: "web".to_owned(),
        id: Some("ssh-50cynkq42".to_owned()),
        fingerprint: Some("7880c1ad4687fdbf7a6da2131e5ea90d".to_owned()),
        public_key: None,
        created_at: None,
    };
    assert_eq!(
        done(finish(AlibabaEns, &create(), captured(200, &body))),
        Outcome::Pair(expected)
    );

    let error = fail(AlibabaEns, &create(), response(200, &body));
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    assert_eq!(error.request_id.as_deref(), Some(REQUEST_ID));
    assert!(error.message.contains("no private key"), "{}", error.message);
}

#[test]
fn an_answer_about_another_pair_is_refused() {
    let body = json!({"RequestId": REQUEST_ID, "KeyPairName": "other"});
    let error = fail(AlibabaEns, &import(), response(200, body));
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    assert!(error.message.contains("\"other\""), "{}", error.message);
}

#[test]
fn a_deleted_pair_is_deleted() {
    let body = json!({"RequestId": "473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E\t"});
    assert_eq!(
        done(finish(AlibabaEns, &delete(), response(200, body))),
        Outcome::Deleted
    );
}

#[test]
fn one_call_deletes_one_pair() {
    let two = Operation::Delete(Delete {
        pairs: vec![pair(), pair()],
    });
    match step(AlibabaEns, &two, &context(), Value::Null, None) {
        Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_pages_are_listed_even_when_they_are_smaller_than_asked_for() {
    let mut step = step(AlibabaEns, &list(), &context(), Value::Null, None);
    let mut emitted = Vec::new();
    for page in 1..=3 {
        let Step::Http(sent) = step else {
            panic!("{step:?}")
        };
        emitted.extend(sent.emit.iter().map(|pair| pair.name.clone()));
        let expected = [("PageNumber", page.to_string()), ("PageSize", "50".to_owned())];
        assert_eq!(
            parameters(&sent),
            expected.map(|(name, value)| (name.to_owned(), value))
        );
        let names = if page < 3 {
            vec![2 * page - 1, 2 * page]
        } else {
            vec![5]
        };
        let pairs: Vec<_> = names
            .iter()
            .map(|n| json!({"KeyPairName": format!("p{n}")}))
            .collect();
        let body = json!({"RequestId": REQUEST_ID, "TotalCount": "5", "PageSize": 2, "KeyPairs": {"KeyPair": pairs}});
        step = drive::step(
            AlibabaEns,
            &list(),
            &context(),
            sent.state,
            Some(response(200, body)),
        );
    }
    let Outcome::Pairs(last) = done(step) else {
        panic!("no pairs")
    };
    emitted.extend(last.into_iter().map(|pair| pair.name));
    assert_eq!(emitted, ["p1", "p2", "p3", "p4", "p5"]);
}

#[test]
fn an_empty_page_ends_a_list_whatever_the_total_says() {
    let body = json!({"RequestId": REQUEST_ID, "TotalCount": 7, "KeyPairs": {"KeyPair": []}});
    assert_eq!(
        done(finish(AlibabaEns, &list(), response(200, body))),
        Outcome::Pairs(Vec::new())
    );
}

#[test]
fn only_the_exact_name_is_found() {
    let body = |names: &[&str]| {
        let pairs: Vec<_> = names
            .iter()
            .map(|name| json!({"KeyPairName": name, "KeyPairId": "ssh-1"}))
            .collect();
        json!({"RequestId": REQUEST_ID, "TotalCount": names.len(), "KeyPairs": {"KeyPair": pairs}})
    };
    let found = done(finish(
        AlibabaEns,
        &get(),
        response(200, body(&["web2", "web", "aweb"])),
    ));
    assert!(matches!(found, Outcome::Pair(pair) if pair.name == "web"));

    let error = fail(AlibabaEns, &get(), response(200, body(&["web2", "Web"])));
    assert_eq!((error.kind, error.effect), (ErrorKind::NotFound, Effect::None));
    assert_eq!(error.request_id.as_deref(), Some(REQUEST_ID));
}

#[test]
fn what_the_vendor_refuses_had_no_effect() {
    use ErrorKind::*;
    for (status, code, kind) in [
        (400, "PubKeyNameExisted", AlreadyExists),
        (400, "PubKeyAttachedWithInstance", InUse),
        (400, "MissingParameter", Invalid),
        (400, "InvalidParameter.KeyPairName", Invalid),
        (400, "NeverHeardOf", Invalid),
        (400, "Throttling", Throttled),
        (429, "Throttling.User", Throttled),
        (429, "NeverHeardOf", Throttled),
        (400, "Rejected.Throttling", Throttled),
        (400, "SignatureDoesNotMatch", Unauthorized),
        (404, "InvalidAccessKeyId.NotFound", Unauthorized),
        (400, "InvalidAccessKeyId.Inactive", Unauthorized),
        (400, "InvalidSecurityToken.Expired", Unauthorized),
        (403, "Forbidden.RAM", Unauthorized),
        (403, "NeverHeardOf", Unauthorized),
        (400, "InvalidTimeStamp.Expired", Unavailable),
    ] {
        for (operation, _) in operations() {
            let error = fail(
                AlibabaEns,
                &operation,
                response(status, refusal(code, "The specified thing is wrong.")),
            );
            assert_eq!((error.kind, error.effect), (kind, Effect::None), "{code}");
            assert_eq!(error.code.as_deref(), Some(code));
            assert_eq!(error.request_id.as_deref(), Some(REQUEST_ID));
            assert!(
                !error.message.is_empty() && !error.message.ends_with('.'),
                "{}",
                error.message
            );
        }
    }
}

#[test]
fn what_broke_at_the_vendor_may_have_had_an_effect() {
    for (status, code) in [
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (500, "NeverHeardOf"),
        (400, "ens.interface.error"),
        (400, "CallInterface"),
        (400, "SignatureNonceUsed"),
    ] {
        for (operation, effect) in operations() {
            let error = fail(
                AlibabaEns,
                &operation,
                response(status, refusal(code, "Try again.")),
            );
            assert_eq!(
                (error.kind, error.effect),
                (ErrorKind::Unavailable, effect),
                "{code}"
            );
        }
    }
}

#[test]
fn a_lost_answer_may_have_had_an_effect_if_anything_was_sent() {
    for (operation, effect) in operations() {
        let error = fail(AlibabaEns, &operation, lost(true));
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, effect));
        assert_eq!(error.message, "connection reset");
        let error = fail(AlibabaEns, &operation, lost(false));
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::None));
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let bodies = [
        "",
        "<html>sign in to the hotel's network</html>",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{}",
        "{\"RequestId\":7}",
        "{\"RequestId\":\"x\",\"KeyPairName\":7,\"KeyPairs\":7}",
        "{\"RequestId\":\"x\",\"KeyPairName\":null,\"KeyPairs\":{\"KeyPair\":7}}",
        "{\"RequestId\":\"x\",\"KeyPairName\":\" \",\"KeyPairs\":{\"KeyPair\":[7,null,{\"KeyPairName\":[]}]}}",
        "{\"RequestId\":\"x\",\"KeyPairName\":\"web\",\"KeyPairFingerPrint\":{},\"TotalCount\":-1,\
          \"KeyPairs\":{\"KeyPair\":[]}}",
        "{\"RequestId\":\"x\",\"KeyPairName\":\"web\",\"KeyPairId\":[",
    ];
    for (operation, effect) in operations() {
        for body in bodies {
            // A delete needs no more than a request id.
            if matches!(operation, Operation::Delete(_)) && body.contains("\"x\",") && body.ends_with('}') {
                continue;
            }
            let error = fail(AlibabaEns, &operation, captured(200, body));
            assert_eq!(
                (error.kind, error.effect),
                (ErrorKind::Internal, effect),
                "{body}: {}",
                error.message
            );
        }
        for (status, kind) in [
            (302, ErrorKind::Internal),
            (403, ErrorKind::Internal),
            (502, ErrorKind::Unavailable),
        ] {
            let error = fail(AlibabaEns, &operation, response(status, "<html>a proxy</html>"));
            assert_eq!((error.kind, error.effect), (kind, effect), "{status}");
        }
    }
}

#[test]
fn a_state_or_reply_of_another_operation_is_an_error() {
    let page = json!({"RequestId": REQUEST_ID, "KeyPairs": {"KeyPair": []}});
    for state in [Value::Null, json!(7), json!({"page": "x", "seen": 0})] {
        match step(AlibabaEns, &list(), &context(), state, Some(response(200, &page))) {
            Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Internal),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        fail(AlibabaEns, &create(), Reply::Waited).kind,
        ErrorKind::Internal
    );
}

#[test]
fn a_missing_permission_is_named() {
    for (operation, permission) in [
        (create(), "ens:CreateKeyPair"),
        (import(), "ens:ImportKeyPair"),
        (list(), "ens:DescribeKeyPairs"),
        (delete(), "ens:DeleteKeyPairs"),
    ] {
        for code in ["Forbidden.RAM", "NoPermission"] {
            let error = fail(AlibabaEns, &operation, response(403, refusal(code, "No.")));
            assert!(error.message.contains(permission), "{}", error.message);
        }
    }
}

#[test]
fn a_wrong_clock_is_named_with_its_time() {
    let error = fail(
        AlibabaEns,
        &list(),
        response(400, refusal("InvalidTimeStamp.Expired", "Expired.")),
    );
    assert!(
        error.message.contains("this machine's clock"),
        "{}",
        error.message
    );
    assert!(error.message.contains(&context().time), "{}", error.message);
}

#[test]
fn the_vendor_says_how_long_to_wait() {
    let reply = |headers: &[(&str, &str)]| {
        let Reply::Response(mut response) = response(400, refusal("NeverHeardOf", "Wait.")) else {
            unreachable!()
        };
        response.headers = headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        Reply::Response(response)
    };
    let wait = |headers: &[(&str, &str)]| {
        let error = fail(AlibabaEns, &create(), reply(headers));
        (error.kind, error.retry_after_ms)
    };
    assert_eq!(
        wait(&[("x-acs-retry-after", "1500")]),
        (ErrorKind::Throttled, Some(1500))
    );
    assert_eq!(wait(&[("retry-after", "3")]), (ErrorKind::Throttled, Some(3000)));
    assert_eq!(wait(&[("x-acs-retry-after", "0")]), (ErrorKind::Invalid, None));
    assert_eq!(
        wait(&[("retry-after", "Sun, 22 Nov 2026 01:36:49 GMT")]),
        (ErrorKind::Invalid, None)
    );
    assert_eq!(
        wait(&[("retry-after", "18446744073709551615")]),
        (ErrorKind::Invalid, None)
    );
}

#[test]
fn the_request_id_may_come_in_a_header() {
    let Reply::Response(mut response) = response(502, "<html>") else {
        unreachable!()
    };
    response
        .headers
        .push(("x-acs-request-id".to_owned(), "FROM-HEADER".to_owned()));
    let error = fail(AlibabaEns, &create(), Reply::Response(response));
    assert_eq!(error.request_id.as_deref(), Some("FROM-HEADER"));
}
