use super::*;
use keyferry_engine::snapshot::{AfterReboot, PairsLeft, Timestamp};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

pub(in crate::rotation) fn host(
    name: &str,
    state: HostCondition,
    generation: Option<u64>,
    retry_in: Option<u64>,
) -> HostStatus {
    let error = matches!(state, HostCondition::Failed | HostCondition::Blocked).then(|| StatusError {
        kind: "file".to_owned(),
        code: None,
        message: format!("{name} is read-only"),
        request_id: None,
        remedy: Some("mount it".to_owned()),
        retry_at: retry_in.map(|seconds| Timestamp(now() + Duration::from_secs(seconds))),
    });
    HostStatus {
        host: name.to_owned(),
        state,
        generation,
        verified_at: generation.map(|_| Timestamp(now())),
        lines: generation.into_iter().collect(),
        listed: true,
        after_reboot: AfterReboot::Maybe,
        error,
    }
}

pub(in crate::rotation) fn snapshot(active: u64, staged: Option<u64>, hosts: Vec<HostStatus>) -> Snapshot {
    Snapshot {
        keys: vec![KeyStatus {
            name: "web".to_owned(),
            account: Some("aliyun".to_owned()),
            generation: Some(active),
            state: KeyState::Loaded,
            algorithm: None,
            fingerprint: None,
            public_key: None,
            error: None,
            asked: None,
            drift: None,
            regions: Vec::new(),
            rotation: Some(RotationStatus {
                active: Some(active),
                staged,
                ..RotationStatus::default()
            }),
            hosts,
            exec: None,
        }],
        ..Snapshot::default()
    }
}

pub(in crate::rotation) fn asked() -> RotationAsked {
    RotationAsked {
        key: "web".to_owned(),
        from: 3,
        waiting: None,
    }
}

#[track_caller]
fn check(snapshot: &Snapshot, expected: Course) {
    assert_eq!(of(&asked(), snapshot, now(), now()), expected);
}

use HostCondition::{Blocked, Failed, Forgotten, Lost, Parked, Pending, Placing, Verified};

#[test]
fn it_is_done_when_every_host_in_reach_has_the_new_one() {
    let hosts = |last: HostStatus| vec![host("a", Verified, Some(4), None), last];
    let at = |last: HostStatus| snapshot(4, None, hosts(last));
    check(&at(host("b", Verified, Some(4), None)), Course::Done);
    check(&at(host("b", Parked, Some(3), None)), Course::Done);
    check(&at(host("b", Forgotten, None, None)), Course::Done);
    check(&at(host("b", Pending, Some(3), None)), Course::UnderWay);
    check(&at(host("b", Placing, Some(3), None)), Course::UnderWay);
}

#[test]
fn the_old_one_is_not_taken_for_the_new() {
    let hosts = || vec![host("a", Verified, Some(3), None)];
    check(&snapshot(3, None, hosts()), Course::UnderWay);
    check(&snapshot(3, Some(4), hosts()), Course::UnderWay);
    // Verified everywhere, and not offered yet.
    let hosts = vec![host("a", Verified, Some(4), None)];
    check(&snapshot(3, Some(4), hosts), Course::UnderWay);
}

#[test]
fn it_is_stuck_where_only_somebody_else_helps() {
    let with = |last: HostStatus| snapshot(4, None, vec![host("a", Verified, Some(4), None), last]);
    check(&with(host("b", Blocked, Some(3), None)), Course::Stuck);
    check(&with(host("b", Lost, None, None)), Course::Stuck);
    check(&with(host("b", Failed, Some(3), Some(60))), Course::Stuck);
    check(&with(host("b", Failed, Some(3), None)), Course::Stuck);
    check(&with(host("b", Failed, Some(3), Some(4))), Course::UnderWay);
    // Others go on meanwhile.
    let hosts = vec![
        host("a", Placing, Some(3), None),
        host("b", Blocked, Some(3), None),
    ];
    check(&snapshot(4, None, hosts), Course::UnderWay);
    // The canary is read-only; the others wait for it.
    let hosts = vec![
        host("a", Failed, Some(3), None),
        host("b", Verified, Some(3), None),
    ];
    check(&snapshot(3, Some(4), hosts), Course::Stuck);
    // Nobody can see whether it logs in.
    check(
        &snapshot(3, Some(4), vec![host("a", Parked, Some(3), None)]),
        Course::Stuck,
    );
    check(&Snapshot::default(), Course::Stuck);
}

#[test]
fn a_host_that_is_busy_for_another_key_is_waited_for() {
    let blocked = host("b", Blocked, Some(3), None);
    let mut all = snapshot(4, None, vec![host("a", Pending, Some(3), None), blocked]);
    check(&all, Course::Stuck);
    let mut other = snapshot(1, None, vec![host("a", Placing, None, None)]);
    all.keys.extend(other.keys.drain(..).map(|mut key| {
        key.name = "other".to_owned();
        key
    }));
    check(&all, Course::UnderWay);
}

