//! A request that was under way when its sender died, and arrives afterwards: the pair that nobody waits for is found and
//! deleted. Keyferry looks again after ten seconds; that after one and fifteen minutes it does so too is shown by the
//! engine's own tests, whose clock can jump.

use std::time::Duration;

use cloud_sim::{Fault, FaultKind, Plant, RequestRecord};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::{ledger, wait};

use crate::effects::{Victim, kill};
use crate::side_by_side;
use crate::world::{DEADLINE, Making, World};

#[test]
fn what_arrives_after_its_senders_death_is_found_and_deleted() {
    let mut cases = Vec::new();
    for making in Making::ALL {
        cases.push((making, Victim::Worker));
        // The worker has an import's private half still, and sends it again: see below.
        if making != Making::ImportAtEcs {
            cases.push((making, Victim::Courier));
        }
    }
    side_by_side::run(
        "late arrivals",
        crate::SOAK_ROUNDS,
        &cases,
        |case| format!("{case:?}"),
        |&(making, victim)| {
            let world = World::new(making);
            world
                .cloud
                .fault(Fault::new(FaultKind::HangBeforeCommit).count(1));
            let mut daemon = Daemon::start(&world.home);
            let hanging = wait_for_hanging(&world, 1);
            let name = hanging.name.clone().expect("a pair is asked for by name");
            kill(&mut daemon, victim);
            if victim == Victim::Worker {
                daemon = Daemon::start(&world.home);
            }
            another_is_made(&world, &daemon);
            plant(&world, &hanging);
            let pairs = world.cloud.pairs(world.service);
            assert!(
                pairs.len() == 2 && pairs.iter().any(|pair| pair.name == name),
                "{pairs:#?}"
            );
            // Where it arrived after the look at ten seconds, the one at a minute finds it.
            wait::until("the late pair is deleted", Duration::from_secs(100), || {
                let rows = ledger::generations(&world.home);
                (rows[0].pair_name == name && rows[0].state == "deleted").then_some(())
            });
            world.assert_sound(&daemon);
        },
    );
}

/// An import whose courier died is sent again under its name. If the first one arrives just before, the answer that the
/// name is taken does not mislead: it is our own key.
#[test]
fn a_late_import_meets_its_own_repetition() {
    let world = World::new(Making::ImportAtEcs);
    world.cloud.fault(
        Fault::new(FaultKind::HangBeforeCommit)
            .action("ImportKeyPair")
            .count(2),
    );
    let mut daemon = Daemon::start(&world.home);
    let first = wait_for_hanging(&world, 1);
    kill(&mut daemon, Victim::Courier);
    let second = wait_for_hanging(&world, 2);
    assert_eq!(first.parameters, second.parameters);
    plant(&world, &first);
    world.cloud.release();
    world.assert_sound(&daemon);
    let outcome = world
        .cloud
        .requests()
        .requests
        .into_iter()
        .find(|request| request.number == second.number);
    assert_eq!(
        outcome.and_then(|request| request.outcome).as_deref(),
        Some("KeyPair.AlreadyExist")
    );
    assert_eq!(
        ledger::generations(&world.home).len(),
        1,
        "no second pair was needed"
    );
}

/// Waits until the key is loaded with another generation, and the first one's fate is open.
#[track_caller]
fn another_is_made(world: &World, daemon: &Daemon) {
    world.assert_sound(daemon);
    assert_eq!(
        ledger::states(&world.home, crate::world::KEY),
        ["doubtful", "live"]
    );
}

/// The request arrives now.
fn plant(world: &World, request: &RequestRecord) {
    let plant = Plant {
        service: world.service,
        region: request.parameters.get("RegionId").cloned(),
        name: request.name.clone().expect("a pair is asked for by name"),
        public_key: request.parameters.get("PublicKeyBody").cloned(),
    };
    world.cloud.plant(plant).expect("the name is free");
}

/// Waits until so many requests were held back, the last of them still.
#[track_caller]
fn wait_for_hanging(world: &World, count: usize) -> RequestRecord {
    wait::until("the request hangs", DEADLINE, || {
        let requests = world.cloud.requests().requests.into_iter();
        let held: Vec<_> = requests.filter(|request| request.fault.is_some()).collect();
        let last = held.last()?;
        (held.len() == count && last.outcome.is_none()).then(|| last.clone())
    })
}
