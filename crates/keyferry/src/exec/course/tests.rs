//! When a command is started, and when not.

use keyferry_engine::snapshot::{AfterReboot, ExecStatus, RotationStatus, Timestamp};

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

fn error(kind: &str, retry_after: Option<u64>) -> StatusError {
    StatusError {
        kind: kind.to_owned(),
        code: None,
        message: format!("it is {kind}"),
        request_id: None,
        remedy: None,
        retry_at: retry_after.map(|seconds| Timestamp(now() + Duration::from_secs(seconds))),
    }
}

fn host(name: &str, state: HostCondition, error: Option<StatusError>) -> HostStatus {
    HostStatus {
        host: name.to_owned(),
        state,
        generation: None,
        verified_at: None,
        lines: Vec::new(),
        listed: true,
        after_reboot: AfterReboot::Maybe,
        error,
    }
}

fn key(state: KeyState, error: Option<StatusError>, hosts: Vec<HostStatus>) -> KeyStatus {
    KeyStatus {
        name: "web-exec-1".to_owned(),
        account: None,
        generation: (state == KeyState::Loaded).then_some(4),
        state,
        algorithm: None,
        fingerprint: None,
        public_key: None,
        error,
        asked: None,
        drift: None,
        regions: Vec::new(),
        rotation: (!hosts.is_empty()).then(RotationStatus::default),
        hosts,
        exec: Some(ExecStatus {
            after: "web".to_owned(),
            ends_at: Timestamp(now() + Duration::from_secs(3_600)),
            ending: false,
        }),
    }
}

fn ready(left_out: &[&str]) -> Course {
    Course::Ready {
        generation: 4,
        left_out: left_out.iter().map(|&host| host.to_owned()).collect(),
    }
}

#[track_caller]
fn check(key: &KeyStatus, is_over: bool, all_hosts: bool, expected: &Course) {
    assert_eq!(of(Some(key), is_over, all_hosts, now()), *expected);
}

/// The words of a key that does not get there.
#[track_caller]
fn stuck(key: Option<&KeyStatus>, is_over: bool, all_hosts: bool) -> String {
    match of(key, is_over, all_hosts, now()) {
        Course::Stuck(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_without_hosts_is_ready_when_it_is_loaded() {
    check(
        &key(KeyState::Creating, None, vec![]),
        false,
        false,
        &Course::UnderWay,
    );
    check(&key(KeyState::Loaded, None, vec![]), false, true, &ready(&[]));
    let late = key(KeyState::Creating, Some(error("lost", Some(2))), vec![]);
    assert_eq!(
        stuck(Some(&late), true, false),
        "its key was not made in time: it is lost"
    );
}

#[test]
fn one_that_cannot_be_made_is_not_waited_for() {
    let near = key(KeyState::Failed, Some(error("throttled", Some(2))), vec![]);
    check(&near, false, false, &Course::UnderWay);
    for retry in [Some(60), None] {
        let far = key(KeyState::Failed, Some(error("quota", retry)), vec![]);
        let why = stuck(Some(&far), false, false);
        assert_eq!(why, "its key could not be made: it is quota");
    }
    let gone = "its key was taken away before it was ready";
    assert_eq!(stuck(None, false, false), gone);
    let mut ending = key(KeyState::Loaded, None, vec![]);
    ending.exec.as_mut().unwrap().ending = true;
    assert_eq!(stuck(Some(&ending), false, false), gone);
}

#[test]
fn hosts_that_do_not_get_there_are_named_and_done_without() {
    let with = |state: HostCondition, error: Option<StatusError>| {
        let verified = host("web-1", HostCondition::Verified, None);
        key(
            KeyState::Loaded,
            None,
            vec![verified, host("web-2", state, error)],
        )
    };
    check(
        &with(HostCondition::Placing, None),
        false,
        false,
        &Course::UnderWay,
    );
    for state in [HostCondition::Verified, HostCondition::Forgotten] {
        check(&with(state, None), false, true, &ready(&[]));
    }
    // Another key did not get there: this one was not tried yet.
    let parked = |retry| with(HostCondition::Parked, Some(error("unreachable", retry)));
    check(&parked(None), false, false, &Course::UnderWay);
    check(
        &parked(Some(3)),
        false,
        false,
        &ready(&["web-2: it is unreachable"]),
    );
    check(&parked(Some(3)), false, true, &Course::UnderWay);
    assert_eq!(
        stuck(Some(&parked(Some(3))), true, true),
        "its key was not seen to log in at each of its hosts:\n  web-2: it is unreachable"
    );
    let failed = |retry| with(HostCondition::Failed, Some(error("refused", retry)));
    check(&failed(Some(3)), false, false, &Course::UnderWay);
    for retry in [Some(30), None] {
        check(&failed(retry), false, false, &ready(&["web-2: it is refused"]));
    }
    assert!(stuck(Some(&failed(None)), false, true).contains("each of its hosts"));
    let slow = with(HostCondition::Pending, None);
    check(&slow, false, false, &Course::UnderWay);
    check(
        &slow,
        true,
        false,
        &ready(&["web-2: it takes too long (pending)"]),
    );
}

#[test]
fn without_any_host_there_is_no_command() {
    let alone = |state: HostCondition, error: StatusError| {
        key(KeyState::Loaded, None, vec![host("web-1", state, Some(error))])
    };
    let parked = alone(HostCondition::Parked, error("unreachable", Some(30)));
    check(&parked, false, false, &Course::UnderWay);
    assert_eq!(
        stuck(Some(&parked), true, false),
        "its key was not seen to log in at any of its hosts:\n  web-1: it is unreachable"
    );
    let person = alone(HostCondition::Failed, error("needs_person", None));
    assert!(stuck(Some(&person), false, false).contains("any of its hosts"));
    let mut unknown = key(KeyState::Loaded, Some(error("host_list", Some(1))), vec![]);
    unknown.rotation = Some(RotationStatus::default());
    check(&unknown, false, false, &Course::UnderWay);
    assert_eq!(
        stuck(Some(&unknown), true, false),
        "key web has no host, or none is known: it is host_list"
    );
}

#[test]
fn a_lock_of_the_agent_is_named() {
    let mut key = key(
        KeyState::Loaded,
        None,
        vec![host("web-1", HostCondition::Pending, None)],
    );
    key.rotation = Some(RotationStatus {
        waiting: Some(LOCKED.to_owned()),
        ..RotationStatus::default()
    });
    let Course::Stuck(why) = of(Some(&key), false, false, now()) else {
        panic!("nothing happens before it is unlocked")
    };
    assert!(why.starts_with(LOCKED), "{why}");
}
