//! The commands about rotations and hosts: what they do, what they say, and what they refuse.

use std::process::Output;

use cloud_sim::{CloudSim, Fault, FaultKind, Service};
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::fleet::{Fleet, Shell};
use keyferry_tests::home::Home;
use serde_json::Value;

use crate::program::{KEY, keyferry, text};

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(daemon: &Daemon, arguments: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = daemon.keyferry(arguments);
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).expect("text is UTF-8"),
        stderr: String::from_utf8(stderr).expect("text is UTF-8"),
    }
}

#[track_caller]
fn succeeds(daemon: &Daemon, arguments: &[&str], words: &[&str]) -> String {
    let ran = run(daemon, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(
            ran.stdout.contains(word),
            "{arguments:?}: no {word:?} in {}",
            ran.stdout
        );
    }
    ran.stdout
}

#[track_caller]
fn refuses(daemon: &Daemon, arguments: &[&str], code: i32, words: &[&str]) {
    let ran = run(daemon, arguments);
    assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(
            ran.stderr.contains(word),
            "{arguments:?}: no {word:?} in {}",
            ran.stderr
        );
    }
}

#[track_caller]
fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let text = succeeds(daemon, arguments, &[]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

fn start(cloud: &CloudSim) -> (Home, Daemon) {
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", KEY);
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(30);
    (home, daemon)
}

#[test]
fn what_cannot_be_done_is_refused_with_the_way_out() {
    let cloud = keyferry_tests::cloud();
    let (_home, daemon) = start(&cloud);
    refuses(
        &daemon,
        &["rotate", "web"],
        1,
        &["has no hosts", "keys/web.toml", "hosts ="],
    );
    refuses(
        &daemon,
        &["rotate", "wbe"],
        1,
        &["no key named wbe", "did you mean `web`?"],
    );
    refuses(&daemon, &["rotate", "web", "--wait=soon"], 2, &["--wait"]);
    refuses(&daemon, &["rotate"], 2, &["KEY"]);
    refuses(&daemon, &["rollback", "web"], 1, &["nothing to go back to"]);
    let time = ["rotate", "web", "--wait", "60"];
    refuses(&daemon, &time, 1, &["no key named 60", "--wait=60"]);
    refuses(&daemon, &["rollback", "wbe"], 1, &["no key named wbe"]);
    refuses(&daemon, &["plan", "wbe"], 1, &["no key named wbe"]);
    refuses(&daemon, &["retire", "web"], 2, &["nobody to ask", "--yes"]);
    refuses(&daemon, &["retire", "wbe", "--yes"], 1, &["no key named wbe"]);
    refuses(
        &daemon,
        &["retire", "web", "--yes", "--accept-loss", "web-1"],
        1,
        &["web-1 is neither a host of key web"],
    );
    refuses(
        &daemon,
        &["hold", "web", "--until", "tomorrow"],
        2,
        &["3d", "2026-12-01"],
    );
    refuses(
        &daemon,
        &["hold", "web", "--until", "2020-01-01"],
        1,
        &["2020-01-01", "is over"],
    );
    refuses(&daemon, &["history", "--since", "x"], 2, &["3d"]);
    refuses(
        &daemon,
        &["history", "wbe"],
        1,
        &["no key wbe", "did you mean `web`?"],
    );
    for command in ["trust", "forget", "retry"] {
        refuses(&daemon, &["host", command, "web-1"], 1, &["no host web-1"]);
    }
    succeeds(&daemon, &["host", "retry"], &["nothing to try again"]);
    succeeds(&daemon, &["host", "list"], &["no hosts yet"]);
    assert_eq!(
        json(&daemon, &["host", "list", "--json"]),
        Value::Array(Vec::new())
    );
    succeeds(&daemon, &["plan"], &["nothing to do: web"]);
}

#[test]
fn a_hold_is_shown_and_ended() {
    let cloud = keyferry_tests::cloud();
    let (_home, daemon) = start(&cloud);
    succeeds(
        &daemon,
        &["hold", "web", "--until", "3d", "--reason", "change freeze"],
        &["on hold until", "in 2 days", "web"],
    );
    let held = find(&daemon.status(), "web");
    assert_eq!(held["state"], "loaded", "it signs on");
    assert_eq!(held["rotation"]["paused"]["reason"], "change freeze");
    succeeds(
        &daemon,
        &["status"],
        &["web: ", "on hold until", "(change freeze)"],
    );
    succeeds(
        &daemon,
        &["history", "web"],
        &["put on hold until", "change freeze"],
    );
    succeeds(&daemon, &["resume"], &["resumed: web"]);
    assert!(find(&daemon.status(), "web")["rotation"].is_null());
}

#[test]
fn a_retired_key_goes_with_its_pair() {
    let cloud = keyferry_tests::cloud();
    let (_home, daemon) = start(&cloud);
    assert_eq!(cloud.pairs(Service::AlibabaEcs).len(), 1);
    // The provider is out of order for a moment: that is waited for too.
    cloud.fault(
        Fault::new(FaultKind::Unavailable)
            .action("DeleteKeyPairs")
            .count(1),
    );
    succeeds(
        &daemon,
        &["retire", "web", "--yes", "--wait=30"],
        &["key web", "its pairs are deleted", "keys/web.toml"],
    );
    assert!(cloud.pairs(Service::AlibabaEcs).is_empty());
}

#[test]
fn the_history_is_read_without_a_daemon_too() {
    let cloud = keyferry_tests::cloud();
    let (home, mut daemon) = start(&cloud);
    let words = ["TIME", "its public half was registered", "came into the agent"];
    let from_daemon = succeeds(&daemon, &["history"], &words);
    let entries = json(&daemon, &["history", "web", "--json"]);
    assert_eq!(entries["left_out"], 0);
    assert_eq!(entries["entries"][0]["what"], "import");
    assert_eq!(entries["entries"][0]["outcome"], "done");
    assert_eq!(entries["entries"][0]["key"], "web");
    let none = json(&daemon, &["history", "--since", "2100-01-01", "--json"]);
    assert_eq!(none["entries"], Value::Array(Vec::new()));
    daemon.stop();
    let (run, state) = (text(&home.path("run")), text(&home.path("state")));
    let ran = keyferry(home.root(), &["history", "--runtime", &run, "--state", &state]);
    assert_eq!((ran.code, ran.stdout), (0, from_daemon), "{}", ran.stderr);
    let nowhere = text(&home.path("nowhere"));
    let ran = keyferry(home.root(), &["history", "--runtime", &run, "--state", &nowhere]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stderr.contains(&nowhere), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no ledger"), "{}", ran.stderr);
}

#[test]
fn a_rotation_is_planned_watched_undone_and_told() {
    let cloud = keyferry_tests::cloud();
    let fleet = Fleet::of_shells(&[Shell::Dash, Shell::Bash]);
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    let config = text(&fleet.ssh_config());
    let told = home.path("events");
    home.write(
        "keyferry.toml",
        &format!(
            "on_event = [\"tee\", \"-a\", \"{}\"]\n[ssh]\ncommand = [\"ssh\", \"-F\", \"{config}\"]\n",
            text(&told)
        ),
    );
    let hosts = "hosts = [\"web-1\", \"web-2\"]\n[rotate]\nevery = \"30d\"\ngrace = \"1d\"\n";
    home.key("web", &format!("{KEY}{hosts}"));
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(30);

    // Asked before the first generation is verified everywhere: the command waits for both.
    let rotated = succeeds(
        &daemon,
        &["rotate", "web", "--wait=60"],
        &[
            "key web: generation 2 is offered now, verified on 2 hosts",
            "the earlier generation stays on its hosts until",
        ],
    );
    assert!(!rotated.contains("what to do"), "{rotated}");
    let status = succeeds(
        &daemon,
        &["status"],
        &[
            "web: 2 hosts verified",
            "earlier generation 1 not gone yet",
            "next rotation in 2",
            "after a restart of this machine: your own ssh setup may log in at web-1, web-2",
        ],
    );
    assert!(!status.contains("\x1b["), "{status}");
    succeeds(
        &daemon,
        &["host", "list"],
        &["web-1", "web-2", "verified", "maybe"],
    );
    let listed = json(&daemon, &["host", "list", "--json"]);
    assert_eq!(listed[0]["generation"], 2);
    assert_eq!(listed[0]["key"], "web");

    succeeds(
        &daemon,
        &["plan", "web"],
        &["take the line of generation 1 off web-1, web-2"],
    );
    let plan = json(&daemon, &["plan", "--json"]);
    assert_eq!(plan[0]["key"], "web");

    // A host that is down holds nobody up.
    fleet.host("web-2").stop();
    let rotated = json(&daemon, &["rotate", "web", "--wait=60", "--json"]);
    assert_eq!(rotated["asked"][0]["from"], 2);
    assert_eq!(rotated["keys"][0]["rotation"]["active"], 3);
    assert_eq!(rotated["keys"][0]["hosts"][1]["state"], "parked");
    succeeds(
        &daemon,
        &["status"],
        &["web: 1 host verified, 1 parked (web-2, last login"],
    );
    fleet.host("web-2").start();
    succeeds(&daemon, &["host", "retry", "web-2"], &["tried again: web-2"]);
    keyferry_tests::wait::until("web-2 is verified", std::time::Duration::from_secs(30), || {
        let hosts = json(&daemon, &["host", "list", "--json"]);
        (hosts[1]["generation"] == 3).then_some(())
    });

    // Not a fourth beside three: the wait ends at once, since nothing will happen for a day.
    let fourth = run(&daemon, &["rotate", "web", "--wait=60"]);
    assert_eq!(fourth.code, 1, "{}", fourth.stdout);
    assert!(
        fourth.stdout.contains("3 generations of it are in use already"),
        "{}",
        fourth.stdout
    );
    assert!(!fourth.stderr.contains("the time is over"), "{}", fourth.stderr);
    succeeds(&daemon, &["rollback", "web"], &["called off"]);
    succeeds(
        &daemon,
        &["rollback", "web"],
        &["generation 2 is offered", "generation 3 is given up"],
    );
    assert_eq!(find(&daemon.status(), "web")["generation"], 2);

    succeeds(
        &daemon,
        &["history", "web", "--since", "1h"],
        &[
            "its line was put on web-1",
            "was last seen to log in at web-2",
            "was offered from here on",
            "was superseded",
        ],
    );
    refuses(
        &daemon,
        &["host", "forget", "web-3"],
        1,
        &["no host web-3", "did you mean"],
    );
    succeeds(
        &daemon,
        &["host", "forget", "web-2"],
        &["given up: web-2", "gen=3"],
    );
    refuses(
        &daemon,
        &["host", "forget", "web-1"],
        1,
        &["only host of key web", "--force"],
    );
    succeeds(&daemon, &["status"], &["1 forgotten (web-2)"]);

    let events = std::fs::read_to_string(&told).expect("on_event was told");
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect();
    let mut seen = Vec::new();
    for event in &events {
        assert_eq!(event["key"], "web");
        let what = (
            event["event"].as_str(),
            event["generation"].as_u64(),
            event["host"].as_str(),
        );
        seen.push(what);
    }
    for expected in [
        (Some("generation_promoted"), Some(2), None),
        (Some("rotation_finished"), Some(2), None),
        (Some("host_parked"), Some(2), Some("web-2")),
        (Some("generation_promoted"), Some(3), None),
        (Some("host_reached"), Some(3), Some("web-2")),
    ] {
        assert!(seen.contains(&expected), "no {expected:?} in {seen:#?}");
    }
}
