//! Rotations that may begin at some hours of the day only.

use super::*;
use crate::desired::{DayTime, Rotate};

/// A rotation that is due, at that minute of the day.
fn due_at(minute: u16, change: impl FnOnce(&mut Fleet)) -> Plan {
    let mut fleet = Fleet::verified(&["h0"]);
    fleet.file(|spec| {
        spec.rotate = Some(Rotate {
            every: Duration::from_secs(5 * 86_400),
            grace: Duration::from_secs(86_400),
            // 09:00-18:00
            between: Some(DayTime { from: 540, to: 1_080 }),
        });
    });
    change(&mut fleet);
    let now = Moment {
        local_minute: minute,
        ..later()
    };
    plan(&fleet.desired, &fleet.ledger, &fleet.observed, now)
}

fn has_begun(plan: &Plan) -> bool {
    plan.actions.contains(&Action::Generate {
        key: "web".to_owned(),
    })
}

#[test]
fn a_rotation_that_is_due_waits_for_its_hours_and_says_so() {
    // Up to nine in the morning, this day or the next.
    for (minute, wait) in [(480, 60), (539, 1), (1_080, 900), (1_439, 541)] {
        let plan = due_at(minute, |_| {});
        assert!(!has_begun(&plan), "{minute}");
        assert_eq!(
            plan.rotations_wait.get("web").map(String::as_str),
            Some("it is due, and begins after 09:00"),
            "{minute}"
        );
        // It is looked at once an hour all the same.
        let wake_at = later().uptime + wait.min(60) * 60_000;
        assert_eq!(plan.wake_at, Some(wake_at), "{minute}");
    }
    for minute in [540, 600, 1_079] {
        let plan = due_at(minute, |_| {});
        assert!(has_begun(&plan), "{minute}");
        assert_eq!(plan.rotations_wait.get("web"), None, "{minute}");
    }
}

#[test]
fn what_is_not_due_does_not_wait_for_its_hours() {
    let plan = due_at(0, |fleet| {
        fleet.generation(1, Stage::Active).promoted_at = Some(later().wall_ms());
    });
    assert!(!has_begun(&plan));
    assert_eq!(plan.rotations_wait.get("web"), None);
}

#[test]
fn whoever_asks_need_not_wait_for_the_hour() {
    let plan = due_at(0, |fleet| fleet.row(|row| row.rotate_asked_at = Some(1)));
    assert!(has_begun(&plan));
    let plan = due_at(0, |fleet| _ = fleet.observed.urged.insert("web".to_owned()));
    assert!(has_begun(&plan));
}
