use std::time::Duration;

use keyferry_engine::snapshot::KeyState;

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

fn host(name: &str, state: HostCondition, after_reboot: AfterReboot) -> HostStatus {
    HostStatus {
        host: name.to_owned(),
        state,
        generation: Some(3),
        verified_at: Some(Timestamp(now() - Duration::from_secs(86_400 * 2))),
        lines: vec![3],
        listed: true,
        after_reboot,
        error: None,
    }
}

#[track_caller]
fn check(hosts: Vec<HostStatus>, rotation: Option<RotationStatus>, expected: &str) {
    let key = KeyStatus {
        name: "web".to_owned(),
        account: None,
        generation: Some(3),
        state: KeyState::Loaded,
        algorithm: None,
        fingerprint: None,
        public_key: None,
        error: None,
        asked: None,
        drift: None,
        regions: Vec::new(),
        rotation,
        hosts,
        exec: None,
    };
    let snapshot = Snapshot {
        keys: vec![key],
        ..Snapshot::default()
    };
    assert_eq!(describe(&snapshot, now(), Style::Plain), expected);
}

use AfterReboot::{LockedOut, Maybe, Recovers, Untested};
use HostCondition::{Blocked, Parked, Verified};

#[test]
fn a_key_without_hosts_takes_no_line() {
    check(Vec::new(), None, "");
    check(Vec::new(), Some(RotationStatus::default()), "");
}

#[test]
fn hosts_are_counted_and_those_that_stand_out_named() {
    let rotation = RotationStatus {
        active: Some(3),
        due_at: Some(Timestamp(now() + Duration::from_secs(86_400 * 12))),
        ..RotationStatus::default()
    };
    check(
        vec![
            host("web-1", Verified, Recovers),
            host("web-2", Verified, Recovers),
            host("web-7", Parked, Recovers),
        ],
        Some(rotation),
        "\nweb: 2 hosts verified, 1 parked (web-7, last login 2 days ago); next rotation in 12 days\n  \
         after a restart of this machine: the recovery identity logs in at every host\n",
    );
    check(
        vec![
            host("web-1", Blocked, LockedOut),
            host("web-2", Verified, Maybe),
            host("web-3", Verified, Untested),
            host("web-4", Verified, Recovers),
        ],
        None,
        "\nweb: 3 hosts verified, 1 blocked (web-1)\n  after a restart of this machine: the recovery identity logs in at 1; \
         the recovery identity was not seen to log in yet at web-3; your own ssh setup may log in at web-2; nothing logs in \
         at web-1\n",
    );
}

#[test]
fn what_a_rotation_waits_for_is_said() {
    let rotation = |change: fn(&mut RotationStatus)| {
        let mut rotation = RotationStatus {
            active: Some(2),
            staged: Some(3),
            earlier: vec![1],
            ..RotationStatus::default()
        };
        change(&mut rotation);
        Some(rotation)
    };
    let hosts = || vec![host("web-1", Verified, Recovers)];
    let start = "\nweb: 1 host verified; rotating to generation 3, seen to log in at 1 of 1; earlier generation 1 not gone yet";
    let end = "\n  after a restart of this machine: the recovery identity logs in at every host\n";
    check(hosts(), rotation(|_| {}), &format!("{start}{end}"));
    check(
        hosts(),
        rotation(|rotation| rotation.waiting = Some("it is due".to_owned())),
        &format!("{start}; waiting: it is due{end}"),
    );
    check(
        hosts(),
        rotation(|rotation| {
            rotation.paused = Some(Pause {
                since: Timestamp(now()),
                until: None,
                reason: Some("freeze".to_owned()),
            });
        }),
        &format!("{start}; on hold (freeze){end}"),
    );
}
