//! Each way not to answer costs one clear error, and nothing else.

use std::time::{Duration, Instant};

use keyferry_hostile::{Behaviour, Rule};
use keyferry_sandbox::{Limits, Sandbox};

use crate::{assert_answers, create, failure, hostile, launch, list, patient};

/// The error's words for each behaviour that breaks [`Rule::Answer`].
fn expected(behaviour: Behaviour) -> &'static str {
    match behaviour {
        Behaviour::Abort | Behaviour::Recurse => "plugin hostile aborted",
        Behaviour::Allocate => "plugin hostile ran out of its 256 MiB of memory",
        Behaviour::Empty => "gave an answer that is not understood: it is empty",
        Behaviour::Exit => "ended its process instead of answering (exit status 0)",
        Behaviour::Garbage => "gave an answer that is not understood: it is not JSON",
        Behaviour::Long => "it has 5242880 bytes, at most 4194304 are read",
        Behaviour::Loop | Behaviour::Sleep => "plugin hostile did not answer within",
        Behaviour::Nested => "it is not a step (recursion limit exceeded",
        Behaviour::Segfault => "plugin hostile crashed (segmentation fault)",
        Behaviour::UnknownField => "it has the unknown field until",
        Behaviour::UnknownStep => "it is not a step (unknown variant `download`",
        Behaviour::WrongTypes => "it is not a step (invalid type: string \"soon\"",
        other => panic!("{other:?} has no words here"),
    }
}

#[test]
fn each_costs_one_error_and_the_next_step_works() {
    let behaviours: Vec<Behaviour> = Behaviour::ALL
        .iter()
        .copied()
        .filter(|behaviour| behaviour.rule() == Rule::Answer)
        .collect();
    assert!(behaviours.len() >= 14, "{behaviours:?}");
    for behaviour in behaviours {
        let hangs = matches!(behaviour, Behaviour::Loop | Behaviour::Sleep);
        let limits = Limits {
            step_time: Duration::from_secs(if hangs { 3 } else { 60 }),
            ..patient()
        };
        let sandbox = Sandbox::start(launch(), hostile(), limits).unwrap();
        let before = sandbox.process_id().unwrap();

        let error = sandbox.step(&list(behaviour)).unwrap_err();
        let words = error.to_string();
        assert!(words.contains(expected(behaviour)), "{behaviour:?}: {words}");
        assert!(!words.contains('\n') && words.len() < 1000, "{words}");
        assert!(!error.remedy().is_empty());
        assert_eq!(sandbox.process_id(), None, "{behaviour:?}");
        assert!(is_gone(before), "{behaviour:?}: process {before} was not reaped");

        assert_answers(&sandbox);
        assert_ne!(sandbox.process_id(), Some(before));
    }
}

#[test]
fn a_deadline_holds() {
    let limits = Limits {
        step_time: Duration::from_millis(300),
        ..patient()
    };
    let sandbox = Sandbox::start(launch(), hostile(), limits).unwrap();
    let begin = Instant::now();
    sandbox.step(&list(Behaviour::Sleep)).unwrap_err();
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_panic_is_an_error_of_the_plugin_and_its_process_lives() {
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    let before = sandbox.process_id();
    let message = failure(sandbox.step(&create(Behaviour::Panic)).unwrap());
    assert_eq!(message, "the plugin panicked: the plugin was asked to panic");
    assert_answers(&sandbox);
    assert_eq!(sandbox.process_id(), before);
}

#[test]
fn what_it_prints_harms_nobody() {
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    sandbox.step(&list(Behaviour::Print)).unwrap();
    assert_answers(&sandbox);
}

#[test]
fn several_threads_take_turns() {
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert_answers(&sandbox);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..3 {
                assert!(sandbox.step(&list(Behaviour::Abort)).is_err());
            }
        });
    });
}

#[test]
fn a_process_killed_between_two_steps_is_replaced_without_an_error() {
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    assert_answers(&sandbox);
    let before = sandbox.process_id().unwrap();
    kill(before);
    assert_answers(&sandbox);
    assert_ne!(sandbox.process_id(), Some(before));
    assert!(is_gone(before));
}

#[test]
fn a_dropped_sandbox_leaves_no_process() {
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    let process = sandbox.process_id().unwrap();
    assert!(!is_gone(process));
    drop(sandbox);
    assert!(is_gone(process));
}

fn kill(process: u32) {
    let pid = rustix::process::Pid::from_raw(process.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Neither running nor a zombie. (Another process may have got the id meanwhile, but not as our child.)
fn is_gone(process: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        return true;
    };
    let parent = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap();
    parent.parse() != Ok(std::process::id())
}
