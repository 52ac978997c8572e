use keyferry_engine::snapshot::{AfterReboot, RotationStatus};

use super::*;

fn host(name: &str, state: HostCondition, generation: Option<u64>) -> HostStatus {
    HostStatus {
        host: name.to_owned(),
        state,
        generation,
        verified_at: None,
        lines: Vec::new(),
        listed: true,
        after_reboot: AfterReboot::Maybe,
        error: (state == HostCondition::Blocked).then(|| error("another host key answers")),
    }
}

fn error(message: &str) -> StatusError {
    StatusError {
        kind: "x".to_owned(),
        code: None,
        message: message.to_owned(),
        request_id: None,
        remedy: Some("look at it".to_owned()),
        retry_at: None,
    }
}

fn key(active: u64, staged: Option<u64>, earlier: &[u64], hosts: Vec<HostStatus>) -> KeyStatus {
    KeyStatus {
        name: "web".to_owned(),
        account: None,
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
            earlier: earlier.to_vec(),
            ..RotationStatus::default()
        }),
        hosts,
        exec: None,
    }
}

fn snapshot(key: KeyStatus) -> Snapshot {
    Snapshot {
        keys: vec![key],
        ..Snapshot::default()
    }
}

fn at() -> Timestamp {
    Timestamp::from_ms(1_795_318_609_000)
}

fn kinds(changes: &mut Changes, key: KeyStatus) -> Vec<(Kind, Option<u64>)> {
    let events = changes.to(&snapshot(key), at());
    events
        .into_iter()
        .map(|event| (event.event, event.generation))
        .collect()
}

use HostCondition::{Blocked, Failed, Lost, Parked, Placing, Verified};

#[test]
fn a_rotation_is_told_from_its_beginning_to_its_end() {
    let at_3 = || vec![host("a", Verified, Some(3)), host("b", Verified, Some(3))];
    let mut changes = Changes::since(&snapshot(key(3, None, &[], at_3())));
    assert_eq!(kinds(&mut changes, key(3, None, &[], at_3())), []);
    assert_eq!(
        kinds(&mut changes, key(3, Some(4), &[], at_3())),
        [(Kind::RotationBegun, Some(4))]
    );
    let half = vec![host("a", Verified, Some(4)), host("b", Placing, Some(3))];
    assert_eq!(
        kinds(&mut changes, key(4, None, &[3], half)),
        [(Kind::GenerationPromoted, Some(4))]
    );
    let at_4 = || vec![host("a", Verified, Some(4)), host("b", Verified, Some(4))];
    assert_eq!(
        kinds(&mut changes, key(4, None, &[3], at_4())),
        [(Kind::RotationFinished, Some(4))]
    );
    assert_eq!(
        kinds(&mut changes, key(4, None, &[], at_4())),
        [(Kind::GenerationEnded, Some(3))]
    );
    assert_eq!(kinds(&mut changes, key(4, None, &[], at_4())), []);
}

#[test]
fn a_parked_host_does_not_keep_a_rotation_from_ending() {
    let begin = vec![host("a", Placing, Some(3)), host("b", Parked, Some(3))];
    let mut changes = Changes::since(&snapshot(key(4, None, &[3], begin)));
    let end = vec![host("a", Verified, Some(4)), host("b", Parked, Some(3))];
    assert_eq!(
        kinds(&mut changes, key(4, None, &[3], end)),
        [(Kind::RotationFinished, Some(4))]
    );
}

#[test]
fn a_trouble_is_told_once_until_it_is_over() {
    let with = |state: HostCondition| key(3, None, &[], vec![host("a", state, Some(3))]);
    let mut changes = Changes::since(&snapshot(with(Verified)));
    let told = changes.to(&snapshot(with(Blocked)), at());
    assert_eq!(
        told,
        [Event {
            event: Kind::HostBlocked,
            at: at(),
            key: "web".to_owned(),
            generation: Some(3),
            host: Some("a".to_owned()),
            message: "a wants a person (key web): another host key answers".to_owned(),
            remedy: Some("look at it".to_owned()),
        }]
    );
    // A retry in between is nothing new.
    for state in [Placing, Failed, Blocked] {
        assert_eq!(kinds(&mut changes, with(state)), [], "{state:?}");
    }
    assert_eq!(kinds(&mut changes, with(Lost)), [(Kind::HostLost, Some(3))]);
    assert_eq!(
        kinds(&mut changes, with(Verified)),
        [(Kind::HostReached, Some(3))]
    );
    assert_eq!(kinds(&mut changes, with(Parked)), [(Kind::HostParked, Some(3))]);
    // What stands in the first snapshot is known.
    let mut changes = Changes::since(&snapshot(with(Blocked)));
    assert_eq!(kinds(&mut changes, with(Blocked)), []);
    assert_eq!(
        kinds(&mut changes, with(Verified)),
        [(Kind::HostReached, Some(3))]
    );
}

#[test]
fn a_key_that_fails_again_and_again_is_told_once() {
    let with = |state: KeyState| KeyStatus {
        state,
        error: (state == KeyState::Failed).then(|| error("the quota is used up")),
        ..key(3, None, &[], Vec::new())
    };
    let mut changes = Changes::since(&snapshot(with(KeyState::Pending)));
    let told = changes.to(&snapshot(with(KeyState::Failed)), at());
    assert_eq!(
        told[0].message,
        "key web: it could not be made: the quota is used up"
    );
    assert_eq!(told[0].remedy.as_deref(), Some("look at it"));
    assert_eq!(kinds(&mut changes, with(KeyState::Creating)), []);
    assert_eq!(kinds(&mut changes, with(KeyState::Failed)), []);
    assert_eq!(kinds(&mut changes, with(KeyState::Loaded)), []);
    assert_eq!(
        kinds(&mut changes, with(KeyState::Failed)),
        [(Kind::KeyFailed, Some(3))]
    );
    assert_eq!(
        kinds(&mut changes, with(KeyState::Lost)),
        [(Kind::KeyLost, Some(3))]
    );
}

#[test]
fn drift_is_told_when_it_is_seen() {
    let with = |drift: Option<Drift>| KeyStatus {
        drift,
        ..key(3, None, &[], Vec::new())
    };
    let mut changes = Changes::since(&snapshot(with(None)));
    assert_eq!(
        kinds(&mut changes, with(Some(Drift::Deleted))),
        [(Kind::Drift, Some(3))]
    );
    assert_eq!(kinds(&mut changes, with(Some(Drift::Deleted))), []);
}

#[test]
fn programs_get_every_field() {
    let mut changes = Changes::since(&snapshot(key(3, None, &[], Vec::new())));
    let told = changes.to(&snapshot(key(4, None, &[3], Vec::new())), at());
    assert_eq!(
        serde_json::to_value(&told[0]).unwrap(),
        serde_json::json!({
            "event": "generation_promoted", "at": "2026-11-22T03:36:49Z", "key": "web", "generation": 4, "host": null,
            "message": "generation 4 of key web is offered now, in place of generation 3", "remedy": null,
        })
    );
}

#[test]
fn a_key_that_was_lost_before_is_told_once() {
    let lost = || KeyStatus {
        state: KeyState::Lost,
        ..key(3, None, &[], Vec::new())
    };
    let mut changes = Changes::since(&snapshot(lost()));
    let told = kinds(&mut changes, lost());
    assert_eq!(
        told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [Kind::KeyLost]
    );
    assert_eq!(kinds(&mut changes, lost()), []);
}
