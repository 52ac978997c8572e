use super::*;
use keyferry_engine::snapshot::{AfterReboot, KeyState, KeyStatus, LeftLine, StatusError, Timestamp};
use std::time::Duration;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

fn host(name: &str, state: HostCondition, days_ago: Option<u64>) -> HostStatus {
    HostStatus {
        host: name.to_owned(),
        state,
        generation: days_ago.map(|_| 3),
        verified_at: days_ago.map(|days| Timestamp(now() - Duration::from_secs(days * 86_400))),
        lines: vec![3],
        listed: state != HostCondition::Verified,
        after_reboot: AfterReboot::LockedOut,
        error: (state == HostCondition::Blocked).then(|| StatusError {
            kind: "host_key_changed".to_owned(),
            code: None,
            message: "another host key answers".to_owned(),
            request_id: None,
            remedy: Some("keyferry host trust web-2".to_owned()),
            retry_at: None,
        }),
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        keys: vec![KeyStatus {
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
            rotation: None,
            hosts: vec![
                host("web-2", HostCondition::Blocked, None),
                host("web-1", HostCondition::Verified, Some(2)),
                host("web-9", HostCondition::Forgotten, Some(40)),
            ],
            exec: None,
        }],
        ..Snapshot::default()
    }
}

#[test]
fn hosts_are_listed_with_what_is_wrong_below() {
    assert_eq!(
        list(&snapshot(), now(), Style::Plain, None),
        "HOST   STATE      KEY  GEN  LAST LOGIN   AFTER A RESTART\n\
         web-1  verified   web  3    2 days ago   locked out\n\
         web-2  blocked    web  -    never        locked out\n\
         web-9  forgotten  web  3    40 days ago  locked out\n\
         \n\
         web-1 (key web): no file lists it any more; its lines are looked after until `keyferry host forget`\n\
         \n\
         web-2 (key web): another host key answers\n  what to do: keyferry host trust web-2"
    );
    assert!(list(&Snapshot::default(), now(), Style::Plain, None).contains("hosts = [...]"));
}

#[test]
fn programs_get_every_field_and_the_key() {
    let text = for_programs(&snapshot()).unwrap();
    let hosts: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(hosts[1]["key"], "web");
    assert_eq!(hosts[1]["state"], "verified");
    assert_eq!(hosts[0]["error"]["kind"], "host_key_changed");
}

#[test]
fn lines_that_stay_are_named() {
    let text = describe_forgotten(&ForgottenHost {
        host: "web-9".to_owned(),
        lines: vec![LeftLine {
            key: "web".to_owned(),
            generation: 3,
            line: Some("ssh-ed25519 AAAA keyferry owner=li machine=pad-7f3a key=web gen=3".to_owned()),
        }],
    });
    assert!(text.contains("this line stays"), "{text}");
    assert!(
        text.contains("key web generation 3 (keyferry owner=li machine=pad-7f3a key=web gen=3)"),
        "{text}"
    );
}
