//! Keys that end where the user accepted that nothing logs in any more.

use super::hosts::Fault;
use super::rotation::world_with;
use super::trust::{ed25519, others};
use super::*;
use crate::ledger::PlacementState;
use crate::snapshot::Timestamp;

const HOST: &str = "web-1";

#[track_caller]
fn assert_ended(world: &World) {
    assert_eq!(world.hosts.generations(HOST), [0; 0]);
    assert_eq!(others(world, HOST), [""; 0]);
    assert_eq!(world.cloud.our_pairs(), [""; 0]);
    let history = world.history();
    let placed = history.placements.iter().map(|row| row.state);
    let trusted = history.trusted.iter().map(|row| row.state);
    assert!(
        placed
            .chain(trusted)
            .all(|state| state == PlacementState::Removed)
    );
}

#[test]
fn a_last_removal_whose_answer_is_lost_is_done_again() {
    run(async {
        for fault in [Fault::LostAfter, Fault::LostBefore] {
            for is_killed in [false, true] {
                let world = world_with(&[HOST], |_| {});
                let mut daemon = world.start();
                assert!(daemon.rest().await);
                world.hosts.expect([Some(fault)]);
                let accepted = vec!["all".to_owned()];
                daemon.handle.retire("web".to_owned(), accepted).await.unwrap();
                if is_killed {
                    assert!(daemon.rest().await);
                    daemon.kill().await;
                    daemon = world.start();
                }
                assert!(daemon.rest().await, "{fault:?}");
                assert_ended(&world);
                daemon.kill().await;
            }
        }
    });
}

#[test]
fn those_who_were_let_in_beside_the_key_go_before_its_own_last_line() {
    run(async {
        let world = world_with(&[HOST], |spec| spec.deploy.also_trust = vec![ed25519(7)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let grant = Grant {
            public_key: ed25519(5),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(86_400)),
            hosts: Vec::new(),
        };
        daemon.handle.grant(grant).await.unwrap();
        assert_eq!(others(&world, HOST).len(), 2);
        let accepted = vec![HOST.to_owned()];
        daemon.handle.retire("web".to_owned(), accepted).await.unwrap();
        assert!(daemon.rest().await);
        assert_ended(&world);
        daemon.kill().await;
        // Its file declares it, and nothing is made: that is said, also to whoever writes a new file of that name later.
        let daemon = world.start();
        daemon.rest().await;
        daemon.says("web", &["was retired", "remove the file", "keyferry resume web"]);
        daemon.kill().await;
    });
}

#[test]
fn where_no_private_half_is_left_the_host_is_to_be_forgotten() {
    run(async {
        let world = world_with(&[HOST], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.hosts.turn(HOST, false);
        let accepted = vec![HOST.to_owned()];
        daemon.handle.retire("web".to_owned(), accepted).await.unwrap();
        daemon.kill().await;
        let daemon = world.start();
        daemon
            .until("the way out is shown", |status| {
                let rotation = status.rotation.as_ref();
                let waiting = rotation.and_then(|rotation| rotation.waiting.as_deref());
                waiting.is_some_and(|waiting| {
                    waiting.contains("keyferry host forget HOST") && waiting.contains("web-1")
                })
            })
            .await;
        daemon.kill().await;
    });
}
