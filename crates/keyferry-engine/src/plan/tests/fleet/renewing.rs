//! Lines that end by themselves are written anew before that, whatever else becomes of the rotation.

use super::*;

/// A line that ends that many days from now, as sshd reads it; none: it has no end.
fn line(ends_in: Option<i64>, form: &str) -> String {
    let Some(days) = ends_in else {
        return "ssh-ed25519 AAAA keyferry owner=li machine=m key=web gen=1".to_owned();
    };
    let ends = later().wall + Duration::from_secs(86_400) * u32::try_from(days).unwrap();
    let digits: String = humantime::format_rfc3339_seconds(ends)
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let (length, zone) = match form {
        "utc" => (14, "Z"),
        "local" => (14, ""),
        "minutes" => (12, "Z"),
        _ => (8, ""),
    };
    format!(
        "from=\"a,b\",command=\"say \\\"expiry-time=\\\"\",expiry-time=\"{}{zone}\" ssh-ed25519 AAAA keyferry owner=li machine=m key=web gen=1",
        &digits[..length]
    )
}

/// Whether a line is renewed, of which the file wants that it ends after so many days, and which was written so long ago.
#[track_caller]
fn check(wanted: Option<u64>, ends_in: Option<i64>, form: &str, written_days_ago: i64, expected: bool) {
    let mut fleet = Fleet::verified(&["h0"]);
    fleet.file(|spec| spec.deploy.expires = wanted.map(|days| Duration::from_secs(days * 86_400)));
    let placement = fleet.place(1, "h0", PlacementState::Verified, written_days_ago);
    placement.line = Some(line(ends_in, form));
    let is_renewed = fleet.on_hosts() == [put(1, "h0")];
    assert_eq!(
        is_renewed, expected,
        "{wanted:?} wanted, ends in {ends_in:?} ({form}), written {written_days_ago} days ago"
    );
    assert!(is_renewed || wanted.is_none() || fleet.plan().wake_at.is_some());
}

#[test]
fn a_line_is_written_anew_by_its_own_end_and_by_what_the_file_wants_now() {
    for form in ["utc", "minutes"] {
        check(Some(10), Some(6), form, 4, false);
        check(Some(10), Some(5), form, 5, true);
        // The file wants more of it, and less, and nothing any more.
        check(Some(90), Some(9), form, 1, true);
        check(Some(10), Some(84), form, 6, true);
        check(Some(10), Some(88), form, 2, false);
        check(None, Some(9), form, 1, true);
    }
    check(None, None, "utc", 400, false);
    // When it was last seen says nothing of when it ends.
    check(Some(10), Some(1), "utc", 1, true);
    check(Some(10), None, "utc", 4, false);
    check(Some(10), None, "utc", 6, true);
    // In the host's own time it may end a day earlier.
    check(Some(10), Some(7), "local", 4, false);
    check(Some(10), Some(6), "local", 4, true);
    check(Some(10), Some(6), "day", 4, true);
}

#[test]
fn a_line_that_was_just_written_is_not_written_again_and_again() {
    check(Some(1), Some(1), "day", 0, false);
}

/// Two generations: the hosts need the first, whose lines end tomorrow, and the second is on its way.
fn ending(hosts: &[&str], second: Stage) -> Fleet {
    let mut fleet = Fleet::verified(hosts);
    fleet.file(|spec| spec.deploy.expires = Some(Duration::from_secs(20 * 86_400)));
    for host in hosts {
        let placement = fleet.place(1, host, PlacementState::Verified, 19);
        placement.line = Some(line(Some(1), "utc"));
    }
    if second == Stage::Active {
        fleet.generation(1, Stage::Earlier);
    }
    fleet.generation(2, second);
    fleet
}

const HOSTS: [&str; 4] = ["h0", "h1", "h2", "h3"];

#[test]
fn what_a_host_needs_is_renewed_while_the_next_generation_is_refused() {
    for second in [Stage::Staged, Stage::Active] {
        let mut fleet = ending(&HOSTS, second);
        let all = HOSTS.map(|host| put(1, host));
        assert_eq!(fleet.on_hosts(), all, "{second:?}: more than the canary");
        // So many failures that no further host is begun.
        for host in &HOSTS[..3] {
            fleet.place(2, host, PlacementState::Placed, 1);
            fleet.fails(at(host), "refused", Some(50));
        }
        assert_eq!(fleet.on_hosts(), [put(1, "h3")], "{second:?}");
        fleet.observed.retries.clear();
        for host in &HOSTS[..3] {
            fleet.fails(at(host), "refused", Some(0));
        }
        assert_eq!(fleet.on_hosts(), all, "{second:?}");
        // Written, and to be seen again before anything else is tried there.
        for host in HOSTS {
            let placement = fleet.place(1, host, PlacementState::Placed, 0);
            placement.verified_at = Some(1);
            placement.line = Some(line(Some(20), "utc"));
        }
        assert_eq!(fleet.on_hosts(), HOSTS.map(|host| verify(1, host)), "{second:?}");
    }
}

#[test]
fn what_a_host_needs_is_renewed_while_the_rotation_stands_still_or_the_key_ends() {
    let changes: [fn(&mut KeyRow); 3] = [
        |row| row.paused_at = Some(1),
        |row| row.held_at = Some(1),
        |row| row.retire_asked_at = Some(1),
    ];
    for change in changes {
        let mut fleet = ending(&["h0"], Stage::Staged);
        fleet.row(change);
        assert_eq!(fleet.on_hosts(), [put(1, "h0")], "{:?}", fleet.ledger.key("web"));
        // A key that is held signs nothing: whether it logs in cannot be seen.
        let placement = fleet.place(1, "h0", PlacementState::Placed, 0);
        placement.verified_at = Some(1);
        placement.line = Some(line(Some(20), "utc"));
        let is_held = fleet.ledger.is_held("web");
        let expected = if is_held {
            Vec::new()
        } else {
            vec![verify(1, "h0")]
        };
        assert_eq!(fleet.on_hosts(), expected, "{:?}", fleet.ledger.key("web"));
        let placement = fleet.place(1, "h0", PlacementState::Placed, 19);
        placement.verified_at = Some(1);
        placement.line = Some(line(Some(1), "utc"));
        let expected = if is_held { put(1, "h0") } else { verify(1, "h0") };
        assert_eq!(fleet.on_hosts(), [expected]);
    }
}

#[test]
fn what_no_host_needs_is_not_renewed() {
    let mut fleet = ending(&["h0"], Stage::Active);
    let placement = fleet.place(2, "h0", PlacementState::Verified, 0);
    placement.line = Some(line(Some(20), "utc"));
    assert_eq!(fleet.on_hosts(), []);
    // Nor what nobody could log in with.
    let mut fleet = ending(&["h0"], Stage::Staged);
    fleet.observed.in_agent.remove(&id(1));
    fleet.observed.loaded.clear();
    assert!(!fleet.on_hosts().contains(&put(1, "h0")));
}
