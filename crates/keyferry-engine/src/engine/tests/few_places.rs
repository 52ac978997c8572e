//! Looks at accounts that may be asked one thing at a time, and at keys that wait for something else.

use super::cloud::HOME;
use super::rotation::world_with;
use super::*;
use crate::snapshot::RegionState;

/// A world whose cloud can be listed, one thing at a time.
fn narrow(world: &mut World) {
    let narrow = account(|account| {
        account.plugin = "listing".to_owned();
        account.max_concurrent = Some(1);
    });
    world.desired.accounts.insert("cloud".to_owned(), narrow);
}

async fn survey(daemon: &Daemon) {
    let reports = daemon.handle.survey(Vec::new());
    let reports = tokio::time::timeout(Duration::from_secs(10), reports).await;
    let reports = reports.expect("the look comes to an end").unwrap();
    assert_eq!(reports[0].error, None);
}

#[test]
fn missing_pairs_are_confirmed_where_one_request_is_allowed() {
    run(async {
        let mut world = World::new();
        narrow(&mut world);
        for name in ["db", "web"] {
            let spec = key(name, GeneratedBy::Keyferry, |spec| {
                spec.region = Some(HOME.to_owned());
                spec.further_regions = vec!["cn-beijing".to_owned()];
                spec.on_drift = OnDrift::Report;
            });
            world.desired.keys.insert(name.to_owned(), spec);
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        for (region, name) in world.cloud.pairs() {
            world.cloud.delete(&region, &name);
        }
        survey(&daemon).await;
        for key in ["db", "web"] {
            let regions = daemon.status(key).regions;
            assert_eq!(regions.len(), 2);
            assert!(regions.iter().all(|region| region.state == RegionState::Deleted));
        }
        assert_eq!(world.cloud.in_flight().1, 1, "one at a time");
        // And the account goes on.
        survey(&daemon).await;
    });
}

#[test]
fn a_missing_pair_of_a_key_that_waits_to_be_retired_keeps_no_look_from_its_end() {
    run(async {
        let mut world = world_with(&["web-1"], |_| {});
        narrow(&mut world);
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        daemon
            .until("its line stays", |status| {
                let rotation = status.rotation.as_ref();
                rotation.is_some_and(|rotation| rotation.waiting.is_some())
            })
            .await;
        let (region, name) = world.cloud.pairs().remove(0);
        world.cloud.delete(&region, &name);
        survey(&daemon).await;
        let row = world.history().generations.remove(0);
        assert_eq!(row.state, GenerationState::Missing);
        daemon.kill().await;
    });
}
