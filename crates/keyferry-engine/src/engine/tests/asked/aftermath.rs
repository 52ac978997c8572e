//! What becomes of what was asked, step by step.

use keyferry_hosts::{HostError, HostErrorKind, Outcome};

use super::*;

#[test]
fn a_generation_that_was_given_up_while_its_half_was_in_hand_is_offered_to_nobody() {
    run(async {
        let mut asked = Asked::new().await;
        let given_up = Generation {
            superseded_at: Some(1),
            ..generation("web", 3, Stage::Earlier)
        };
        let id = given_up.id();
        let write = Write {
            generations: vec![given_up],
            ..Write::default()
        };
        asked.engine.record(write).await.unwrap().unwrap();
        let half = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        asked.engine.hold_half(id.clone(), half);
        asked.engine.load(id.clone()).await.unwrap();
        assert_eq!(asked.engine.observed.loaded["web"], 2);
        assert_eq!(asked.engine.offered[&id], Offer::Nowhere);
        assert_eq!(
            asked.stages(),
            [(1, Stage::Earlier), (2, Stage::Active), (3, Stage::Earlier)]
        );
    });
}

#[test]
fn what_was_asked_at_once_is_over_when_nothing_is_under_way() {
    run(async {
        let mut asked = Asked::new().await;
        let waits = |asked: &mut Asked| {
            asked.engine.observed.urged.insert("web".to_owned());
            let why = "generation 1 is kept for i-7".to_owned();
            asked.engine.rotations_wait.insert("web".to_owned(), why);
            asked.engine.calm_down();
            asked.engine.observed.urged.contains("web")
        };
        assert!(!waits(&mut asked), "it may wait for ever");
        asked.change_key(|row| row.rotate_asked_at = Some(1)).await;
        assert!(waits(&mut asked), "the rotation has not begun yet");
        asked.change_key(|row| row.rotate_asked_at = None).await;
        let host = "deploy@web-1".to_owned();
        asked.engine.observed.host_tasks.insert(host, "web".to_owned());
        assert!(waits(&mut asked));
    });
}

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
                .done_on_host(login.2.clone(), on_host, 0, Finished::OnHost(Err(error)))
                .await
                .unwrap();
            assert_eq!(asked.engine.view.placements[&login].state, expected, "{kind:?}");
            let is_refused = asked.engine.observed.refused_logins.contains(&login);
            assert_eq!(is_refused, expected == PlacementState::Placing, "{kind:?}");
            asked.assert_written();
        }
    });
}
