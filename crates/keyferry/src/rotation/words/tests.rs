use super::*;
use crate::rotation::course::tests::{asked as request, host, snapshot};
use keyferry_engine::snapshot::{Asked, PlanStep, Timestamp};
use std::time::Duration;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

fn later(seconds: u64) -> Option<Timestamp> {
    Some(Timestamp(now() + Duration::from_secs(seconds)))
}

use HostCondition::{Blocked, Parked, Placing, Verified};

#[test]
fn what_is_asked_and_what_is_under_way_are_told_apart() {
    let under_way = RotationAsked {
        key: "db".to_owned(),
        from: 1,
        waiting: Some("generation 2 has not been seen to log in at db-1 yet".to_owned()),
    };
    assert_eq!(
        asked(&[request(), under_way]),
        "key db: a rotation is under way: generation 2 has not been seen to log in at db-1 yet\nrotating: web\n  \
         `keyferry status` shows how it goes; with --wait this command waits for it"
    );
}

#[test]
fn progress_counts_hosts_and_names_those_in_work() {
    let asked = [request()];
    assert_eq!(
        progress(
            &asked,
            &snapshot(3, None, vec![host("a", Verified, Some(3), None)]),
            now()
        ),
        "web: making the next generation"
    );
    // A provider that takes long is named.
    let mut waiting = snapshot(3, None, vec![host("a", Verified, Some(3), None)]);
    let since = |seconds| Timestamp(now() - Duration::from_secs(seconds));
    for (seconds, words) in [
        (5, "web: making the next generation"),
        (
            25,
            "web: making the next generation; account aliyun was asked 25 seconds ago and has not answered yet",
        ),
    ] {
        waiting.keys[0].asked = Some(Asked {
            account: "aliyun".to_owned(),
            since: since(seconds),
        });
        assert_eq!(progress(&asked, &waiting, now()), words);
    }
    let hosts = vec![
        host("a", Verified, Some(4), None),
        host("b", Placing, Some(3), None),
        host("c", Verified, Some(3), None),
    ];
    assert_eq!(
        progress(&asked, &snapshot(4, None, hosts), now()),
        "web: generation 4 verified on 1 of 3; at b"
    );
}

#[test]
fn the_result_says_what_remains() {
    let hosts = vec![
        host("a", Verified, Some(4), None),
        host("b", Verified, Some(4), None),
        host("c", Parked, Some(3), None),
    ];
    let plan = KeyPlan {
        key: "web".to_owned(),
        steps: vec![PlanStep {
            what: "take_off".to_owned(),
            generation: Some(3),
            host: Some("a".to_owned()),
            why: "superseded".to_owned(),
            at: later(86_400),
        }],
        ..KeyPlan::default()
    };
    let mut plan = plan;
    for (what, generation) in [("generate", 5), ("take_off", 4)] {
        plan.steps.push(PlanStep {
            what: what.to_owned(),
            generation: Some(generation),
            at: later(30 * 86_400),
            ..plan.steps[0].clone()
        });
    }
    let text = result(
        &[request()],
        &snapshot(4, None, hosts),
        &[plan],
        now(),
        Style::Plain,
    );
    assert_eq!(
        text,
        "key web: generation 4 is offered now, verified on 2 hosts\n  \
         c cannot be reached: it keeps generation 3, which is offered to it alone\n  \
         the earlier generation stays on its hosts until 2026-11-23T03:36:49Z (in 24 hours)"
    );
}

#[test]
fn a_blocked_host_comes_with_what_to_do() {
    let hosts = vec![
        host("a", Verified, Some(4), None),
        host("b", Blocked, Some(3), None),
    ];
    let text = result(&[request()], &snapshot(4, None, hosts), &[], now(), Style::Plain);
    assert_eq!(
        text,
        "key web: generation 4 is offered now, verified on 1 host\n  b blocked: b is read-only\n    what to do: mount it"
    );
    let nothing = result(
        &[request()],
        &snapshot(3, None, Vec::new()),
        &[],
        now(),
        Style::Plain,
    );
    assert_eq!(nothing, "key web: no new generation yet");
}

#[test]
fn a_rollback_names_the_hosts_that_change() {
    let done = |from: Option<u64>, put_back: &[&str]| {
        rolled_back(&RolledBack {
            key: "web".to_owned(),
            from,
            to: 3,
            put_back: put_back.iter().map(|&host| host.to_owned()).collect(),
        })
    };
    assert!(done(None, &[]).contains("called off"));
    assert_eq!(
        done(Some(4), &["a", "b"]),
        "key web: generation 3 is offered; generation 4 is given up, and its lines and its pair go\n  \
         generation 3 had been taken off a, b and is put there again, over generation 4"
    );
}
