//! What is looked at again although nothing seems to be left to do.

use super::*;

#[test]
fn a_parked_host_is_tried_again_although_nothing_is_left_to_do_there() {
    let mut fleet = Fleet::verified(&["h0", "h1"]);
    assert_eq!(fleet.on_hosts(), []);
    fleet.host("h1", HostState::Parked);
    assert_eq!(fleet.on_hosts(), [verify(1, "h1")]);
    fleet.fails(at("h1"), "unreachable", Some(5_000));
    assert_eq!(fleet.on_hosts(), []);
    assert_eq!(fleet.plan().wake_at, Some(later().uptime + 5_000));
    fleet.observed.retries.clear();
    fleet
        .observed
        .host_tasks
        .insert("h1".to_owned(), "other".to_owned());
    assert_eq!(fleet.on_hosts(), []);
}

#[test]
fn a_blocked_host_is_looked_at_again_where_nothing_is_left_to_do() {
    let mut fleet = Fleet::verified(&["h0", "h1"]);
    fleet.host("h1", HostState::Blocked);
    assert_eq!(fleet.on_hosts(), [verify(1, "h1")]);
    // What failed there is tried again first, in its own time.
    let trusted = Subject::Trusted("web".to_owned(), "h1".to_owned());
    fleet.fails(trusted, "file", Some(5_000));
    assert_eq!(fleet.on_hosts(), []);
    assert_eq!(fleet.plan().wake_at, Some(later().uptime + 5_000));
    fleet.observed.retries.clear();
    fleet.row(|row| row.held_at = Some(1));
    assert_eq!(fleet.on_hosts(), []);
}
