//! Pairs that somebody deletes or replaces, several regions, orphans, and whose pairs fill a quota.

use std::collections::BTreeSet;

use keyferry_plugin::contract::ErrorKind;

use super::cloud::{Fault, HOME};
use super::*;
use crate::ledger::Generation;
use crate::snapshot::{Drift, RegionState};

const OTHER: &str = "cn-beijing";

/// A world whose cloud can be listed, with one key.
fn world(change: impl FnOnce(&mut KeySpec)) -> World {
    let mut world = World::new();
    let listed = account(|account| account.plugin = "listing".to_owned());
    world.desired.accounts.insert("cloud".to_owned(), listed);
    world
        .desired
        .keys
        .insert("web".to_owned(), key("web", GeneratedBy::Keyferry, change));
    world
}

fn in_two_regions(spec: &mut KeySpec) {
    spec.region = Some(HOME.to_owned());
    spec.further_regions = vec![OTHER.to_owned()];
}

fn rows(world: &World) -> Vec<Generation> {
    world.history().generations
}

fn live(world: &World) -> Vec<(u64, String)> {
    let rows = rows(world).into_iter();
    rows.filter(|row| row.state == GenerationState::Live)
        .map(|row| (row.n, row.region.unwrap()))
        .collect()
}

async fn refresh(daemon: &Daemon) {
    let reports = daemon.handle.survey(Vec::new()).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].error, None);
    assert!(daemon.rest().await);
}

fn regions(daemon: &Daemon) -> Vec<(String, RegionState)> {
    let regions = daemon.status("web").regions.into_iter();
    regions
        .map(|region| (region.region.unwrap(), region.state))
        .collect()
}

#[test]
fn a_key_has_a_pair_in_each_region() {
    run(async {
        for generated_by in [GeneratedBy::Keyferry, GeneratedBy::Provider] {
            let mut world = world(|_| {});
            let spec = key("web", generated_by, in_two_regions);
            world.desired.keys.insert("web".to_owned(), spec);
            let daemon = world.start();
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            let names: BTreeSet<String> = world.cloud.our_pairs().into_iter().collect();
            assert_eq!(
                (names.len(), world.cloud.pairs().len()),
                (1, 2),
                "the same name in both"
            );
            let status = daemon.status("web");
            assert_eq!(
                (status.state, status.generation, status.error),
                (KeyState::Loaded, Some(1), None)
            );
            let both = [HOME, OTHER].map(|region| (region.to_owned(), RegionState::Live));
            assert_eq!(regions(&daemon), both);
            daemon.kill().await;

            // The private half is lost: new pairs in both, and both old ones deleted.
            let daemon = world.start();
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            assert_eq!(world.cloud.pairs().len(), 2);
            daemon.kill().await;
        }
    });
}

