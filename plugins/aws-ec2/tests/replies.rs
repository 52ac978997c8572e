//! What the plugin makes of the vendor's answers.

#[path = "../../aws/tests/support/drive.rs"]
#[expect(dead_code, reason = "the requests have tests of their own")]
mod drive;

use keyferry_aws_ec2::AwsEc2;
use keyferry_plugin::contract::{
    Algorithm, Create, Delete, DoneStep, Effect, ErrorKind, Import, List, Operation, Outcome, Pair,
    PairReference, Reply, Response, Step,
};
use serde_json::json;

use crate::drive::{context, fail, finish, form, lost, replied, response, send, step};

fn create() -> Operation {
    Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Ed25519,
    })
}

fn import() -> Operation {
    Operation::Import(Import {
        name: "web".to_owned(),
        public_key: "ssh-ed25519 AAAA".to_owned(),
    })
}

fn list() -> Operation {
    Operation::List(List::default())
}

fn pair_reference() -> PairReference {
    PairReference {
        name: "web".to_owned(),
        id: Some("key-07".to_owned()),
    }
}

fn get() -> Operation {
    Operation::Get(pair_reference())
}

fn delete() -> Operation {
    Operation::Delete(Delete {
        pairs: vec![pair_reference()],
    })
}

fn xml(root: &str, inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n    \
         <requestId>4f1d2c3b</requestId>\n{inner}</{root}>"
    )
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>\
         </Error></Errors><RequestID>4f1d2c3b</RequestID></Response>"
    )
}

