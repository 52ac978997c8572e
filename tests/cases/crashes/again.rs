//! Killed between requests, and killed again and again.

use cloud_sim::{Fault, FaultKind, RequestFilter};
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::{ledger, wait};

use crate::effects::{Victim, kill};
use crate::world::{DEADLINE, KEY, Making, World};
use crate::{side_by_side, story};

/// A courier or sandbox that dies with nothing to do is replaced when there is something to do.
#[test]
fn killed_between_requests() {
    for victim in [Victim::Sandbox, Victim::Courier] {
        let world = World::new(Making::ImportAtEcs);
        let mut daemon = story::first_life(&world);
        for next in ["next", "one-more"] {
            kill(&mut daemon, victim);
            world
                .home
                .key(next, "account = \"cloud\"\nalgorithm = \"ecdsa-p256\"\n");
            daemon.wait_loaded(30);
        }
        ledger::assert_matches_cloud(&world.home, &world.cloud);
        // None of it needed a second try.
        let asked = world.cloud.requests().requests.len();
        assert_eq!(
            (asked, ledger::generations(&world.home).len()),
            (3, 3),
            "{victim:?}"
        );
    }
}

/// A sandbox that is killed during every request costs nothing: each step is a pure function and asked again.
#[test]
fn sandbox_killed_at_every_request() {
    for making in Making::ALL {
        let world = World::new(making);
        story::end(story::first_life(&world));
        let before = world.cloud.requests().requests.len();
        world.cloud.fault(Fault::new(FaultKind::HangAfterCommit));
        let mut daemon = Daemon::start(&world.home);
        let kills = kill_while_it_hangs(&world, &mut daemon, Victim::Sandbox);
        // Look, make, compare and delete at least. Looking twice costs nothing; none of the effects is asked for twice.
        let requests = world.cloud.requests().requests.split_off(before);
        let asked: Vec<_> = requests
            .iter()
            .map(|request| (request.action.as_str(), request.committed))
            .collect();
        let effects = asked.iter().filter(|(_, committed)| *committed).count();
        assert!(kills >= 4 && effects == 2, "{making:?}: {kills} kills, {asked:?}");
        world.assert_sound(&daemon);
    }
}

/// A courier that is killed at a request, and at what follows from that, several times over.
#[test]
fn courier_killed_several_times_in_a_row() {
    for kind in [FaultKind::HangBeforeCommit, FaultKind::HangAfterCommit] {
        let world = World::new(Making::ImportAtEcs);
        world.cloud.fault(Fault::new(kind).count(4));
        let mut daemon = Daemon::start(&world.home);
        while kill_next(&world, &mut daemon, Victim::Courier) < 4 {}
        world.assert_sound(&daemon);
    }
}

/// A worker that dies in one life after the other, each time a request later.
#[test]
fn worker_killed_in_every_life() {
    side_by_side::run(
        "lives",
        crate::SOAK_ROUNDS,
        &Making::ALL,
        |making| format!("{making:?}"),
        |&making| {
            let world = World::new(making);
            let mut kills = 0;
            for done in 0..LIVES {
                world
                    .cloud
                    .fault(Fault::new(FaultKind::HangAfterCommit).after(done).count(1));
                let mut daemon = Daemon::start(&world.home);
                // A life may have fewer requests than that.
                let hangs = wait::until("a request hangs, or all is done", DEADLINE, || {
                    let hangs = hanging(&world) > 0;
                    let last = ledger::generations(&world.home).last().map_or(0, |row| row.n);
                    (hangs || (world.settled(0).is_some_and(|live| live.n == last) && is_loaded(&daemon)))
                        .then_some(hangs)
                });
                if hangs {
                    kill(&mut daemon, Victim::Worker);
                    kills += 1;
                } else {
                    story::end(daemon);
                }
                world.cloud.clear_faults();
                world.cloud.release();
            }
            assert!(kills >= 4, "{kills} kills");
            world.assert_sound(&Daemon::start(&world.home));
        },
    );
}

fn is_loaded(daemon: &Daemon) -> bool {
    find(&daemon.status(), KEY)["state"] == "loaded"
}

/// Kills the victim at each request of a second life, until nothing is left to do; how often that was.
fn kill_while_it_hangs(world: &World, daemon: &mut Daemon, victim: Victim) -> usize {
    let mut kills = 0;
    loop {
        let hangs = wait::until("a request hangs, or all is done", DEADLINE, || {
            let hangs = hanging(world) > 0;
            (hangs || world.settled(1).is_some()).then_some(hangs)
        });
        if !hangs {
            return kills;
        }
        kill(daemon, victim);
        kills += 1;
        release_all(world);
    }
}

/// Kills the victim at the next request that hangs; how many were hit by then.
fn kill_next(world: &World, daemon: &mut Daemon, victim: Victim) -> usize {
    wait::until("a request hangs", DEADLINE, || (hanging(world) > 0).then_some(()));
    kill(daemon, victim);
    release_all(world);
    let requests = world.cloud.requests().requests;
    requests.iter().filter(|request| request.fault.is_some()).count()
}

fn hanging(world: &World) -> usize {
    let filter = RequestFilter {
        finished: Some(false),
        ..RequestFilter::default()
    };
    // Only requests that a fault holds: others end by themselves.
    world
        .cloud
        .wait_for_requests(&filter, 0, DEADLINE)
        .map_or(0, |found| {
            found.iter().filter(|request| request.fault.is_some()).count()
        })
}

fn release_all(world: &World) {
    world.cloud.release();
    wait::until("nothing hangs any more", DEADLINE, || {
        (hanging(world) == 0).then_some(())
    });
}

/// Lives of a worker that are cut short.
const LIVES: u64 = 6;
