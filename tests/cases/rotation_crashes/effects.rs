//! Every effect of a rotation, of the first generation and of the one after a restart, in each way: the worker killed
//! before it takes place and after, with and without its reply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use cloud_sim::{Fault, FaultKind};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::wait;

use crate::gate::Knock;
use crate::lives::{self, Chain, Step, Stop, Story};
use crate::rows::Effect;
use crate::side_by_side::{self, is_soak};
use crate::world::{DEADLINE, MadeBy, Setting, WayIn, World};

/// An effect of a story, and how its life ends there.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Point {
    kind: String,
    /// Where it takes place; none: at the cloud.
    host: Option<String>,
    /// What the cloud calls it.
    action: Option<String>,
    way: Way,
}

/// How a life ends at an effect.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Way {
    /// Killed when its intent is written down, and nothing was done.
    Intended,
    /// Lines are taken off for now, and the host waits to be told whether they stay off: killed then.
    OnHold,
    /// The same, while it is tried whether the key that stays logs in.
    OnTrial,
    /// Killed when it took place, and nobody knows.
    TookPlace,
    /// Killed when its outcome is written down.
    Ended,
    /// Its reply is lost; killed when that is written down.
    Lost,
    /// Its reply is lost, and the worker lives on.
    LostAlone,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Intended,
        Self::OnHold,
        Self::OnTrial,
        Self::TookPlace,
        Self::Ended,
        Self::Lost,
        Self::LostAlone,
    ];
}

#[test]
fn killed_at_every_effect() {
    let settings = [
        (MadeBy::Keyferry, WayIn::SshConfig),
        (MadeBy::Keyferry, WayIn::Recovery),
        (MadeBy::Provider, WayIn::SshConfig),
    ];
    let settings = settings.map(|(made_by, way_in)| Setting { made_by, way_in });
    let stories: BTreeMap<Setting, Vec<(Story, Point)>> = std::thread::scope(|scope| {
        let told = settings.map(|setting| (setting, scope.spawn(move || points(setting))));
        told.map(|(setting, told)| (setting, told.join().expect("the lives without crashes go well")))
            .into_iter()
            .collect()
    });
    let mut chains = Vec::new();
    let mut kinds = [BTreeSet::new(), BTreeSet::new()];
    for (setting, mut points) in stories {
        // Of each kind of effect four ways at least, of lines that are taken off more: in three stories.
        assert!(points.len() >= 4 * 12, "{points:#?}");
        kinds[0].extend(points.iter().map(|(_, point)| point.kind.clone()));
        if !is_soak() {
            points = selected(setting, &points);
        }
        kinds[1].extend(points.iter().map(|(_, point)| point.kind.clone()));
        let steps: Vec<_> = points
            .into_iter()
            .map(|(story, point)| Step {
                story,
                stop: Stop::Effect(point),
            })
            .collect();
        println!("{setting:?}: {} points", steps.len());
        // So many worlds that all are at work all the time.
        let at_least = steps.len() / 4;
        chains.extend(Chain::split(setting, steps, at_least));
    }
    let [there, walked] = kinds;
    assert_eq!(walked, there, "every kind of effect is walked");
    side_by_side::run(
        "effects of rotations",
        1,
        &chains,
        |chain| format!("{chain:?}"),
        |chain| {
            let tally = chain.run();
            assert_eq!(tally.killed, chain.steps.len(), "{:#?}", tally.missed);
        },
    );
}

/// Of each kind of effect each way once; of further settings what is other there.
fn selected(setting: Setting, points: &[(Story, Point)]) -> Vec<(Story, Point)> {
    let mut groups: BTreeMap<(&str, Way), Vec<&(Story, Point)>> = BTreeMap::new();
    for point in points {
        let wanted = match (setting.made_by, setting.way_in) {
            (MadeBy::Provider, _) => point.1.kind == "create",
            (_, WayIn::Recovery) => {
                // Its line is put there once, and stays.
                let is_first = point.0 == Story::First;
                point.1.host.is_some()
                    && is_first == (point.1.kind == "put_trusted")
                    && matches!(point.1.way, Way::OnTrial | Way::TookPlace | Way::Lost)
            }
            (_, WayIn::SshConfig) => true,
        };
        if wanted {
            let group = groups.entry((&point.1.kind, point.1.way)).or_default();
            group.push(point);
        }
    }
    // Another story and another host each time.
    let groups = groups.into_values().enumerate();
    groups
        .map(|(index, group)| group[index % group.len()].clone())
        .collect()
}