#[track_caller]
fn outcome(step: Step) -> Outcome {
    match step {
        Step::Done(done) => {
            let DoneStep { outcome, session } = *done;
            assert_eq!(session, None);
            outcome
        }
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn a_pair_is_made_and_described() {
    let made = "<keyName>web</keyName><keyFingerprint>AbC=</keyFingerprint><keyMaterial/><keyPairId>key-07</keyPairId>";
    let expected = Pair {
        name: "web".to_owned(),
        id: Some("key-07".to_owned()),
        fingerprint: Some("AbC=".to_owned()),
        ..Pair::default()
    };
    let reply = replied(200, xml("CreateKeyPairResponse", made), &["private_key"]);
    assert_eq!(
        outcome(finish(AwsEc2, &create(), reply)),
        Outcome::Pair(expected.clone())
    );
    let reply = response(200, xml("ImportKeyPairResponse", made));
    assert_eq!(
        outcome(finish(AwsEc2, &import(), reply)),
        Outcome::Pair(expected.clone())
    );

    let item = |name: &str| {
        format!(
            "<item><keyPairId>key-07</keyPairId><keyName>{name}</keyName><keyType>ed25519</keyType>\
             <keyFingerprint>AbC=</keyFingerprint><publicKey>ssh-ed25519 AAAA a &amp; b\n</publicKey>\
             <createTime>2026-01-02T03:04:05.000Z</createTime><tagSet/></item>"
        )
    };
    let set = format!("<keySet>{}{}</keySet>", item("other"), item("web"));
    let described = Pair {
        public_key: Some("ssh-ed25519 AAAA a & b".to_owned()),
        created_at: Some("2026-01-02T03:04:05.000Z".to_owned()),
        ..expected
    };
    let reply = || response(200, xml("DescribeKeyPairsResponse", &set));
    let Outcome::Pairs(pairs) = outcome(finish(AwsEc2, &list(), reply())) else {
        panic!("no pairs")
    };
    assert_eq!((pairs.len(), &pairs[1]), (2, &described));
    assert_eq!(outcome(finish(AwsEc2, &get(), reply())), Outcome::Pair(described));

    let none = response(200, xml("DescribeKeyPairsResponse", "<keySet/>"));
    assert_eq!(
        outcome(finish(AwsEc2, &list(), none.clone())),
        Outcome::Pairs(Vec::new())
    );
    assert_eq!(fail(AwsEc2, &get(), none).kind, ErrorKind::NotFound);
}

#[test]
fn a_pair_is_deleted() {
    let reply = response(200, xml("DeleteKeyPairResponse", "<return>true</return>"));
    assert_eq!(outcome(finish(AwsEc2, &delete(), reply)), Outcome::Deleted);
    let reply = response(200, xml("DeleteKeyPairResponse", "<return>false</return>"));
    assert_eq!(fail(AwsEc2, &delete(), reply).effect, Effect::Unknown);
    let two = Operation::Delete(Delete {
        pairs: vec![pair_reference(), pair_reference()],
    });
    match step(AwsEc2, &two, &context(), json!(null), None) {
        Step::Fail(fail) => assert_eq!(fail.error.kind, ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}

#[test]
fn instances_come_page_by_page() {
    let operation = Operation::ListInstances(pair_reference());
    let page = |instances: &[(&str, &str)], token: &str| {
        let item = |(id, state): &(&str, &str)| {
            format!(
                "<item><instanceId>{id}</instanceId><instanceState><name>{state}</name></instanceState></item>"
            )
        };
        let items: String = instances.iter().map(item).collect();
        let set = format!(
            "<reservationSet><item><instancesSet>{items}</instancesSet></item></reservationSet><nextToken>{token}</nextToken>"
        );
        response(200, xml("DescribeInstancesResponse", &set))
    };
    let first = page(&[("i-1", "running"), ("i-2", "terminated")], "more=");
    let Step::Http(next) = finish(AwsEc2, &operation, first) else {
        panic!("one page only")
    };
    assert!(form(&next.request).contains(&("NextToken".to_owned(), "more=".to_owned())));
    let last = page(&[("i-3", "stopped")], "");
    assert_eq!(
        outcome(step(AwsEc2, &operation, &context(), next.state, Some(last))),
        Outcome::Instances(vec!["i-1".to_owned(), "i-3".to_owned()])
    );
}

#[test]
fn codes_have_kinds() {
    use ErrorKind::*;
    for (status, code, kind) in [
        (400, "InvalidKeyPair.Duplicate", AlreadyExists),
        (400, "InvalidKeyPair.NotFound", NotFound),
        (400, "InvalidKeyPair.Format", Invalid),
        (400, "InvalidKey.Format", Invalid),
        (400, "InvalidParameterValue", Invalid),
        (400, "MissingParameter", Invalid),
        (400, "KeyPairLimitExceeded", Quota),
        (400, "ResourceLimitExceeded", Quota),
        (400, "TagLimitExceeded", Invalid),
        (401, "AuthFailure", Unauthorized),
        (403, "SignatureDoesNotMatch", Unauthorized),
        (403, "UnauthorizedOperation", Unauthorized),
        (403, "NobodyKnowsThis", Unauthorized),
        (400, "ExpiredToken", Unauthorized),
        (400, "RequestExpired", Unavailable),
        (400, "RequestTimeout", Unavailable),
        (400, "Throttling", Throttled),
        (503, "RequestLimitExceeded", Throttled),
        (400, "LimitExceededException", Throttled),
        (429, "NobodyKnowsThis", Throttled),
        (500, "InternalError", Unavailable),
        (503, "Unavailable", Unavailable),
        (502, "NobodyKnowsThis", Unavailable),
    ] {
        let error = fail(AwsEc2, &create(), response(status, refusal(code, "Some words.")));
        assert_eq!(error.kind, kind, "{code}");
        let effect = if kind == Unavailable && code != "RequestExpired" {
            Effect::Unknown
        } else {
            Effect::None
        };
        assert_eq!(error.effect, effect, "{code}");
        assert_eq!(error.code.as_deref(), Some(code));
        assert_eq!(error.request_id.as_deref(), Some("4f1d2c3b"), "{code}");
        assert!(!error.message.is_empty(), "{code}");
    }
    let error = fail(
        AwsEc2,
        &delete(),
        response(403, refusal("UnauthorizedOperation", "No.")),
    );
    assert!(error.message.contains("ec2:DeleteKeyPair:"), "{}", error.message);
    let mut context = context();
    context.settings.insert("tags".to_owned(), json!({"team": "web"}));
    let sent = send(AwsEc2, &import(), &context);
    let reply = response(403, refusal("UnauthorizedOperation", "No."));
    match step(AwsEc2, &import(), &context, sent.state, Some(reply)) {
        Step::Fail(fail) => {
            let message = fail.error.message;
            assert!(
                message.contains("ec2:ImportKeyPair, or ec2:CreateTags"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_expired_with_a_token_wants_another_token() {
    let mut context = context();
    context.credential_fields.push("session_token".to_owned());
    let sent = send(AwsEc2, &list(), &context);
    let reply = response(400, refusal("RequestExpired", "Request has expired."));
    match step(AwsEc2, &list(), &context, sent.state, Some(reply)) {
        Step::Fail(fail) => assert_eq!(fail.error.kind, ErrorKind::Unauthorized),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_is_not_the_vendors_is_no_success() {
    let unfinished = "<CreateKeyPairResponse><keyName>web";
    let billion = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><CreateKeyPairResponse>&b;</CreateKeyPairResponse>";
    for body in [
        "",
        "<",
        unfinished,
        billion,
        "{\"keyName\":\"web\"}",
        "<html><body>Log in</body></html>",
        &xml("DescribeKeyPairsResponse", "<keySet/>"),
        &xml("CreateKeyPairResponse", ""),
        &xml("CreateKeyPairResponse", "<keyName/>"),
        &xml("CreateKeyPairResponse", "<keyName>other</keyName>"),
    ] {
        let error = fail(AwsEc2, &create(), replied(200, body, &["private_key"]));
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Internal, Effect::Unknown),
            "{body}"
        );
    }
    let no_key = response(200, xml("CreateKeyPairResponse", "<keyName>web</keyName>"));
    let error = fail(AwsEc2, &create(), no_key);
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
    assert_eq!(error.message, "the answer holds no private key");
    let error = fail(
        AwsEc2,
        &list(),
        response(200, xml("DescribeKeyPairsResponse", "")),
    );
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::None));
    let deep = "<a>".repeat(200_000);
    assert_eq!(
        fail(AwsEc2, &list(), response(200, deep)).kind,
        ErrorKind::Internal
    );
    assert_eq!(
        fail(AwsEc2, &create(), response(502, "<html>")).kind,
        ErrorKind::Unavailable
    );
}

#[test]
fn a_lost_answer_may_have_had_an_effect() {
    for (operation, effect) in [
        (create(), Effect::Unknown),
        (import(), Effect::Unknown),
        (delete(), Effect::Unknown),
        (list(), Effect::None),
        (get(), Effect::None),
    ] {
        let error = fail(AwsEc2, &operation, lost(true));
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, effect));
        assert_eq!(fail(AwsEc2, &operation, lost(false)).effect, Effect::None);
    }
}

#[test]
fn the_vendors_wait_is_kept() {
    let reply = Reply::Response(Response {
        status: 503,
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        body: refusal("RequestLimitExceeded", ""),
        captured: Vec::new(),
    });
    assert_eq!(fail(AwsEc2, &create(), reply).retry_after_ms, Some(7000));
}

#[test]
fn five_thousand_pairs_are_read_at_once() {
    let fingerprint = "1f:".repeat(20);
    let item = |n| {
        format!(
            "<item><keyPairId>key-{n:017}</keyPairId><keyName>pair-{n}</keyName><keyType>rsa</keyType>\
             <keyFingerprint>{fingerprint}</keyFingerprint><createTime>2026-01-02T03:04:05.000Z</createTime></item>"
        )
    };
    let items: String = (0..5000).map(item).collect();
    let reply = response(
        200,
        xml("DescribeKeyPairsResponse", &format!("<keySet>{items}</keySet>")),
    );
    match outcome(finish(AwsEc2, &list(), reply)) {
        Outcome::Pairs(pairs) => assert_eq!((pairs.len(), &*pairs[4999].name), (5000, "pair-4999")),
        other => panic!("{other:?}"),
    }
}
