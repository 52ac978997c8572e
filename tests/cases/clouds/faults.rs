//! What goes better by itself: shown while it lasts, tried again with growing pauses, and then loaded.

use std::time::Duration;

use cloud_sim::{Fault, FaultKind};
use keyferry_tests::ledger;

use crate::scene::{ALL, Declared, Scene, Shown, wait_for_errors, wait_for_state};

/// What becomes of an import while the fault lasts.
#[derive(Clone, Copy)]
enum Import {
    /// It fails, as the error says, and is tried again.
    Fails(Shown),
    /// It had arrived: reading back finds it, and nothing is sent twice.
    IsFound,
    /// The fault does not concern imports.
    Succeeds,
}

/// Has the first three requests that make each pair hit by a fault: each error is shown until the fourth succeeds.
#[track_caller]
fn check(kind: FaultKind, created: Shown, imported: Import) {
    const TIMES: u64 = 3;
    let scene = Scene::new();
    for declared in &ALL {
        let fault = Fault::new(kind.clone()).count(TIMES);
        scene
            .cloud
            .fault(fault.service(declared.service).action(declared.action));
    }
    scene.declare(&ALL);
    let fails = |declared: &Declared| match imported {
        _ if declared.is_created() => Some(created),
        Import::Fails(shown) => Some(shown),
        Import::IsFound | Import::Succeeds => None,
    };
    let expected: Vec<_> = ALL
        .iter()
        .filter_map(|declared| Some((declared.key, fails(declared)?)))
        .collect();
    wait_for_errors(&scene.daemon, &expected);
    for declared in &ALL {
        wait_for_state(&scene.daemon, declared.key, "loaded");
    }
    scene.assert_sound();
    for declared in &ALL {
        let outcomes: Vec<_> = scene
            .tries(declared)
            .into_iter()
            .map(|request| request.outcome)
            .collect();
        let times = fails(declared).map_or(0, |_| 3);
        if fails(declared).is_some() {
            assert_eq!(outcomes.len(), times + 1, "{}: {outcomes:?}", declared.key);
            assert_eq!(outcomes[times].as_deref(), Some("ok"), "{}", declared.key);
        } else {
            assert_eq!(outcomes.len(), 1, "{}: {outcomes:?}", declared.key);
            assert_eq!(ledger::states(&scene.home, declared.key), ["live"]);
        }
        let status = scene.daemon.key(declared.key);
        assert!(status["error"].is_null(), "nothing is wrong any more: {status:#}");
    }
    let status = scene.daemon.status();
    for account in status["accounts"].as_array().expect("accounts is a list") {
        assert!(account["error"].is_null(), "{status:#}");
    }
}

const THROTTLED: Shown = Shown {
    kind: "throttled",
    code: Some("Throttling.User"),
    words: "too many requests",
    again: true,
};
const SERVER_ERROR: Shown = Shown {
    kind: "unavailable",
    code: Some("InternalError"),
    words: "could not be processed",
    again: true,
};
const NO_REPLY: Shown = Shown {
    kind: "unavailable",
    code: None,
    words: "broke before the whole reply was there",
    again: true,
};

#[test]
fn throttled() {
    check(
        FaultKind::Throttling { retry_after_ms: None },
        THROTTLED,
        Import::Fails(THROTTLED),
    );
}

#[test]
fn server_error_before_the_commit() {
    check(FaultKind::ServerError, SERVER_ERROR, Import::Fails(SERVER_ERROR));
}

#[test]
fn server_error_after_the_commit() {
    check(FaultKind::ServerErrorAfterCommit, SERVER_ERROR, Import::IsFound);
}

#[test]
fn service_unavailable() {
    let shown = Shown {
        code: Some("ServiceUnavailable"),
        words: "not available",
        ..SERVER_ERROR
    };
    check(FaultKind::Unavailable, shown, Import::Fails(shown));
}

#[test]
fn connection_dropped() {
    check(FaultKind::Drop, NO_REPLY, Import::Fails(NO_REPLY));
}

#[test]
fn lost_reply() {
    check(FaultKind::LostReply, NO_REPLY, Import::IsFound);
}

#[test]
fn truncated_reply() {
    check(FaultKind::Truncated, NO_REPLY, Import::IsFound);
}

/// What cannot be read may hold the private key, so not even the plugin sees it.
#[test]
fn malformed_reply() {
    let shown = Shown {
        kind: "plugin",
        code: None,
        words: "it holds a private key that was not captured",
        again: true,
    };
    check(FaultKind::Malformed, shown, Import::IsFound);
}

/// Success, by its status: but nothing of it is a vendor's, and nothing was done.
#[test]
fn a_page_of_a_proxy_in_place_of_a_reply() {
    let shown = Shown {
        kind: "internal",
        code: None,
        words: "the answer, with status 200, is not the provider's own form",
        again: true,
    };
    check(FaultKind::Intercepted, shown, Import::Fails(shown));
}

#[test]
fn huge_reply() {
    let shown = Shown {
        kind: "unavailable",
        code: None,
        words: "has more than 1048576 bytes",
        again: true,
    };
    check(FaultKind::Huge { bytes: 64 << 20 }, shown, Import::IsFound);
}

#[test]
fn reply_without_the_private_key() {
    let shown = Shown {
        kind: "internal",
        code: None,
        words: "holds no private key",
        again: true,
    };
    check(FaultKind::NoPrivateKey, shown, Import::Succeeds);
}

#[test]
fn reply_with_a_wrong_fingerprint() {
    let shown = Shown {
        kind: "mismatch",
        code: None,
        words: "another public key or fingerprint",
        again: true,
    };
    check(FaultKind::WrongFingerprint, shown, Import::Fails(shown));
}

#[test]
fn a_throttled_request_waits_as_long_as_the_vendor_asks() {
    const ASKED: Duration = Duration::from_millis(2500);
    let scene = Scene::new();
    for declared in &ALL {
        let kind = FaultKind::Throttling {
            retry_after_ms: Some(2500),
        };
        let fault = Fault::new(kind).service(declared.service).action(declared.action);
        scene.cloud.fault(fault.count(1));
    }
    scene.declare(&ALL);
    wait_for_errors(
        &scene.daemon,
        &ALL.each_ref().map(|declared| (declared.key, THROTTLED)),
    );
    scene.assert_sound();
    for declared in &ALL {
        let tries = scene.tries(declared);
        let [refused, accepted] = tries.as_slice() else {
            panic!("{}: {tries:?}", declared.key);
        };
        let pause = accepted.time.duration_since(refused.time).unwrap_or_default();
        assert!(pause >= ASKED, "{}: tried again after {pause:?}", declared.key);
    }
}

#[test]
fn a_slow_reply_is_waited_for() {
    let scene = Scene::new();
    scene.cloud.fault(Fault::new(FaultKind::Slow {
        delay: Duration::from_millis(1500),
    }));
    scene.declare(&ALL);
    scene.assert_sound();
    for declared in &ALL {
        assert_eq!(scene.tries(declared).len(), 1, "{}", declared.key);
    }
}