#[test]
fn what_keeps_the_next_generation_from_being_made_ends_the_wait() {
    let with = |state: HostCondition, waiting: Option<&str>, retry_in: Option<u64>| {
        let mut snapshot = snapshot(3, None, vec![host("a", state, Some(3), None)]);
        let key = &mut snapshot.keys[0];
        key.error = host("x", Failed, None, retry_in).error;
        key.rotation.as_mut().unwrap().waiting = waiting.map(str::to_owned);
        snapshot
    };
    let why = Some("three generations are in use");
    check(&with(Verified, why, Some(600)), Course::Stuck);
    check(&with(Verified, why, None), Course::Stuck);
    check(&with(Verified, why, Some(3)), Course::UnderWay);
    check(&with(Verified, None, None), Course::UnderWay);
    // The present one is brought to its hosts first.
    check(&with(Placing, why, None), Course::UnderWay);
    check(&with(Pending, why, None), Course::UnderWay);
    let mut held = snapshot(3, None, Vec::new());
    held.keys[0].state = KeyState::Held;
    check(&held, Course::Stuck);
    let mut retiring = snapshot(3, Some(4), Vec::new());
    retiring.keys[0].rotation.as_mut().unwrap().retiring = true;
    check(&retiring, Course::Stuck);
}

#[test]
fn what_goes_on_by_itself_within_the_wait_is_waited_for() {
    let mut snapshot = snapshot(3, None, vec![host("a", Verified, Some(3), None)]);
    let after = |seconds: u64| now() + Duration::from_secs(seconds);
    let rotation = snapshot.keys[0].rotation.as_mut().unwrap();
    rotation.waiting = Some("three generations are in use".to_owned());
    assert_eq!(of(&asked(), &snapshot, now(), after(600)), Course::Stuck);
    for (goes_on_in, wait, expected) in [
        (0, 0, Course::UnderWay),
        (600, 600, Course::UnderWay),
        (601, 600, Course::Stuck),
    ] {
        let rotation = snapshot.keys[0].rotation.as_mut().unwrap();
        rotation.goes_on_at = Some(Timestamp(after(goes_on_in)));
        assert_eq!(
            of(&asked(), &snapshot, now(), after(wait)),
            expected,
            "{goes_on_in} of {wait}"
        );
    }
}

#[test]
fn a_key_is_retired_when_no_line_of_it_is_left() {
    let retiring = |states: &[(HostCondition, &[u64])], waiting: Option<&str>| {
        let hosts = states
            .iter()
            .zip(["a", "b"])
            .map(|((state, lines), name)| HostStatus {
                lines: lines.to_vec(),
                ..host(name, *state, Some(3), None)
            });
        let mut snapshot = snapshot(3, None, hosts.collect());
        snapshot.keys[0].rotation = Some(RotationStatus {
            active: Some(3),
            retiring: true,
            waiting: waiting.map(str::to_owned),
            ..RotationStatus::default()
        });
        of_retirement("web", &snapshot, now())
    };
    assert_eq!(
        retiring(&[(Placing, &[3]), (Verified, &[3])], None),
        Course::UnderWay
    );
    assert_eq!(retiring(&[(Verified, &[3])], None), Course::UnderWay);
    assert_eq!(
        retiring(&[(Verified, &[3])], Some("the only way in")),
        Course::Stuck
    );
    assert_eq!(
        retiring(&[(Placing, &[3]), (Verified, &[3])], Some("the only way in")),
        Course::UnderWay
    );
    assert_eq!(retiring(&[(Parked, &[3]), (Blocked, &[3])], None), Course::Stuck);
    assert_eq!(
        retiring(&[(Verified, &[]), (Forgotten, &[3])], None),
        Course::Done
    );
    assert_eq!(of_retirement("web", &Snapshot::default(), now()), Course::Done);
}

#[test]
fn a_key_is_retired_when_no_pair_of_it_is_left_either() {
    let retiring = |change: fn(&mut RotationStatus)| {
        let mut snapshot = snapshot(3, None, vec![host("a", Forgotten, Some(3), None)]);
        let mut rotation = RotationStatus {
            retiring: true,
            pairs: Some(PairsLeft {
                count: 1,
                kept: false,
            }),
            ..RotationStatus::default()
        };
        change(&mut rotation);
        snapshot.keys[0].rotation = Some(rotation);
        of_retirement("web", &snapshot, now())
    };
    assert_eq!(retiring(|_| {}), Course::UnderWay);
    assert_eq!(retiring(|rotation| rotation.pairs = None), Course::Done);
    assert_eq!(retiring(|rotation| rotation.retiring = false), Course::Stuck);
    let called_off = |rotation: &mut RotationStatus| *rotation = RotationStatus::default();
    assert_eq!(retiring(called_off), Course::Stuck);
    let kept = |rotation: &mut RotationStatus| rotation.pairs = Some(PairsLeft { count: 1, kept: true });
    assert_eq!(retiring(kept), Course::Stuck);
}

#[test]
fn a_rotation_that_the_lock_of_the_agent_keeps_is_not_waited_for() {
    let hosts = vec![host("web-1", HostCondition::Pending, Some(1), None)];
    let mut snapshot = snapshot(1, Some(2), hosts);
    assert_eq!(of(&asked(), &snapshot, now(), now()), Course::UnderWay);
    if let Some(rotation) = &mut snapshot.keys[0].rotation {
        rotation.waiting = Some(keyferry_engine::snapshot::LOCKED.to_owned());
    }
    assert_eq!(of(&asked(), &snapshot, now(), now()), Course::Stuck);
}
