//! The example of the crate's documentation does what it says.

#[path = "../examples/pebble.rs"]
#[expect(unreachable_pub, reason = "it is a library of its own")]
mod pebble;

use keyferry_plugin::contract::{
    Context, Effect, ErrorKind, FailStep, Import, Operation, Outcome, Reply, Response, Step, StepRequest,
};
use keyferry_plugin::export::answer;
use keyferry_plugin::recipe::{Expr, HttpRequest};
use serde_json::Value;

fn step(reply: Option<Reply>) -> Step {
    let operation = Operation::Import(Import {
        name: "web".to_owned(),
        public_key: "ssh-ed25519 AAAA".to_owned(),
    });
    let request = StepRequest {
        operation,
        context: Context::default(),
        state: Value::Null,
        reply,
    };
    let request = serde_json::to_vec(&request).expect("requests have a JSON form");
    serde_json::from_slice(&answer(|| pebble::Pebble, &request)).expect("an answer is a step")
}

fn response(status: u16, body: &str) -> Option<Reply> {
    let body = body.to_owned();
    Some(Reply::Response(Response {
        status,
        headers: Vec::new(),
        body,
        captured: Vec::new(),
    }))
}

#[test]
fn it_sends_a_request() {
    let Step::Http(sent) = step(None) else {
        panic!("no request")
    };
    let expected = HttpRequest::new("POST", "https://keys.pebble.example", "/keys")
        .with_query("name", "web")
        .with_query("public_key", "ssh-ed25519 AAAA")
        .with_header("x-pebble-token", Expr::secret("token"));
    assert_eq!(sent.request, expected);
}

#[test]
fn it_reads_the_answer() {
    let Step::Done(done) = step(response(201, "{\"fingerprint\":\"SHA256:x\"}")) else {
        panic!("not done")
    };
    let Outcome::Pair(pair) = done.outcome else {
        panic!("no pair")
    };
    assert_eq!(
        (&*pair.name, pair.fingerprint.as_deref()),
        ("web", Some("SHA256:x"))
    );

    for (status, kind, effect) in [
        (409, ErrorKind::AlreadyExists, Effect::None),
        (401, ErrorKind::Unauthorized, Effect::None),
        (201, ErrorKind::Internal, Effect::Unknown),
    ] {
        let Step::Fail(FailStep { error }) = step(response(status, "{}")) else {
            panic!("no failure")
        };
        assert_eq!((error.kind, error.effect), (kind, effect), "{status}");
    }
}