#[test]
fn a_region_that_refuses_is_named_and_keeps_no_key_from_being_loaded() {
    run(async {
        let world = world(in_two_regions);
        world
            .cloud
            .expect([None, Some(Fault::Refuse(ErrorKind::Unauthorized))]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let status = daemon.status("web");
        assert_eq!((status.state, status.drift), (KeyState::Loaded, None));
        assert_eq!(regions(&daemon)[1], (OTHER.to_owned(), RegionState::Failed));
        let error = status.regions[1].error.clone().unwrap();
        assert_eq!(error.kind, "unauthorized");
        assert_eq!(daemon.handle.resume(Vec::new()).await, Ok(vec!["web".to_owned()]));
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
    });
}

#[test]
fn a_region_that_is_added_later_gets_the_loaded_key() {
    run(async {
        let mut world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let spec = key("web", GeneratedBy::Keyferry, in_two_regions);
        world.desired.keys.insert("web".to_owned(), spec);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(daemon.status("web").generation, Some(1));
        assert_eq!(world.cloud.pairs().len(), 2);
    });
}

#[test]
fn a_copy_whose_answer_is_lost_is_read_back_and_repeated_with_the_same_token() {
    run(async {
        for fault in [
            Fault::LostBefore,
            Fault::LostAfter,
            Fault::ServerErrorBefore,
            Fault::Late(5),
        ] {
            let world = world(in_two_regions);
            world.cloud.expect([None, Some(fault)]);
            let daemon = world.start();
            assert!(daemon.rest().await);
            world.assert_converged(&daemon);
            let mut tokens: Vec<String> = Vec::new();
            for job in world.cloud.requests() {
                if let Job::Import {
                    idempotency_token, ..
                } = job
                {
                    tokens.push(idempotency_token);
                }
            }
            let distinct: BTreeSet<&String> = tokens.iter().skip(1).collect();
            assert_eq!(distinct.len(), 1, "{fault:?}: {tokens:?}");
            assert!(!distinct.contains(&tokens[0]));
            daemon.kill().await;
        }
    });
}

#[test]
fn a_copys_name_that_is_taken_is_left_alone() {
    run(async {
        let world = world(in_two_regions);
        world.cloud.expect([None, Some(Fault::Foreign)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        let names: BTreeSet<String> = world.cloud.our_pairs().into_iter().collect();
        assert_eq!(names.len(), 2, "another name in the other region");
    });
}

#[test]
fn a_deleted_pair_is_made_again_from_the_public_half() {
    run(async {
        let world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let public = daemon.status("web").public_key.unwrap();
        let before = daemon.key_ring.loaded.lock().unwrap().clone();
        world.cloud.delete(HOME, &rows(&world)[0].pair_name);
        assert_eq!(daemon.status("web").drift, None, "nobody looked yet");
        refresh(&daemon).await;
        assert_eq!(live(&world), [(2, HOME.to_owned())]);
        let status = daemon.status("web");
        assert_eq!(
            (status.state, status.drift, status.generation),
            (KeyState::Loaded, None, Some(1))
        );
        assert_eq!(status.public_key.unwrap(), public);
        assert_eq!(
            *daemon.key_ring.loaded.lock().unwrap(),
            before,
            "the agent has the same key"
        );

        // Again and again: at last it is said, and no more are made.
        for _ in 0..4 {
            for name in world.cloud.our_pairs() {
                world.cloud.delete(HOME, &name);
            }
            refresh(&daemon).await;
        }
        assert!(world.cloud.our_pairs().is_empty());
        let status = daemon.status("web");
        assert_eq!(
            (status.state, status.drift),
            (KeyState::Loaded, Some(Drift::Deleted))
        );
        let imports = world
            .cloud
            .requests()
            .into_iter()
            .filter(|job| matches!(job, Job::Import { .. }));
        assert_eq!(imports.count(), crate::plan::MAX_UNWANTED);
        let last = rows(&world).pop().unwrap().pair_name;
        let error = status.error.unwrap();
        assert!(
            error.message.contains(&last),
            "the one that was taken away last is named: {error:?}"
        );
        assert_eq!(status.regions[0].pair_name, Some(last));
        assert!(error.remedy.unwrap().contains("before keyferry starts again"));

        // The next generation begins anew.
        daemon.kill().await;
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
    });
}

#[test]
fn a_deleted_pair_that_is_to_be_reported_stays_so_and_may_come_back() {
    run(async {
        let world = world(|spec| spec.on_drift = OnDrift::Report);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let requests = world.cloud.requests().len();
        // As a policy or a provider in disorder would have it.
        world.cloud.lag(u64::MAX);
        refresh(&daemon).await;
        let status = daemon.status("web");
        assert_eq!(
            (status.state, status.drift),
            (KeyState::Loaded, Some(Drift::Deleted))
        );
        let error = status.error.unwrap();
        assert_eq!(error.kind, "drift");
        assert!(error.message.contains("was deleted") && error.remedy.unwrap().contains("on_drift"));
        assert_eq!(status.regions[0].state, RegionState::Deleted);
        let asked: Vec<Job> = world.cloud.requests().split_off(requests);
        assert!(
            matches!(asked.as_slice(), [Job::List, Job::Get(_)]),
            "one list, and one question about what is not in it: {asked:?}"
        );
        world.cloud.lag(0);
        refresh(&daemon).await;
        let status = daemon.status("web");
        assert_eq!((status.drift, status.error), (None, None));
        world.assert_converged(&daemon);
        daemon.kill().await;
    });
}

#[test]
fn a_pair_that_a_list_left_out_is_asked_about_and_stays() {
    run(async {
        let world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.leave_out(Some(&rows(&world)[0].pair_name));
        refresh(&daemon).await;
        assert_eq!(daemon.status("web").drift, None);
        world.assert_converged(&daemon);
    });
}

#[test]
fn a_replaced_pair_is_never_touched_and_the_key_gets_another_name() {
    run(async {
        let world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.replace(&rows(&world)[0].pair_name);
        refresh(&daemon).await;
        let status = daemon.status("web");
        assert_eq!(
            (status.state, status.drift, status.error),
            (KeyState::Loaded, None, None)
        );
        assert_eq!(live(&world), [(2, HOME.to_owned())]);
        assert_eq!(rows(&world)[0].state, GenerationState::Replaced);
        // The user asks for it: nothing is deleted even then.
        daemon.handle.resume(Vec::new()).await.unwrap();
        assert!(daemon.rest().await);
        world.cloud.assert_foreign_pairs_are_untouched();
        daemon.kill().await;
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(rows(&world)[0].state, GenerationState::Foreign);
        assert_eq!(daemon.status("web").error, None);
    });
}

#[test]
fn a_replaced_pair_is_reported_where_the_file_says_so() {
    run(async {
        let world = world(|spec| spec.on_drift = OnDrift::Report);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.replace(&rows(&world)[0].pair_name);
        refresh(&daemon).await;
        let status = daemon.status("web");
        assert_eq!(
            (status.state, status.drift),
            (KeyState::Loaded, Some(Drift::Replaced))
        );
        assert_eq!(status.regions[0].state, RegionState::Replaced);
        assert!(status.error.unwrap().message.contains("another"));
        world.cloud.assert_foreign_pairs_are_untouched();
    });
}

#[test]
fn a_pair_that_comes_back_makes_the_one_in_its_place_surplus() {
    run(async {
        let world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.lag(1_000_000);
        refresh(&daemon).await;
        world.cloud.lag(0);
        refresh(&daemon).await;
        refresh(&daemon).await;
        assert_eq!(live(&world), [(1, HOME.to_owned())]);
        world.assert_converged(&daemon);
    });
}

#[test]
fn accounts_are_looked_at_by_themselves_once_in_the_interval() {
    run(async {
        let mut world = world(in_two_regions);
        let every = CheckEvery::Time(Duration::from_secs(600));
        world.desired.daemon.check_every = Some(every);
        // Time goes on whenever the engine rests, so it is counted from before there was one; and this task may see a look
        // one interval late.
        let start = world.clock.now().uptime;
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.cloud.delete(OTHER, &rows(&world)[0].pair_name);
        let lists = || {
            world
                .cloud
                .requests()
                .into_iter()
                .filter(|job| *job == Job::List)
                .count()
        };
        while lists() < 2 {
            tokio::task::yield_now().await;
        }
        let took = world.clock.now().uptime - start;
        assert!((500_000..=1_200_000).contains(&took), "{took} ms");
        // One list for each region, and time moves on by whole intervals only.
        while lists() < 10 {
            tokio::task::yield_now().await;
        }
        let took = world.clock.now().uptime - start;
        assert!(
            (2_600_000..=3_700_000).contains(&took),
            "{took} ms for five looks"
        );
        assert_eq!(daemon.status("web").drift, None);
        assert_eq!(world.cloud.pairs().len(), 2);
    });
}

#[test]
fn orphans_are_listed_and_deleted_only_when_asked_for() {
    run(async {
        let world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let name = rows(&world)[0].pair_name.clone();
        let digits = crate::naming::installation_of(&name).unwrap();
        let orphan = format!("keyferry-old-{digits}-7");
        world.cloud.plant(HOME, &orphan);
        world.cloud.plant(HOME, "keyferry-web-abcdef-3");
        world.cloud.plant(HOME, "somebody-elses");
        let reports = daemon.handle.survey(vec!["web".to_owned()]).await.unwrap();
        assert_eq!(reports[0].pairs, Some(4));
        let strays = reports[0].strays.clone();
        let shown: Vec<_> = strays
            .iter()
            .map(|stray| (stray.name.as_str(), stray.is_ours))
            .collect();
        assert_eq!(shown, [(orphan.as_str(), true), ("keyferry-web-abcdef-3", false)]);

        // Another installation's is refused whatever the asker says, and so is one that was not found.
        let mut theirs = strays[1].clone();
        theirs.is_ours = true;
        let mut unknown = strays[0].clone();
        unknown.name = name.clone();
        let results = daemon
            .handle
            .delete_orphans(vec![strays[1].clone(), theirs, unknown])
            .await;
        assert!(results.iter().all(|result| result.error.is_some()), "{results:?}");
        world.cloud.assert_foreign_pairs_are_untouched();

        world.cloud.give_up(HOME, &orphan);
        let results = daemon.handle.delete_orphans(vec![strays[0].clone()]).await;
        assert_eq!((results.len(), results[0].error.clone()), (1, None));
        world.assert_converged(&daemon);
        let deleted = world.history().effects.into_iter().next_back().unwrap();
        assert_eq!(
            (deleted.key.as_str(), deleted.kind),
            (crate::ledger::ORPHANS, crate::ledger::EffectKind::Delete)
        );
        let keys: Vec<String> = daemon
            .handle
            .snapshots()
            .borrow()
            .keys
            .iter()
            .map(|key| key.name.clone())
            .collect();
        assert_eq!(keys, ["web"]);
    });
}

#[test]
fn an_orphan_that_changed_after_it_was_listed_stays() {
    run(async {
        let world = world(|_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let name = rows(&world)[0].pair_name.clone();
        let orphan = format!("{}-9", name.strip_suffix("-1").unwrap());
        world.cloud.plant(HOME, &orphan);
        let reports = daemon.handle.survey(Vec::new()).await.unwrap();
        world.cloud.replace(&orphan);
        let results = daemon.handle.delete_orphans(reports[0].strays.clone()).await;
        assert!(
            results[0].error.clone().unwrap().message.contains("left alone"),
            "{results:?}"
        );
        world.cloud.assert_foreign_pairs_are_untouched();
    });
}

#[test]
fn what_cannot_fit_is_said_before_anything_is_asked() {
    run(async {
        let mut world = world(in_two_regions);
        for name in ["a", "b", "c", "d", "e"] {
            let spec = key(name, GeneratedBy::Keyferry, |_| {});
            world.desired.keys.insert(name.to_owned(), spec);
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        // Four pairs are allowed in a region; by name, e and web are over.
        for name in ["a", "b", "c", "d"] {
            assert_eq!(daemon.status(name).state, KeyState::Loaded, "{name}");
        }
        for name in ["e", "web"] {
            let status = daemon.status(name);
            let error = status.error.unwrap();
            assert_eq!(
                (status.state, error.kind.as_str(), error.retry_at),
                (KeyState::Failed, "quota", None)
            );
            assert!(
                error.message.contains("6 key pairs in region cn-hangzhou"),
                "{}",
                error.message
            );
        }
        assert_eq!(world.cloud.requests().len(), 4);

        // The vendor raised it.
        let raised = account(|account| {
            account.plugin = "listing".to_owned();
            account.max_pairs = Some(6);
        });
        world.desired.accounts.insert("cloud".to_owned(), raised);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
    });
}

#[test]
fn a_full_quota_is_told_with_whose_pairs_fill_it() {
    run(async {
        let world = world(|_| {});
        world.cloud.plant(HOME, "keyferry-web-abcdef-3");
        world.cloud.plant(HOME, "somebody-elses");
        world.cloud.quota(Some(2));
        let daemon = world.start();
        daemon.handle.refresh().await;
        let mut snapshots = daemon.handle.snapshots();
        let said = snapshots.wait_for(|snapshot| {
            let error = snapshot.keys.first().and_then(|key| key.error.as_ref());
            error.is_some_and(|error| error.message.contains("holds"))
        });
        let snapshot = tokio::time::timeout(Duration::from_secs(20), said)
            .await
            .unwrap()
            .unwrap()
            .clone();
        let message = snapshot.keys[0].error.clone().unwrap().message;
        assert!(
            message.ends_with(
                "region cn-hangzhou of account cloud holds 2 key pairs: 0 of this keyferry, 1 of other keyferry \
                 installations and 1 of others"
            ),
            "{message}"
        );
        world.cloud.quota(None);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
    });
}

#[test]
fn an_account_that_is_asked_too_much_is_left_in_peace_as_a_whole() {
    run(async {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let keys: Vec<_> = names.iter().map(|name| (*name, GeneratedBy::Keyferry)).collect();
        let world = World::with_keys(&keys);
        // The first eight leave together, and each is refused.
        world.cloud.always(Some(Fault::Refuse(ErrorKind::Throttled)));
        let daemon = world.start();
        while world.cloud.requests().len() < 8 {
            tokio::task::yield_now().await;
        }
        let first = world.clock.now().uptime;
        while world.cloud.requests().len() < 9 {
            tokio::task::yield_now().await;
        }
        let pause = world.clock.now().uptime - first;
        assert!((500..=1_000).contains(&pause), "{pause} ms of peace");
        world.cloud.always(None);
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
    });
}

#[test]
fn an_account_is_asked_no_faster_than_it_allows() {
    run(async {
        let names: Vec<String> = (0..30).map(|number| format!("key-{number}")).collect();
        let keys: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), GeneratedBy::Keyferry))
            .collect();
        let mut world = World::with_keys(&keys);
        let slow = account(|account| account.max_per_second = Some(5));
        world.desired.accounts.insert("cloud".to_owned(), slow);
        let start = world.clock.now().uptime;
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        let took = world.clock.now().uptime - start;
        assert!((4_800..=5_400).contains(&took), "30 requests took {took} ms");
    });
}
