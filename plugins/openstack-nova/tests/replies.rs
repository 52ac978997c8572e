//! What the plugin makes of Nova's answers.

#[path = "support/drive.rs"]
#[expect(dead_code, reason = "the requests have tests of their own")]
mod drive;

use keyferry_plugin::contract::{
    Algorithm, Create, Delete, Effect, ErrorKind, Import, List, Operation, Outcome, Pair, PairReference,
    Reply, Step, TransportError,
};
use keyferry_plugin::recipe::Expr;
use serde_json::{Value, json};

use crate::drive::{failure, http, logged_in, response, step};

const MD5: &str = "4f:c6:1c:dd:8f:b1:2b:ae:33:fe:c1:30:12:e3:8d:dd";

fn create() -> Operation {
    Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

fn import() -> Operation {
    Operation::Import(Import {
        name: "web".to_owned(),
        public_key: "ssh-ed25519 AAAA me@here".to_owned(),
    })
}

fn reference() -> PairReference {
    PairReference {
        name: "web".to_owned(),
        id: None,
    }
}

fn delete() -> Operation {
    Operation::Delete(Delete {
        pairs: vec![reference()],
    })
}

/// What comes of this answer to the operation's first request.
fn finish(operation: &Operation, reply: Reply) -> Step {
    let context = logged_in(&[], "2.1", "2.103");
    let sent = http(step(operation, &context, Value::Null, None));
    step(operation, &context, sent.state, Some(reply))
}

fn fault(name: &str, code: u16, message: &str) -> Value {
    json!({name: {"code": code, "message": message}})
}

fn keypair(name: &str) -> Value {
    json!({"keypair": {"name": name, "public_key": "ssh-ed25519 AAAA me@here", "fingerprint": MD5, "user_id": "u1", "type": "ssh"}})
}

#[track_caller]
fn pair(step: Step) -> Pair {
    match step {
        Step::Done(done) => match done.outcome {
            Outcome::Pair(pair) => pair,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_generations_of_status_codes_are_success() {
    for status in [200, 201] {
        let created = pair(finish(
            &create(),
            response(status, keypair("web"), &["private_key"]),
        ));
        assert_eq!(
            (&*created.name, created.fingerprint.as_deref(), created.id),
            ("web", Some(MD5), None)
        );
        let imported = pair(finish(&import(), response(status, keypair("web"), &[])));
        assert_eq!(imported.public_key.as_deref(), Some("ssh-ed25519 AAAA me@here"));
    }
    for status in [202, 204] {
        assert_eq!(
            finish(&delete(), response(status, "", &[])),
            Step::done(Outcome::Deleted)
        );
    }
}

#[test]
fn refusals_have_kinds() {
    use ErrorKind::*;
    for (operation, status, name, message, kind) in [
        (
            import(),
            409,
            "conflictingRequest",
            "Key pair 'web' already exists.",
            AlreadyExists,
        ),
        (
            import(),
            400,
            "badRequest",
            "Keypair data is invalid: failed to generate fingerprint",
            Invalid,
        ),
        (
            import(),
            400,
            "badRequest",
            "Invalid input for field/attribute name. Value: a.b.",
            Invalid,
        ),
        (
            create(),
            403,
            "forbidden",
            "Quota exceeded, too many key pairs.",
            Quota,
        ),
        (
            create(),
            403,
            "forbidden",
            "Policy doesn't allow os_compute_api:os-keypairs:create to be performed.",
            Unauthorized,
        ),
        (
            create(),
            401,
            "error",
            "The request you have made requires authentication.",
            Unauthorized,
        ),
        (
            delete(),
            404,
            "itemNotFound",
            "Keypair web not found for user u1",
            NotFound,
        ),
        (
            Operation::Get(reference()),
            404,
            "itemNotFound",
            "Keypair web not found for user u1",
            NotFound,
        ),
        (
            create(),
            406,
            "computeFault",
            "Version 2.91 is not supported by the API. Minimum is 2.1 and maximum is 2.60.",
            Unsupported,
        ),
        (
            create(),
            413,
            "overLimit",
            "This request was rate-limited.",
            Throttled,
        ),
        (
            create(),
            429,
            "overLimit",
            "This request was rate-limited.",
            Throttled,
        ),
        (
            Operation::List(List::default()),
            400,
            "badRequest",
            "Marker zz could not be found.",
            Unavailable,
        ),
    ] {
        let error = failure(finish(
            &operation,
            response(status, fault(name, status, message), &[]),
        ));
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{message}");
        assert_eq!(
            (error.code.as_deref(), error.request_id.as_deref()),
            (Some(name), Some("req-7"))
        );
        assert!(
            !error.message.is_empty() && !error.message.ends_with('.'),
            "{}",
            error.message
        );
    }
}

#[test]
fn a_missing_permission_is_named() {
    let refusal = fault(
        "forbidden",
        403,
        "Policy doesn't allow os_compute_api:os-keypairs:delete to be performed.",
    );
    let error = failure(finish(&delete(), response(403, refusal, &[])));
    assert!(
        error.message.contains("os_compute_api:os-keypairs:delete"),
        "{}",
        error.message
    );
}

#[test]
fn what_is_not_novas_own_answer_is_unknown() {
    let garbled = [
        response(500, fault("computeFault", 500, "Unexpected API Error."), &[]),
        response(503, "down for maintenance", &[]),
        response(404, "404 Not Found\n\nThe resource could not be found.", &[]),
        response(302, "", &[]),
        response(200, "{\"keypair\": {\"na", &["private_key"]),
        response(200, keypair("other"), &["private_key"]),
        response(200, json!({"keypair": {"name": 7}}), &["private_key"]),
        response(200, json!({"keypair": {"name": ""}}), &["private_key"]),
        response(200, json!([]), &["private_key"]),
        // The private key is not where it should be.
        response(200, keypair("web"), &[]),
        Reply::TransportError(TransportError {
            sent: true,
            message: "connection reset".to_owned(),
        }),
    ];
    for reply in garbled {
        let error = failure(finish(&create(), reply.clone()));
        assert_eq!(error.effect, Effect::Unknown, "{reply:?}");
        assert!(
            [ErrorKind::Internal, ErrorKind::Unavailable].contains(&error.kind),
            "{reply:?}: {error:?}"
        );
    }
}

#[test]
fn a_list_is_read_page_by_page() {
    let context = logged_in(&[], "2.1", "2.103");
    let list = Operation::List(List { page_size: Some(2) });
    let item = |name: &str| keypair(name);
    let links = json!([{"rel": "next", "href": "http://127.0.0.1:8774/v2.1/os-keypairs?limit=2&marker=b"}]);
    let first = http(step(&list, &context, Value::Null, None));
    let query = |step: &keyferry_plugin::contract::HttpStep| -> Vec<(String, String)> {
        let parameters = step.request.query.iter();
        parameters
            .map(|(name, value)| match value {
                Expr::Text(text) => (name.clone(), text.clone()),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(query(&first), own(&[("limit", "2")]));
    let page = json!({"keypairs": [item("a"), item("b c")], "keypairs_links": links});
    let second = http(step(
        &list,
        &context,
        first.state,
        Some(response(200, &page, &[])),
    ));
    assert_eq!(query(&second), own(&[("limit", "2"), ("marker", "b c")]));
    assert_eq!(
        second.emit.iter().map(|pair| &*pair.name).collect::<Vec<_>>(),
        ["a", "b c"]
    );

    // A page that leads to itself is no end and no loop.
    let error = failure(step(
        &list,
        &context,
        second.state.clone(),
        Some(response(200, &page, &[])),
    ));
    assert_eq!(error.kind, ErrorKind::Internal);

    let x509 = json!({"keypair": {"name": "x", "type": "x509", "public_key": "-----BEGIN CERTIFICATE-----", "fingerprint": "aa"}});
    let last = step(
        &list,
        &context,
        second.state,
        Some(response(200, json!({"keypairs": [item("d"), x509]}), &[])),
    );
    let Step::Done(done) = last else {
        panic!("{last:?}")
    };
    let Outcome::Pairs(pairs) = done.outcome else {
        panic!("no pairs")
    };
    assert_eq!(
        pairs.iter().map(|pair| &*pair.name).collect::<Vec<_>>(),
        ["d", "x"]
    );
    assert!(pairs[0].public_key.is_some() && pairs[1].public_key.is_none());
}

#[test]
fn before_pages_a_list_is_whole() {
    let context = logged_in(&[("microversion", "2.34")], "2.1", "2.103");
    let sent = http(step(
        &Operation::List(List { page_size: Some(2) }),
        &context,
        Value::Null,
        None,
    ));
    assert!(sent.request.query.is_empty());
}

#[test]
fn one_pair_is_deleted_at_a_time() {
    let context = logged_in(&[], "2.1", "2.103");
    let two = Operation::Delete(Delete {
        pairs: vec![reference(), reference()],
    });
    assert_eq!(
        failure(step(&two, &context, Value::Null, None)).kind,
        ErrorKind::Unsupported
    );
}
