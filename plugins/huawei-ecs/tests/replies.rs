//! What the plugin makes of the vendor's answers.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the requests have tests of their own")]
mod drive;

use keyferry_huawei_ecs::HuaweiEcs;
use keyferry_plugin::contract::{
    Algorithm, Context, Create, Delete, Effect, ErrorKind, FailStep, Import, List, Operation, Outcome, Pair,
    PairReference, ProviderError, Reply, Response, Step,
};
use serde_json::{Value, json};

use crate::drive::{captured, lost, parameters, response, send, step};

fn context() -> Context {
    let region = "cn-north-4";
    Context {
        region: Some(region.to_owned()),
        session: json!({"project_id": "p1", "region": region}),
        ..drive::context()
    }
}

fn finish(operation: &Operation, reply: Reply) -> Step {
    let context = context();
    let sent = send(HuaweiEcs, operation, &context);
    step(HuaweiEcs, operation, &context, sent.state, Some(reply))
}

#[track_caller]
fn fail(operation: &Operation, reply: Reply) -> ProviderError {
    match finish(operation, reply) {
        Step::Fail(FailStep { error }) => error,
        other => panic!("no failure: {other:?}"),
    }
}

#[track_caller]
fn outcome(step: Step) -> Outcome {
    match step {
        Step::Done(done) => done.outcome,
        other => panic!("not done: {other:?}"),
    }
}

