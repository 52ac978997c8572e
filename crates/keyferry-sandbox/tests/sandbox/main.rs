//! The sandbox with real libraries in real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use keyferry_hostile::Behaviour;
use keyferry_plugin::contract::{Context, Create, ErrorKind, List, Operation};
use keyferry_plugin::{Step, StepRequest};
use keyferry_sandbox::{Launch, LibraryFacts, Limits, Sandbox, library};
use serde_json::Value;

mod c_library;
mod confinement;
mod loading;
mod misbehaviour;
mod plugin_in_c;

/// How the tests start the process: cargo builds the example along with the tests.
fn launch() -> Launch {
    let program = build_folder().join("examples/sandbox");
    assert!(
        program.exists(),
        "{} is missing: run the tests without choosing a target",
        program.display()
    );
    Launch {
        program,
        args: Vec::new(),
        env: Vec::new(),
    }
}

/// `target/debug`, or that of another profile.
fn build_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().parent().unwrap().to_owned()
}

/// The hostile plugin, which cargo builds as a dependency of the tests.
fn hostile() -> LibraryFacts {
    library::inspect(&build_folder().join("deps").join(library::file_name("hostile"))).unwrap()
}

/// Limits under which an honest step succeeds on a busy machine too.
fn patient() -> Limits {
    Limits {
        start_time: Duration::from_secs(60),
        step_time: Duration::from_secs(60),
        ..Limits::default()
    }
}

fn request(operation: Operation, behaviour: Behaviour) -> StepRequest {
    StepRequest {
        operation,
        context: Context {
            time: "2026-11-22T01:36:49Z".to_owned(),
            nonce: "0".repeat(32),
            idempotency_token: "0".repeat(32),
            settings: [("behaviour".to_owned(), Value::from(behaviour.name()))].into(),
            ..Context::default()
        },
        state: Value::Null,
        reply: None,
    }
}

fn list(behaviour: Behaviour) -> StepRequest {
    request(Operation::List(List::default()), behaviour)
}

fn create(behaviour: Behaviour) -> StepRequest {
    let create = Create {
        name: "web-1".to_owned(),
        algorithm: keyferry_plugin::contract::Algorithm::Rsa2048,
    };
    request(Operation::Create(create), behaviour)
}

/// An honest step, which every sandbox must still be good for.
#[track_caller]
fn assert_answers(sandbox: &Sandbox) {
    match sandbox.step(&list(Behaviour::None)) {
        Ok(Step::Http(step)) => assert_eq!(step.request.path, "/"),
        other => panic!("{other:?}"),
    }
}

/// The message of a step that fails with kind `internal`.
#[track_caller]
fn failure(step: Step) -> String {
    match step {
        Step::Fail(fail) => {
            assert_eq!(fail.error.kind, ErrorKind::Internal);
            fail.error.message
        }
        other => panic!("{other:?}"),
    }
}
