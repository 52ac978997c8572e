//! A whole run under strace(1), with every key and credential known, and a search for them where they must not be.
//!
//! Private halves of created keys are what the loopback cloud made. Those of imported keys are taken from the daemon's
//! memory (see `memory.rs`). The same search finds keys that were planted in every way that it looks at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cloud_sim::{Fault, FaultKind};
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::{cloud, openssh, processes, wait};

use crate::needles::Needles;
use crate::numbers;
use crate::planting::{plant, told_apart};
use crate::search::{find_imported, no_credential_in, on_disk, report, search};
use crate::trace::{Trace, recorder};
use crate::workstation::{CREDENTIALS, key_by_hand, log_in, prepare, use_keys};

#[test]
fn no_secret_is_written_passed_on_or_told() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this case needs root: it reads the memory of processes that are closed to their own user"
    );
    let home = Home::new();
    let cloud = cloud();
    prepare(&home, &cloud);
    let mut needles = Needles::default();
    needles.add_armour();
    for (secret, token) in CREDENTIALS {
        needles.add(&format!("the credential {secret}"), secret.as_bytes());
        if let Some(token) = token {
            needles.add(&format!("the credential {token}"), token.as_bytes());
        }
    }
    let by_hand = key_by_hand(&home, &mut needles);
    plant(&home, &mut needles);

    // The first life of the daemon: keys are made, used, taken away and given back, and one comes broken.
    // Not in the home: the daemon would see each line of its own recording change a folder that it watches.
    let recordings = tempfile::tempdir().unwrap();
    let recording = recordings.path().join("first");
    let mut first = start(&home, &recording, true);
    let listed = use_keys(&home, &first, &by_hand);
    find_imported(worker(&first), &listed, "of the first life", &mut needles);
    let broken = Fault::new(FaultKind::Malformed).action("CreateKeyPair").count(1);
    cloud.fault(broken);
    home.key("broken", "account = \"file\"\ngenerated_by = \"provider\"\n");
    wait::until("the broken answer is told", Duration::from_secs(30), || {
        let status = first.status();
        let keys = status["keys"].as_array()?.clone();
        keys.iter()
            .any(|key| key["name"] == "broken" && (key["error"].is_object() || key["generation"] == 2))
            .then_some(())
    });
    no_credential_in(worker(&first), &needles);
    let mut found = on_disk(&home, &needles);
    let log = stop(&mut first);
    fs::remove_file(home.path("config/keys/broken.toml")).unwrap();

    // The second: everything is lost, so that new keys are made and the old pairs deleted.
    let again = recordings.path().join("second");
    let mut second = start(&home, &again, false);
    let (_, status) = second.wait(60);
    for key in status["keys"].as_array().expect("keys is a list") {
        // One has no file any more, and so is not made again.
        let expected = match key["name"] == "broken" {
            true => "lost",
            false => "loaded",
        };
        assert_eq!(key["state"], expected, "{key:#}");
    }
    let relisted = openssh::listed(&home.agent_socket());
    log_in(&home.agent_socket(), &relisted);
    find_imported(worker(&second), &relisted, "of the second life", &mut needles);
    found.extend(on_disk(&home, &needles));
    let second_log = stop(&mut second);

    // A list is what no daemon of this version asks for by itself.
    let asked = recordings.path().join("asked");
    let (output, complaints) = ask_for_list(&home, &asked);

    // Every key that the cloud ever made, also those whose answers were broken.
    let created: Vec<_> = cloud.private_keys().iter().map(|pem| numbers::rsa(pem)).collect();
    assert!(created.len() >= 7, "{} keys were created", created.len());
    for (index, key) in created.iter().enumerate() {
        numbers::add_rsa(&mut needles, &format!("created key {index}"), key);
    }

    found.extend(on_disk(&home, &needles));
    for (name, log) in [("first", &log), ("second", &second_log)] {
        // No line of keyferry's is of a lower level, though all are asked for.
        assert!(log.contains("DEBUG"), "the log is not detailed: {log}");
        report(
            &mut found,
            &format!("the {name} log"),
            needles.find(log.as_bytes()),
        );
    }
    report(&mut found, "the output of a command", needles.find(&output));
    report(
        &mut found,
        "the complaints of a command",
        needles.find(&complaints),
    );
    let traces: Vec<Trace> = [recording, again, asked]
        .iter()
        .map(|file| Trace::read(file))
        .collect();
    for trace in &traces {
        search(trace, &needles, &mut found);
    }
    everything_was_recorded(&home, &traces);
    told_apart(&found);
}

