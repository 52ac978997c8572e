//! Failures leave nothing behind in the process that starts sandboxes. A test program of its own, since others would
//! open descriptors meanwhile.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use keyferry_hostile::Behaviour;
use keyferry_plugin::StepRequest;
use keyferry_plugin::contract::{Context, List, Operation};
use keyferry_sandbox::{Launch, Limits, Sandbox, library};

#[test]
#[cfg(target_os = "linux")]
fn neither_descriptors_nor_processes_are_left_over() {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().unwrap();
    let facts = library::inspect(&folder.join(library::file_name("hostile"))).unwrap();
    let launch = Launch {
        program: folder.parent().unwrap().join("examples/sandbox"),
        args: Vec::new(),
        env: Vec::new(),
    };
    let limits = Limits {
        start_time: Duration::from_secs(60),
        step_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let request = |behaviour: Behaviour| StepRequest {
        operation: Operation::List(List::default()),
        context: Context {
            settings: [("behaviour".to_owned(), behaviour.name().into())].into(),
            ..Context::default()
        },
        state: serde_json::Value::Null,
        reply: None,
    };
    let before = descriptors();
    for _ in 0..5 {
        let sandbox = Sandbox::start(launch.clone(), facts.clone(), limits).unwrap();
        for behaviour in [
            Behaviour::Abort,
            Behaviour::Exit,
            Behaviour::Garbage,
            Behaviour::Long,
            Behaviour::Sleep,
        ] {
            assert!(sandbox.step(&request(behaviour)).is_err());
        }
    }
    assert_eq!(descriptors(), before);
    assert_eq!(children(), Vec::<String>::new());
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Processes whose parent we are, zombies included.
fn children() -> Vec<String> {
    let us = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&us))
        .collect()
}
