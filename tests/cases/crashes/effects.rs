//! Every effect of a create and an import, each victim, with and without its reply.
//!
//! The world is stopped by the cloud, which holds the request back. That the kill came between the effect's intent
//! and its outcome is read from the ledger while it is so.

use cloud_sim::{Fault, FaultKind, RequestRecord};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::wait;

use crate::side_by_side;
use crate::story::{self, Point, points};
use crate::world::{DEADLINE, Making, World, assert_end_by_themselves};

/// Where the world stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// The cloud has the request and has done nothing.
    BeforeCommit,
    /// The cloud has done it and has not answered.
    AfterCommit,
    /// The reply is lost, and what became of it is being looked up.
    ReadBack,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Victim {
    Worker,
    Courier,
    Sandbox,
}

/// What becomes of the reply that hangs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reply {
    Arrives,
    Lost,
}

#[derive(Clone, Debug)]
struct Case {
    making: Making,
    point: Point,
    stop: Stop,
    victim: Victim,
    reply: Reply,
}

#[test]
fn killed_at_every_effect() {
    let mut cases = Vec::new();
    for making in Making::ALL.into_iter().chain([Making::ImportInTwoRegions]) {
        // What differs with several regions is the worker's affair alone.
        let is_short = making == Making::ImportInTwoRegions && !side_by_side::is_soak();
        for point in points(making) {
            for stop in [Stop::BeforeCommit, Stop::AfterCommit, Stop::ReadBack] {
                for victim in [Victim::Worker, Victim::Courier, Victim::Sandbox] {
                    if is_short && victim != Victim::Worker {
                        continue;
                    }
                    for reply in [Reply::Arrives, Reply::Lost] {
                        // The reply to a dead courier is lost in any case, and a looking-up without reply is looked up again.
                        if reply == Reply::Lost && (victim != Victim::Sandbox || stop == Stop::ReadBack) {
                            continue;
                        }
                        cases.push(Case {
                            making,
                            point: point.clone(),
                            stop,
                            victim,
                            reply,
                        });
                    }
                }
            }
        }
    }
    // Create, create again and delete of three makings, eleven ways each; and with a second region two of each, three ways.
    assert!(cases.len() >= 99 + 18, "{} cases", cases.len());
    side_by_side::run("effects", crate::SOAK_ROUNDS, &cases, name, run);
}

fn name(case: &Case) -> String {
    let Point { effect, life, .. } = &case.point;
    format!(
        "{:?}, {} of generation {} in life {life}: {:?}, {:?} killed, the reply {:?}",
        case.making, effect.kind, effect.n, case.stop, case.victim, case.reply
    )
}

fn run(case: &Case) {
    let Point { effect, life, .. } = &case.point;
    let world = World::new(case.making);
    arm(&world, &case.point, case.stop);
    for _ in 1..*life {
        story::earlier_life(&world);
    }
    let mut daemon = Daemon::start(&world.home);
    let hanging = wait_for_hanging(&world, case.stop);

    // It is the effect that was meant, begun and not ended; or, when it is looked up, ended nobody knows how.
    let expected = (case.stop == Stop::ReadBack).then_some("unknown");
    let last = || world.effects().pop().expect("an effect has begun");
    let begun = last();
    assert_eq!(
        (&begun.kind, begun.n, begun.outcome.as_deref()),
        (&effect.kind, effect.n, expected)
    );
    assert!(begun.is_of(&hanging), "{begun:#?}: {hanging:#?}");

    kill(&mut daemon, case.victim);
    // Nobody noted an outcome before or after. (Of a courier's death the worker learns at once.)
    if case.victim != Victim::Courier {
        assert_eq!(last(), begun);
    }
    world.cloud.clear_faults();
    if case.reply == Reply::Lost {
        world.cloud.lose_replies();
    } else {
        if case.victim != Victim::Sandbox {
            wait::until("the cloud sees that the courier is gone", DEADLINE, || {
                let requests = world.cloud.requests().requests;
                let request = requests
                    .into_iter()
                    .find(|request| request.number == hanging.number)?;
                (request.outcome.as_deref() == Some("client_gone")).then_some(())
            });
        }
        world.cloud.release();
    }
    if case.victim == Victim::Worker {
        daemon = Daemon::start(&world.home);
    }
    world.assert_sound(&daemon);
}

/// Has the cloud stop at a point.
fn arm(world: &World, point: &Point, stop: Stop) {
    let at_effect = |kind| {
        Fault::new(kind)
            .action(&*point.action)
            .after(point.before)
            .count(1)
    };
    match stop {
        Stop::BeforeCommit => world.cloud.fault(at_effect(FaultKind::HangBeforeCommit)),
        Stop::AfterCommit => world.cloud.fault(at_effect(FaultKind::HangAfterCommit)),
        Stop::ReadBack => {
            world.cloud.fault(at_effect(FaultKind::LostReply));
            let (look, before) = &point.look;
            let hang = Fault::new(FaultKind::HangBeforeCommit);
            world.cloud.fault(hang.action(&**look).after(*before).count(1));
        }
    }
}

/// Waits until the cloud has stopped there.
#[track_caller]
fn wait_for_hanging(world: &World, stop: Stop) -> RequestRecord {
    let kind = match stop {
        Stop::AfterCommit => FaultKind::HangAfterCommit,
        Stop::BeforeCommit | Stop::ReadBack => FaultKind::HangBeforeCommit,
    };
    wait::until("the request hangs", DEADLINE, || {
        let requests = world.cloud.requests().requests.into_iter();
        requests
            .filter(|request| request.fault == Some(kind.name()) && request.outcome.is_none())
            .find(|request| request.committed == (stop == Stop::AfterCommit))
    })
}

/// kill -9, and what depends on the victim has ended when this returns.
#[track_caller]
pub(crate) fn kill(daemon: &mut Daemon, victim: Victim) {
    let children = daemon.children();
    let of = |role: &str| children.iter().find(|process| process.is(role)).cloned();
    let (courier, sandbox) = (of("courier"), of("sandbox"));
    let (courier, sandbox) = (
        courier.expect("a courier is at work"),
        sandbox.expect("it has a sandbox"),
    );
    match victim {
        Victim::Worker => {
            daemon.kill();
            assert_end_by_themselves(&[courier, sandbox]);
        }
        Victim::Courier => {
            courier.kill();
            assert_end_by_themselves(&[courier, sandbox]);
        }
        Victim::Sandbox => {
            sandbox.kill();
            assert_end_by_themselves(&[sandbox]);
            assert!(courier.is_running(), "the courier lives on");
        }
    }
}