fn create() -> Operation {
    Operation::Create(Create {
        name: "demo".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

fn import() -> Operation {
    Operation::Import(Import {
        name: "demo".to_owned(),
        public_key: "ssh-rsa AAAA".to_owned(),
    })
}

fn get() -> Operation {
    Operation::Get(PairReference {
        name: "demo".to_owned(),
        id: None,
    })
}

fn delete(count: usize) -> Operation {
    let pair = PairReference {
        name: "demo".to_owned(),
        id: None,
    };
    Operation::Delete(Delete {
        pairs: vec![pair; count],
    })
}

fn keypair(public_key: &str) -> Value {
    json!({"keypair": {"name": "demo", "fingerprint": "fc:47:b5:c3", "public_key": public_key, "user_id": "u"}})
}

#[test]
fn public_keys_lose_what_the_vendor_puts_around_them() {
    for (written, expected) in [
        (
            "ssh-rsa AAAAB3 Generated-by-Nova\\n\n",
            "ssh-rsa AAAAB3 Generated-by-Nova",
        ),
        (
            "ssh-rsa AAAAB3 Generated-by-Nova\n",
            "ssh-rsa AAAAB3 Generated-by-Nova",
        ),
        ("ssh-rsa AAAAB3\\n", "ssh-rsa AAAAB3"),
        ("ssh-rsaAAAAB3 x", "ssh-rsa AAAAB3 x"),
        (" ssh-ed25519 AAAAC3 ", "ssh-ed25519 AAAAC3"),
    ] {
        let Outcome::Pair(pair) = outcome(finish(&import(), response(200, keypair(written)))) else {
            panic!("no pair")
        };
        assert_eq!(pair.public_key.as_deref(), Some(expected), "{written:?}");
        assert_eq!(pair.fingerprint.as_deref(), Some("fc:47:b5:c3"));
    }
}

#[test]
fn any_success_is_one() {
    for status in [200, 201] {
        assert!(matches!(
            outcome(finish(&create(), captured(status, keypair("ssh-rsa AAAA")))),
            Outcome::Pair(pair) if pair.name == "demo"
        ));
    }
    for status in [200, 202, 204] {
        assert_eq!(
            outcome(finish(&delete(1), response(status, ""))),
            Outcome::Deleted
        );
    }
}

#[test]
fn a_shown_pair_has_an_id() {
    let mut body = keypair("ssh-rsa AAAA");
    body["keypair"]["id"] = json!(7);
    body["keypair"]["created_at"] = json!("2026-01-02T03:04:05.000000");
    let Outcome::Pair(pair) = outcome(finish(&get(), response(200, body))) else {
        panic!("no pair")
    };
    assert_eq!(
        (pair.id.as_deref(), pair.created_at.as_deref()),
        (Some("7"), Some("2026-01-02T03:04:05.000000"))
    );
}

fn gateway(code: &str) -> Value {
    json!({"error_code": code, "error_msg": "Words.", "request_id": "cafe"})
}

fn fault(name: &str, message: &str) -> Value {
    json!({name: {"code": 1, "message": message}})
}

#[test]
fn refusals_have_kinds() {
    use ErrorKind::*;
    for (status, body, kind, code) in [
        (
            400,
            fault("badRequest", "Keypair data is invalid."),
            Invalid,
            "badRequest",
        ),
        (401, gateway("APIGW.0301"), Unauthorized, "APIGW.0301"),
        (403, gateway("APIGW.0302"), Unauthorized, "APIGW.0302"),
        (
            403,
            fault("forbidden", "Quota exceeded, too many key pairs."),
            Quota,
            "forbidden",
        ),
        (
            403,
            fault("forbidden", "Policy doesn't allow this."),
            Unauthorized,
            "forbidden",
        ),
        (404, fault("itemNotFound", "No."), NotFound, "itemNotFound"),
        (404, gateway("APIGW.0101"), Invalid, "APIGW.0101"),
        (
            409,
            fault("conflictingRequest", "Key pair 'demo' already exists."),
            AlreadyExists,
            "conflictingRequest",
        ),
        (413, fault("overLimit", "Too many."), Throttled, "overLimit"),
        (429, gateway("APIGW.0308"), Throttled, "APIGW.0308"),
        (
            400,
            json!({"error": {"code": "Ecs.0001", "message": "Words."}}),
            Invalid,
            "Ecs.0001",
        ),
        (400, json!({"errorCode": "X", "errorMsg": "Words."}), Invalid, "X"),
        (400, json!({"code": "Y", "message": "Words."}), Invalid, "Y"),
    ] {
        let error = fail(&create(), response(status, &body));
        assert_eq!(
            (error.kind, error.effect),
            (kind, Effect::None),
            "{status} {body}"
        );
        assert_eq!(error.code.as_deref(), Some(code), "{status} {body}");
        assert!(!error.message.is_empty(), "{status} {body}");
    }
}

#[test]
fn what_may_have_taken_effect_is_unknown() {
    for (status, body) in [
        (500, fault("computeFault", "Unexpected API Error.").to_string()),
        (503, fault("serviceUnavailable", "No.").to_string()),
        (502, "bad gateway".to_owned()),
        (504, String::new()),
    ] {
        let error = fail(&create(), response(status, &body));
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Unavailable, Effect::Unknown),
            "{status}"
        );
        assert_eq!(fail(&get(), response(status, &body)).effect, Effect::None);
    }
    for (sent, effect) in [(true, Effect::Unknown), (false, Effect::None)] {
        let error = fail(&delete(1), lost(sent));
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, effect));
    }
}

#[test]
fn a_success_that_makes_no_sense_is_unknown() {
    for body in [
        "".to_owned(),
        "<html>".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({"keypair": 7}).to_string(),
        json!({"keypair": {"name": "other"}}).to_string(),
        json!({"keypair": {"name": 7}}).to_string(),
    ] {
        let error = fail(&create(), captured(200, &body));
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Internal, Effect::Unknown),
            "{body}"
        );
    }
    let error = fail(&create(), response(200, keypair("ssh-rsa AAAA")));
    assert!(error.message.contains("no private key"), "{}", error.message);
}

#[test]
fn a_missing_permission_is_named_and_a_request_is_identified() {
    let reply = Reply::Response(Response {
        status: 403,
        headers: vec![
            ("x-request-id".to_owned(), "beef".to_owned()),
            ("retry-after".to_owned(), "3".to_owned()),
        ],
        body: gateway("APIGW.0302").to_string(),
        captured: Vec::new(),
    });
    let error = fail(&delete(1), reply);
    assert!(
        error.message.contains("ecs:serverKeypairs:delete"),
        "{}",
        error.message
    );
    assert_eq!(
        (error.request_id.as_deref(), error.retry_after_ms),
        (Some("beef"), Some(3000))
    );
    let error = fail(&delete(1), response(401, gateway("APIGW.0301")));
    assert_eq!(error.request_id.as_deref(), Some("cafe"));
    assert!(
        error.message.contains("2026-11-22T01:36:49Z"),
        "{}",
        error.message
    );
}

