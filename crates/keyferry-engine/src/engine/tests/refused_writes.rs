//! A disk that refuses one write: what it should have noted is neither forgotten nor taken for its opposite.

use super::behaviour::{FullDisk, until_error};
use super::cloud::{Fault, HOME};
use super::rotation::world_with;
use super::*;
use crate::ledger::LedgerView;

fn installation(world: &World) -> String {
    let (_ledger, LedgerView { installation, .. }) = Ledger::open(world.state.path()).unwrap();
    installation
}

#[test]
fn a_name_that_was_somebody_elses_stays_so() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        installation(&world);
        world.cloud.expect([Some(Fault::Foreign)]);
        let full = FullDisk::of_table(&world, "UPDATE", "generation");
        let daemon = world.start();
        until_error(&daemon, "ledger").await;
        drop(full);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        let rows = world.history().generations;
        let states: Vec<_> = rows.iter().map(|row| row.state).collect();
        assert_eq!(states, [GenerationState::Foreign, GenerationState::Live]);
        daemon.kill().await;
    });
}

#[test]
fn a_pair_that_is_older_than_its_request_is_somebody_elses() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Provider)]);
        let digits = crate::naming::digits(&installation(&world)).to_owned();
        world.cloud.tell_ages();
        world.cloud.plant(HOME, &format!("keyferry-web-{digits}-1"));
        world.clock.pass(3_600_000);
        // Killed before it is noted that the name is taken.
        let daemon = world.start_until(Some(Stop::Before(2)));
        assert!(!daemon.rest().await);
        daemon.kill().await;
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        daemon.kill().await;
    });
}

#[test]
fn a_hold_and_its_end_reach_the_disk_when_it_takes_writes_again() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        for is_held in [true, false] {
            let full = FullDisk::of_table(&world, "UPDATE", "key");
            match is_held {
                true => daemon.handle.held("web"),
                false => _ = daemon.handle.resume(vec!["web".to_owned()]).await.unwrap(),
            }
            daemon
                .until("it holds in this process", |status| {
                    (status.state == KeyState::Held) == is_held
                })
                .await;
            drop(full);
            assert!(daemon.rest().await);
            assert_eq!(world.history().keys[0].held_at.is_some(), is_held);
        }
        daemon.kill().await;
    });
}

#[test]
fn a_retirement_is_not_called_off_where_that_cannot_be_noted() {
    run(async {
        let world = world_with(&["web-1"], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        let full = FullDisk::of_table(&world, "UPDATE", "key");
        let resumed = daemon.handle.resume(vec!["web".to_owned()]).await;
        let refused = resumed.unwrap_err().to_string();
        assert!(refused.contains("could not be noted"), "{refused}");
        drop(full);
        assert!(world.history().keys[0].retire_asked_at.is_some());
        let resumed = daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert_eq!(resumed, ["web"]);
        assert!(world.history().keys[0].retire_asked_at.is_none());
        daemon.kill().await;
    });
}

#[test]
fn a_ledger_that_was_taken_away_is_noticed_and_goes_on_when_it_is_back() {
    run(async {
        for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.lock"] {
            let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
            let daemon = world.start();
            assert!(daemon.rest().await);
            let path = world.state.path().join(name);
            let away = world.state.path().join("away");
            std::fs::rename(&path, &away).unwrap();
            let asked = world.cloud.requests().len();
            world
                .desired
                .keys
                .insert("db".to_owned(), key("db", GeneratedBy::Keyferry, |_| {}));
            daemon.read_again(&world.desired);
            until_error(&daemon, "ledger").await;
            let error = daemon.handle.snapshots().borrow().ledger.clone().unwrap();
            let remedy = error.remedy.unwrap();
            assert!(error.message.contains(name), "{}", error.message);
            assert!(remedy.contains("back") && !remedy.contains("room"), "{remedy}");
            assert_eq!(world.cloud.requests().len(), asked, "nothing is begun");
            assert_eq!(daemon.status("web").state, KeyState::Loaded);
            let refused = daemon.handle.retire("web".to_owned(), Vec::new()).await;
            assert!(refused.unwrap_err().to_string().contains("back"));

            std::fs::rename(&away, &path).unwrap();
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            assert_eq!(daemon.handle.snapshots().borrow().ledger, None);
            daemon.kill().await;
        }
    });
}