/// Starts a daemon that logs everything and is recorded. What it was asked to plant is planted just before.
fn start(home: &Home, recording: &Path, planting: bool) -> Daemon {
    let mut wrapper = recorder(recording);
    if planting {
        let script = home.path("planted/plant.sh").display().to_string();
        wrapper.extend(["/bin/sh".to_owned(), script]);
    }
    let options = Options {
        wrapper,
        log: Some("trace".to_owned()),
        ..Options::default()
    };
    Daemon::start_with(home, &options)
}

/// The worker's process: the daemon is started by strace.
fn worker(daemon: &Daemon) -> u32 {
    let daemons: Vec<u32> = daemon
        .children()
        .iter()
        .filter(|process| process.arguments.iter().any(|argument| argument == "daemon"))
        .map(|process| process.pid)
        .collect();
    let [worker] = daemons[..] else {
        panic!("not one worker: {:?}", daemon.children())
    };
    worker
}

/// Ends the daemon, so that strace ends and the recording is whole. Its log.
fn stop(daemon: &mut Daemon) -> String {
    processes::terminate(worker(daemon));
    wait::until("the recording ends", Duration::from_secs(30), || {
        daemon.has_ended().then_some(())
    });
    daemon.log()
}

/// Runs `keyferry plugin request` for a list, recorded: what it wrote to standard output and standard error.
fn ask_for_list(home: &Home, recording: &Path) -> (Vec<u8>, Vec<u8>) {
    let words = recorder(recording);
    let output = Command::new(&words[0])
        .args(&words[1..])
        .arg(built().keyferry())
        .args([
            "plugin",
            "request",
            "alibaba-ecs",
            "--operation",
            "list",
            "--account",
        ])
        .arg(home.path("config/accounts/file.toml"))
        .env("KEYFERRY_LOG", "trace")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.stdout, output.stderr)
}

/// A search that finds nothing shows something only where there was something to search.
fn everything_was_recorded(home: &Home, traces: &[Trace]) {
    let [first, second, asked] = traces else {
        panic!("three recordings")
    };
    for trace in [first, second] {
        let files = trace.files();
        let ledger = files
            .iter()
            .filter(|(path, _)| path.starts_with(home.path("state")))
            .map(|(_, data)| data.len())
            .sum::<usize>();
        assert!(ledger > 10_000, "{ledger} bytes of a ledger: {:?}", files.keys());
        assert!(
            files.keys().any(|path| path.to_string_lossy().contains("public")),
            "{:?}",
            files.keys()
        );
    }
    for trace in traces {
        assert_eq!(trace.unseen, Vec::<String>::new());
        for path in &trace.mappings {
            // The ledger's index of its log: page numbers only, and written by no call.
            let name = path.to_string_lossy();
            assert!(name.ends_with("-shm"), "{name} is mapped for writing");
        }
        assert!(!trace.processes("courier").is_empty() && !trace.processes("sandbox").is_empty());
        for courier in trace.of_role("courier") {
            for variable in &courier.environment {
                assert!(
                    variable.starts_with(b"SSL_CERT_"),
                    "{}",
                    String::from_utf8_lossy(variable)
                );
            }
        }
        for sandbox in trace.of_role("sandbox") {
            assert_eq!(sandbox.environment, Vec::<Vec<u8>>::new());
        }
    }
    let mut operations = BTreeSet::new();
    for trace in traces {
        let messages = trace.plugin_messages();
        assert!(!messages.answers.is_empty());
        for frame in messages.frames() {
            let value: serde_json::Value = serde_json::from_slice(frame).unwrap();
            if let Some(operation) = value["operation"].as_object() {
                operations.extend(operation.keys().cloned());
            }
        }
    }
    let expected = ["create", "credentials", "delete", "get", "import", "list"].map(str::to_owned);
    assert!(
        operations.is_superset(&BTreeSet::from(expected)),
        "{operations:?}"
    );
    assert!(!asked.executions.is_empty());
}