/// Lives without crashes: all effects, in all ways.
fn points(setting: Setting) -> Vec<(Story, Point)> {
    let mut world = World::new(setting);
    let mut found = Vec::new();
    let (mut daemon, mut last) = (None, 0);
    for story in [Story::First, Story::Rotate, Story::Return] {
        let first = world.next_effect();
        let begun = lives::begin(&world, story, daemon.take(), &Options::default());
        lives::wait_ready(&begun);
        lives::ask(story, &begun);
        last = world.wait_settled(&begun, last);
        daemon = Some(begun);
        let committed = world.committed();
        for effect in world.effects(first) {
            assert_eq!(effect.outcome.as_deref(), Some("done"), "{effect:#?}");
            let mut requests = committed.iter();
            let request = requests.rfind(|request| effect.host.is_none() && effect.is_of(request));
            assert_eq!(request.is_some(), effect.host.is_none(), "{effect:#?}");
            let ways = Way::ALL.into_iter().filter(|way| match way {
                Way::OnHold | Way::OnTrial => effect.kind == "take_off",
                // A host is tried again after a while only.
                Way::LostAlone => effect.host.is_none() || is_soak(),
                _ => true,
            });
            found.extend(ways.map(|way| {
                let point = Point {
                    kind: effect.kind.clone(),
                    host: effect.host.clone(),
                    action: request.map(|request| request.action.clone()),
                    way,
                };
                (story, point)
            }));
        }
        if story == Story::First {
            world.leave_recovery_alone();
        }
    }
    found.sort();
    found.dedup();
    world.assert_ends_well(daemon.expect("the last life goes on"));
    found
}

/// Ends a life at a point: the daemon, if it still runs.
pub(crate) fn stop(world: &World, story: Story, mut daemon: Daemon, point: &Point) -> Option<Daemon> {
    let (first, last) = (world.next_effect(), world.last_generation());
    let way = point.way;
    match &point.action {
        Some(action) => stop_at_cloud(world, action, way),
        None => world.gate.arm(),
    }
    lives::wait_ready(&daemon);
    lives::ask(story, &daemon);
    let knock = match point.host {
        None => {
            wait_for_cloud(world, &daemon, first, point);
            None
        }
        Some(_) => Some(wait_at_gate(world, &daemon, first, point)),
    };
    if let (Way::Lost | Way::LostAlone, Some(knock)) = (way, &knock) {
        world.gate.lose(knock);
    }
    if way == Way::LostAlone {
        world.gate.disarm();
        world.wait_settled(&daemon, last);
        return Some(daemon);
    }
    if way == Way::Ended || way == Way::Lost {
        let outcome = if way == Way::Ended { "done" } else { "unknown" };
        wait::until("its outcome is written down", DEADLINE, || {
            for knock in world.gate.knocks() {
                world.gate.answer(&knock, "pass");
            }
            let begun = begun(world, first, point)?;
            (begun.outcome.as_deref() == Some(outcome)).then_some(())
        });
    }
    daemon.kill();
    if way != Way::Ended && way != Way::Lost {
        let begun = begun(world, first, point).expect("it has begun");
        assert_eq!(begun.outcome, None, "nobody noted an outcome");
    }
    // What was under way goes on without its worker.
    match (way, &knock) {
        (Way::Intended | Way::OnTrial, Some(knock)) => world.gate.answer(knock, "end"),
        (Way::OnHold | Way::TookPlace, Some(knock)) => world.gate.deliver(knock),
        _ => {}
    }
    world.gate.disarm();
    world.cloud.clear_faults();
    wait::until("the cloud sees that the courier is gone", DEADLINE, || {
        let requests = world.cloud.requests().requests.into_iter();
        let mut held = requests.filter(|request| request.fault.is_some() && request.outcome.is_none());
        held.next().is_none().then_some(())
    });
    None
}

