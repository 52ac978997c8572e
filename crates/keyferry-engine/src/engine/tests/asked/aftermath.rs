//! What becomes of what was asked, step by step.

use keyferry_hosts::{HostError, HostErrorKind, Outcome};

use super::*;

#[test]
fn a_generation_that_is_refused_where_it_was_seen_counts_as_seen_no_more() {
    run(async {
        for (kind, expected) in [
            (HostErrorKind::Refused, PlacementState::Placing),
            (HostErrorKind::AnotherKey, PlacementState::Placing),
            (HostErrorKind::Unreachable, PlacementState::Verified),
            (HostErrorKind::Busy, PlacementState::Verified),
        ] {
            let mut asked = Asked::new().await;
            let error = HostError {
                kind,
                message: String::new(),
                remedy: String::new(),
                outcome: Outcome::Unchanged,
            };
            let login = ("web".to_owned(), 2, "deploy@web-1".to_owned());
            let on_host = OnHost::Verify {
                id: ("web".to_owned(), 2),
            };
            asked
                .engine
                .done_on_host(login.2.clone(), on_host, Finished::OnHost(Err(error)))
                .await
                .unwrap();
            assert_eq!(asked.engine.view.placements[&login].state, expected, "{kind:?}");
            let is_refused = asked.engine.observed.refused_logins.contains(&login);
            assert_eq!(is_refused, expected == PlacementState::Placing, "{kind:?}");
            asked.assert_written();
        }
    });
}