fn page(names: &[&str]) -> Reply {
    let items: Vec<Value> = names
        .iter()
        .map(|name| json!({"keypair": {"name": name, "fingerprint": "fc:47", "public_key": "ssh-rsa AAAA", "type": "ssh"}}))
        .collect();
    response(200, json!({"keypairs": items}))
}

fn names(pairs: &[Pair]) -> Vec<&str> {
    pairs.iter().map(|pair| pair.name.as_str()).collect()
}

#[test]
fn pages_follow_one_another() {
    let list = Operation::List(List { page_size: Some(2) });
    let first = send(HuaweiEcs, &list, &context());
    assert_eq!(parameters(&first), [("limit".to_owned(), "2".to_owned())]);
    let Step::Http(second) = step(HuaweiEcs, &list, &context(), first.state, Some(page(&["a", "b"]))) else {
        panic!("no second page")
    };
    assert_eq!(names(&second.emit), ["a", "b"]);
    assert!(parameters(&second).contains(&("marker".to_owned(), "b".to_owned())));
    for (last, expected) in [(vec!["c"], vec!["c"]), (vec![], vec![])] {
        let end = step(
            HuaweiEcs,
            &list,
            &context(),
            second.state.clone(),
            Some(page(&last)),
        );
        assert!(matches!(outcome(end), Outcome::Pairs(pairs) if names(&pairs) == expected));
    }
    // A service that knows no pages gives the whole list again.
    let end = step(
        HuaweiEcs,
        &list,
        &context(),
        second.state,
        Some(page(&["a", "b"])),
    );
    assert_eq!(outcome(end), Outcome::Pairs(Vec::new()));
}

#[test]
fn a_service_without_pages_is_asked_for_all() {
    let list = Operation::List(List::default());
    let first = send(HuaweiEcs, &list, &context());
    let refusal = response(406, fault("computeFault", "Version 2.35 is not supported."));
    let Step::Http(all) = step(HuaweiEcs, &list, &context(), first.state, Some(refusal)) else {
        panic!("nothing more")
    };
    assert!(parameters(&all).is_empty());
    assert!(
        !all.request
            .headers
            .iter()
            .any(|(name, _)| name == "openstack-api-version")
    );
    let many: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let end = step(HuaweiEcs, &list, &context(), all.state.clone(), Some(page(&many)));
    assert!(matches!(outcome(end), Outcome::Pairs(pairs) if pairs.len() == 300));
    // Refused again, it is an error.
    let refusal = response(406, fault("computeFault", "No."));
    assert!(matches!(
        step(HuaweiEcs, &list, &context(), all.state, Some(refusal)),
        Step::Fail(failed) if failed.error.kind == ErrorKind::Invalid
    ));
}

#[test]
fn a_list_of_another_shape_is_no_list() {
    let list = Operation::List(List::default());
    for body in [
        json!({}),
        json!({"keypairs": {}}),
        json!({"keypairs": [7]}),
        json!({"keypairs": [{"keypair": {}}]}),
    ] {
        assert_eq!(fail(&list, response(200, body)).kind, ErrorKind::Internal);
    }
}

#[test]
fn one_pair_is_deleted_at_a_time() {
    match step(HuaweiEcs, &delete(2), &context(), Value::Null, None) {
        Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}

#[test]
fn there_is_no_binding_to_instances() {
    let pair = PairReference {
        name: "demo".to_owned(),
        id: None,
    };
    match step(
        HuaweiEcs,
        &Operation::ListInstances(pair),
        &context(),
        Value::Null,
        None,
    ) {
        Step::Fail(failed) => assert_eq!(failed.error.kind, ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}
