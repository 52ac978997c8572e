//! Killed at every write, with every fault: it comes to rest with the cloud as the ledger says.

use std::collections::BTreeSet;

use keyferry_plugin::contract::ErrorKind;
use proptest::prelude::*;

use super::cloud::Fault;
use super::*;
use crate::ledger::EffectKind;

const BOTH: [(&str, GeneratedBy); 2] = [("made", GeneratedBy::Provider), ("sent", GeneratedBy::Keyferry)];

/// Starts a world's daemons, one killed after the other, until one comes to rest.
async fn live_through(world: &World, stops: impl IntoIterator<Item = Stop>) -> Daemon {
    for stop in stops {
        let daemon = world.start_until(Some(stop));
        let rested = daemon.rest().await;
        daemon.kill().await;
        if rested {
            break;
        }
        world.clock.pass(1_500);
    }
    let daemon = world.start();
    assert!(daemon.rest().await, "nothing stops the last one");
    daemon
}

/// One key in two regions.
fn in_two_regions() -> World {
    let mut world = World::new();
    let spec = key("web", GeneratedBy::Keyferry, |spec| {
        spec.further_regions = vec!["cn-beijing".to_owned()];
    });
    world.desired.keys.insert("web".to_owned(), spec);
    world
}

/// How many writes the first life of such a world takes.
async fn writes(world: impl Fn() -> World, faults: &[Option<Fault>]) -> u64 {
    let mut count = 0;
    loop {
        let world = world();
        world.cloud.expect(faults.iter().copied());
        let daemon = world.start_until(Some(Stop::Before(count + 1)));
        let rested = daemon.rest().await;
        daemon.kill().await;
        if rested {
            return count;
        }
        count += 1;
    }
}

#[test]
fn killed_at_every_write_of_create_and_import() {
    run(async {
        let faults = [
            None,
            Some(Fault::LostAfter),
            Some(Fault::LostBefore),
            Some(Fault::Late(20)),
            Some(Fault::Late(600)),
            Some(Fault::ServerErrorAfter),
            Some(Fault::ServerErrorBefore),
            Some(Fault::PluginAfter),
            Some(Fault::Garbage),
            Some(Fault::WrongFingerprint),
            Some(Fault::ForeignImport),
        ];
        let mut kinds = BTreeSet::new();
        for fault in faults {
            // Of both keys' first requests.
            let script = [fault, fault];
            let count = writes(|| World::with_keys(&BOTH), &script).await;
            assert!(
                count >= 6,
                "{fault:?}: intent, outcome and load of two keys are {count} writes"
            );
            for number in 1..=count {
                for stop in [Stop::Before(number), Stop::After(number)] {
                    let world = World::with_keys(&BOTH);
                    world.cloud.expect(script);
                    let daemon = live_through(&world, [stop]).await;
                    world.assert_converged(&daemon);
                    kinds.extend(world.history().effects.iter().map(|effect| effect.kind));
                    daemon.kill().await;
                }
            }
        }
        assert_eq!(
            kinds,
            [EffectKind::Create, EffectKind::Delete, EffectKind::Import].into(),
            "the walk met every kind of effect at a provider"
        );
    });
}

#[test]
fn killed_at_every_write_of_a_key_in_two_regions() {
    run(async {
        let faults = [
            None,
            Some(Fault::LostAfter),
            Some(Fault::LostBefore),
            Some(Fault::Late(20)),
            Some(Fault::ServerErrorAfter),
            Some(Fault::Garbage),
            Some(Fault::Foreign),
        ];
        for fault in faults {
            // Of the second region's import.
            let script = [None, fault];
            let count = writes(in_two_regions, &script).await;
            assert!(
                count >= 5,
                "{fault:?}: two intents, two outcomes and a load are {count} writes"
            );
            for number in 1..=count {
                for stop in [Stop::Before(number), Stop::After(number)] {
                    let world = in_two_regions();
                    world.cloud.expect(script);
                    let daemon = live_through(&world, [stop]).await;
                    world.assert_converged(&daemon);
                    daemon.kill().await;
                }
            }
        }
    });
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Fault::ForeignImport)),
        1 => Just(Some(Fault::Garbage)),
        2 => (1u64..850).prop_map(|seconds| Some(Fault::Late(seconds))),
        2 => Just(Some(Fault::LostAfter)),
        2 => Just(Some(Fault::LostBefore)),
        1 => Just(Some(Fault::PluginAfter)),
        1 => Just(Some(Fault::Refuse(ErrorKind::Throttled))),
        1 => Just(Some(Fault::Refuse(ErrorKind::Unavailable))),
        1 => Just(Some(Fault::Refuse(ErrorKind::InUse))),
        1 => Just(Some(Fault::Refuse(ErrorKind::Quota))),
        1 => Just(Some(Fault::ServerErrorAfter)),
        1 => Just(Some(Fault::ServerErrorBefore)),
        1 => Just(Some(Fault::WrongFingerprint)),
    ]
}

fn stop() -> impl Strategy<Value = Stop> {
    prop_oneof![
        (1u64..12).prop_map(Stop::After),
        (1u64..12).prop_map(Stop::Before)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_converges_whatever_happens(
        faults in proptest::collection::vec(fault(), 0..25),
        stops in proptest::collection::vec(stop(), 0..6),
        lag in prop_oneof![2 => Just(0), 1 => 1u64..40_000],
    ) {
        run(async {
            let mut world = World::with_keys(&[
                ("made", GeneratedBy::Provider),
                ("made-2", GeneratedBy::Provider),
                ("sent", GeneratedBy::Keyferry),
            ]);
            let web = in_two_regions().desired.keys.remove("web");
            world.desired.keys.extend(web.map(|spec| ("web".to_owned(), spec)));
            world.cloud.expect(faults);
            world.cloud.lag(lag);
            let daemon = live_through(&world, stops).await;
            world.assert_converged(&daemon);
            daemon.kill().await;
        });
    }
}
