//! A life without crashes but one restart: its ledger and the cloud's log say what there is to walk.

use keyferry_tests::daemon::Daemon;

use crate::world::{Effect, Making, World, assert_end_by_themselves};

/// One effect of the story, and how to stop the world there in another world where the same story is told.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) effect: Effect,
    /// In which life of the daemon it takes place, from 1.
    pub(crate) life: usize,
    /// What the cloud calls it.
    pub(crate) action: String,
    /// How many requests of that action went before it.
    pub(crate) before: u64,
    /// What the cloud calls looking, and how many such requests went before it.
    pub(crate) look: (String, u64),
}

/// Tells the story: the key is made; the worker dies and takes the private half along; the next generation is made, and the
/// old pair deleted.
pub(crate) fn points(making: Making) -> Vec<Point> {
    let world = World::new(making);
    let daemon = first_life(&world);
    let first = world.effects().len();
    end(daemon);
    let daemon = Daemon::start(&world.home);
    world.assert_sound(&daemon);

    let effects = world.effects();
    assert!(
        effects
            .iter()
            .all(|effect| effect.outcome.as_deref() == Some("done")),
        "{effects:#?}"
    );
    let committed = world.committed();
    assert_eq!(effects.len(), committed.len(), "{effects:#?}\n{committed:#?}");
    let requests = world.cloud.requests().requests;
    let look = requests
        .iter()
        .find(|request| !request.committed)
        .expect("a pair is looked at before it is deleted")
        .action
        .clone();
    let pairs = effects.into_iter().zip(committed).enumerate();
    pairs
        .map(|(index, (effect, request))| {
            assert!(effect.is_of(&request), "{effect:#?}: {request:#?}");
            let earlier = |action: &str| {
                let earlier = requests
                    .iter()
                    .filter(|other| other.number < request.number && other.action == action);
                earlier.count() as u64
            };
            Point {
                life: if index < first { 1 } else { 2 },
                before: earlier(&request.action),
                look: (look.clone(), earlier(&look)),
                action: request.action,
                effect,
            }
        })
        .collect()
}

/// A life that ends as soon as the key is loaded.
pub(crate) fn earlier_life(world: &World) {
    let daemon = Daemon::start(&world.home);
    daemon.wait_loaded(30);
    end(daemon);
}

/// Until the key is loaded and nothing is under way.
pub(crate) fn first_life(world: &World) -> Daemon {
    let daemon = Daemon::start(&world.home);
    world.assert_sound(&daemon);
    daemon
}

/// kill -9 of the worker; couriers and sandboxes have ended when this returns.
pub(crate) fn end(mut daemon: Daemon) {
    let children = daemon.children();
    daemon.kill();
    assert_end_by_themselves(&children);
}