fn stop_at_cloud(world: &World, action: &str, way: Way) {
    let kind = match way {
        Way::Intended => FaultKind::HangBeforeCommit,
        Way::TookPlace => FaultKind::HangAfterCommit,
        Way::Lost | Way::LostAlone => FaultKind::LostReply,
        Way::Ended | Way::OnHold | Way::OnTrial => return,
    };
    world.cloud.fault(Fault::new(kind).action(action).count(1));
}

/// Waits until the cloud has stopped there, or has lost the reply.
#[track_caller]
fn wait_for_cloud(world: &World, daemon: &Daemon, first: i64, point: &Point) {
    let begin = Instant::now();
    wait::until("the effect has begun", 2 * DEADLINE, || {
        assert!(
            !lives::is_over(begin),
            "{point:?}: {:#?}\n{}",
            world.effects(first),
            daemon.log()
        );
        begun(world, first, point)?;
        if point.way == Way::Ended {
            return Some(());
        }
        let requests = world.cloud.requests().requests.into_iter();
        let mut hit = requests.filter(|request| request.fault.is_some());
        let hangs = matches!(point.way, Way::Intended | Way::TookPlace);
        hit.any(|request| {
            request.outcome.is_none() == hangs && point.action.as_ref() == Some(&request.action)
        })
        .then_some(())
    });
}

/// Lets logins through until the one comes that the effect is done over, and stops that one. For an effect that is to end,
/// all are let through.
#[track_caller]
fn wait_at_gate(world: &World, daemon: &Daemon, first: i64, point: &Point) -> Knock {
    let begin = Instant::now();
    // A login on trial comes while another holds the change.
    let mut stopped: Option<Knock> = None;
    wait::until("the login comes that is to be stopped", 2 * DEADLINE, || {
        assert!(
            !lives::is_over(begin),
            "{point:?}: {:#?}\n{}",
            world.effects(first),
            daemon.log()
        );
        if let Some(knock) = &stopped {
            let is_under_way = world.gate.is_under_way(knock);
            if world.gate.has_reached(knock) {
                return Some(knock.clone());
            }
            // The host refused that one: another way in comes next.
            if !is_under_way {
                stopped = None;
            }
        }
        for knock in world.gate.knocks() {
            let is_there = point.host.as_deref() == Some(&*knock.host);
            let is_it = is_there
                && stopped.is_none()
                && begun(world, first, point).is_some_and(|effect| effect.outcome.is_none());
            let (is_edit, end) = match point.way {
                Way::Intended => (true, None),
                Way::OnTrial => (false, None),
                Way::OnHold => (true, Some("written")),
                Way::Ended => {
                    if is_it && knock.is_edit {
                        world.gate.answer(&knock, "pass");
                        return Some(knock);
                    }
                    (true, None)
                }
                Way::TookPlace | Way::Lost | Way::LostAlone if point.kind == "take_off" => {
                    (true, Some("kept"))
                }
                Way::TookPlace | Way::Lost | Way::LostAlone => (true, Some("written")),
            };
            if !is_it || knock.is_edit != is_edit {
                world.gate.answer(&knock, "pass");
                continue;
            }
            let Some(end) = end else {
                return Some(knock);
            };
            world.gate.answer(&knock, end);
            stopped = Some(knock);
        }
        None
    })
}

/// The effect that is meant, once it has begun.
fn begun(world: &World, first: i64, point: &Point) -> Option<Effect> {
    let effects = world.effects(first).into_iter();
    let mut meant = effects.filter(|effect| effect.kind == point.kind && effect.host == point.host);
    meant.next()
}
