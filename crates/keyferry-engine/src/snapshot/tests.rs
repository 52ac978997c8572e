use super::*;

fn key(state: KeyState, retry_after: Option<u64>) -> KeyStatus {
    let retry_at = retry_after.map(|seconds| Timestamp(now() + Duration::from_secs(seconds)));
    KeyStatus {
        name: "web".to_owned(),
        account: Some("aliyun".to_owned()),
        generation: None,
        state,
        algorithm: None,
        fingerprint: None,
        public_key: None,
        error: (state == KeyState::Failed).then(|| StatusError {
            kind: "throttled".to_owned(),
            code: Some("Throttling".to_owned()),
            message: "too many requests".to_owned(),
            request_id: None,
            remedy: None,
            retry_at,
        }),
        asked: None,
        drift: None,
        regions: Vec::new(),
        rotation: None,
        hosts: Vec::new(),
        exec: None,
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

#[track_caller]
fn check(state: KeyState, retry_after: Option<u64>, settled: bool) {
    let snapshot = Snapshot {
        keys: vec![key(state, retry_after)],
        ..Snapshot::default()
    };
    assert_eq!(snapshot.settled(now()), settled);
    assert_eq!(snapshot.unsettled(now()).count(), usize::from(!settled));
}

#[test]
fn waiting_ends_when_nothing_happens_soon() {
    check(KeyState::Loaded, None, true);
    check(KeyState::Held, None, true);
    check(KeyState::Lost, None, true);
    check(KeyState::Pending, None, false);
    check(KeyState::Creating, None, false);
    check(KeyState::Failed, None, true);
    check(KeyState::Failed, Some(5), false);
    check(KeyState::Failed, Some(6), true);
}

#[test]
fn nobody_waits_for_a_key_that_is_retired() {
    for state in [KeyState::Loaded, KeyState::Pending] {
        let mut retired = key(state, None);
        retired.rotation = Some(RotationStatus {
            retiring: true,
            ..RotationStatus::default()
        });
        assert!(retired.settled(now()), "{state:?}");
    }
}

#[test]
fn a_lost_key_needs_a_person() {
    let needs_person = |key: KeyStatus| {
        let keys = vec![key];
        Snapshot {
            keys,
            ..Snapshot::default()
        }
        .needs_person()
    };
    assert!(needs_person(key(KeyState::Lost, None)));
    assert!(!needs_person(key(KeyState::Loaded, None)));
    let mut blocked = key(KeyState::Failed, None);
    assert!(!needs_person(blocked.clone()));
    if let Some(error) = &mut blocked.error {
        error.kind = "blocked".to_owned();
    }
    assert!(needs_person(blocked));
}

#[test]
fn a_loaded_key_waits_for_its_other_regions() {
    let check = |state: RegionState, settled: bool| {
        let mut loaded = key(KeyState::Loaded, None);
        loaded.regions = vec![RegionStatus {
            region: Some("cn-beijing".to_owned()),
            state,
            pair_name: None,
            error: None,
        }];
        assert_eq!(loaded.settled(now()), settled, "{state:?}");
    };
    check(RegionState::Creating, false);
    check(RegionState::Pending, false);
    check(RegionState::Live, true);
    check(RegionState::Failed, true);
    check(RegionState::Deleted, true);
}

#[test]
fn the_json_has_every_field_and_no_other() {
    let snapshot = Snapshot {
        version: "0".to_owned(),
        keys: vec![key(KeyState::Failed, Some(6))],
        ..Snapshot::default()
    };
    assert_eq!(
        serde_json::to_value(snapshot).unwrap(),
        serde_json::json!({
            "version": "0",
            "keys": [{
                "name": "web", "account": "aliyun", "generation": null, "state": "failed", "algorithm": null,
                "fingerprint": null, "public_key": null,
                "error": {
                    "kind": "throttled", "code": "Throttling", "message": "too many requests",
                    "request_id": null, "remedy": null, "retry_at": "2026-11-22T03:36:55Z",
                },
                "asked": null, "drift": null, "regions": [], "rotation": null, "hosts": [], "exec": null,
            }],
            "accounts": [], "plugins": [], "files": [], "trusted": [], "revoked": [], "ledger": null,
            "locked": false,
        })
    );
}
