//! What must not hold a key up for ever.

use super::*;

#[test]
fn hosts_that_refuse_the_way_in_say_nothing_about_the_generation() {
    let mut fleet = Fleet::new(&["h0", "h1", "h2", "h3"]);
    fleet.generation(2, Stage::Active);
    fleet.file(|spec| spec.deploy.canary = 0);
    for (host, kind) in [("h0", "refused"), ("h1", "no_login"), ("h2", "another_key")] {
        fleet.fails(at(host), kind, Some(50));
        fleet.place(1, host, PlacementState::Verified, 30);
    }
    assert_eq!(fleet.on_hosts(), [verify(2, "h3")]);
    assert_eq!(fleet.waits(), "");
    // Where its line stands, they do.
    for host in ["h0", "h1", "h2"] {
        fleet.place(2, host, PlacementState::Placed, 0);
    }
    assert_eq!(fleet.on_hosts(), []);
    assert!(fleet.waits().contains("h0, h1, h2"), "{}", fleet.waits());
    // And what failed while it was put there does in any case.
    for host in ["h0", "h1", "h2"] {
        fleet
            .ledger
            .placements
            .remove(&("web".to_owned(), 2, host.to_owned()));
        fleet.fails(at(host), "file", Some(50));
    }
    assert_eq!(fleet.on_hosts(), []);
}

#[test]
fn a_lost_generation_makes_room_although_its_line_stands() {
    let mut fleet = Fleet::verified(&["h0"]);
    let making = Subject::Making("web".to_owned());
    let delete = Action::Delete { id: id(1) };
    fleet.fails(making.clone(), "quota", Some(50));
    assert!(!fleet.plan().actions.contains(&delete), "it serves");
    fleet.observed.loaded.clear();
    fleet.observed.in_agent.clear();
    assert!(fleet.plan().actions.contains(&delete));
    fleet.observed.halves.insert(id(1));
    assert!(!fleet.plan().actions.contains(&delete), "it is about to serve");
    fleet.observed.halves.clear();
    fleet.row(|row| row.held_at = Some(1));
    assert!(!fleet.plan().actions.contains(&delete));
    fleet.row(|row| row.held_at = None);
    fleet.fails(making, "unavailable", Some(50));
    assert!(!fleet.plan().actions.contains(&delete), "there is room");
}

#[test]
fn a_next_generation_at_an_account_that_is_gone_is_not_waited_for() {
    let mut fleet = Fleet::verified(&["h0"]);
    let next = fleet.generation(2, Stage::Staged);
    next.state = GenerationState::Requested;
    next.account = "gone".to_owned();
    fleet.observed.in_agent.remove(&id(2));
    assert_eq!(
        fleet.plan().actions,
        [Action::Publish { id: id(1) }, Action::Doubt { id: id(2) }]
    );
    // Without a file nobody needs the next one, and its account may come back.
    fleet.file(|spec| spec.present = false);
    assert_eq!(fleet.plan().actions, [Action::Publish { id: id(1) }]);
}

#[test]
fn a_rotation_whose_hosts_were_all_given_up_says_so() {
    let mut fleet = Fleet::verified(&["h0"]);
    fleet.generation(2, Stage::Staged);
    fleet.host("h0", HostState::Forgotten);
    let waits = fleet.waits();
    assert!(
        waits.contains("given up") && waits.contains("keyferry rollback web"),
        "{waits}"
    );
}

#[test]
fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
    let now = later().wall_ms();
    let rotates = |fleet: &mut Fleet| {
        fleet.file(|spec| {
            spec.rotate = Some(crate::desired::Rotate {
                every: Duration::from_secs(30 * 86_400),
                grace: Duration::from_secs(86_400),
                between: None,
            });
        });
    };
    let generate = Action::Generate {
        key: "web".to_owned(),
    };
    for (ahead, expected) in [(400 * DAY, true), (60_000, false)] {
        let mut fleet = Fleet::verified(&["h0"]);
        rotates(&mut fleet);
        fleet.generation(1, Stage::Active).promoted_at = Some(now + ahead);
        assert_eq!(
            fleet.plan().actions.contains(&generate),
            expected,
            "{ahead} ms ahead"
        );
    }
    for (ahead, expected) in [(400 * DAY, true), (60_000, false)] {
        let mut fleet = Fleet::new(&["h0"]);
        rotates(&mut fleet);
        fleet.generation(1, Stage::Earlier).superseded_at = Some(now + ahead);
        fleet.generation(2, Stage::Active).promoted_at = Some(now + ahead);
        fleet.place(1, "h0", PlacementState::Verified, 9);
        fleet.place(2, "h0", PlacementState::Verified, 0).verified_at = Some(now + ahead);
        let goes = fleet
            .on_hosts()
            .iter()
            .any(|action| matches!(action, Action::TakeOff { .. }));
        assert_eq!(goes, expected, "{ahead} ms ahead");
        fleet
            .ledger
            .placements
            .remove(&("web".to_owned(), 1, "h0".to_owned()));
        let is_deleted = fleet.plan().actions.contains(&Action::Delete { id: id(1) });
        assert_eq!(is_deleted, expected, "{ahead} ms ahead");
    }
}
