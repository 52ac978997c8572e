//! Lives of a daemon that are cut short, one after the other in the same world.

use std::fmt::Debug;
use std::time::Instant;

use keyferry_tests::daemon::{Daemon, Options};

use crate::effects::{self, Point};
use crate::world::{DEADLINE, KEY, Setting, World};
use crate::writes::{self, Hit};

/// What a life is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Story {
    /// From an empty state directory: the first generation is made and put on its hosts.
    First,
    /// The private halves are lost: the next generation is put there over another way in, and the lost one's line and pair go.
    Return,
    /// The user asks for the next generation.
    Rotate,
}

/// Where a life ends.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Effect(Point),
    Write(Hit),
}

/// A life, and where it ends. Between those of [`Story::Rotate`] the daemon comes to rest, each time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) story: Story,
    pub(crate) stop: Stop,
}

/// A world, and the lives in it.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) setting: Setting,
    pub(crate) steps: Vec<Step>,
}

/// How often a daemon was killed where it was meant to be, and the lives that were over before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) killed: usize,
    pub(crate) missed: Vec<Step>,
}

impl Chain {
    /// Worlds for these steps. Each begins with one of the first lives, where there are any, and has its share of the others.
    pub(crate) fn split(setting: Setting, steps: Vec<Step>, at_least: usize) -> Vec<Self> {
        let of = |story| {
            let steps = steps.iter().filter(move |step| step.story == story);
            steps.cloned().collect::<Vec<_>>()
        };
        let (first, rotate, again) = (of(Story::First), of(Story::Rotate), of(Story::Return));
        let count = first.len().max(at_least).max(1);
        let mut chains: Vec<Self> = (0..count)
            .map(|index| Self {
                setting,
                steps: first.get(index).cloned().into_iter().collect(),
            })
            .collect();
        // A life that returns follows one that was killed while it rotated: there is most to tidy up.
        for index in 0..rotate.len().max(again.len()) {
            let steps = [rotate.get(index), again.get(index)].into_iter().flatten();
            chains[index % count].steps.extend(steps.cloned());
        }
        chains.retain(|chain| !chain.steps.is_empty());
        chains
    }

    /// Lives them all.
    ///
    /// # Panics
    /// When something does not come to be as it must.
    pub(crate) fn run(&self) -> Tally {
        let mut world = World::new(self.setting);
        let mut tally = Tally::default();
        let mut daemon = None;
        let mut is_deployed = false;
        for step in &self.steps {
            let _doing = Doing(step);
            let needs_rest = step.story != Story::First && !is_deployed;
            if step.story == Story::Rotate || needs_rest {
                daemon = Some(come_to_rest(&world, daemon.take()));
                if !is_deployed {
                    world.leave_recovery_alone();
                    is_deployed = true;
                }
            }
            let was_hit;
            (daemon, was_hit) = live(&world, step, daemon.take());
            match was_hit {
                true => tally.killed += 1,
                false => tally.missed.push(step.clone()),
            }
        }
        let _doing = Doing(&"the last of them");
        let rested = come_to_rest(&world, daemon);
        world.assert_ends_well(rested);
        tally
    }
}

/// Starts a daemon, if none runs, and waits until all has come to rest.
#[track_caller]
fn come_to_rest(world: &World, daemon: Option<Daemon>) -> Daemon {
    let last = world.last_generation();
    // What one that was killed held is lost; one that runs may have nothing left to do.
    let (daemon, after) = match daemon {
        Some(daemon) => (daemon, 0),
        None => (world.start(&Options::default()), last),
    };
    wait_ready(&daemon);
    world.wait_settled(&daemon, after);
    daemon
}

/// # Panics
/// When it is not ready in time.
#[track_caller]
pub(crate) fn wait_ready(daemon: &Daemon) {
    assert!(daemon.wait_for_log(" ready", DEADLINE), "{}", daemon.log());
}

/// Begins a life, or goes on in the one that runs.
pub(crate) fn begin(world: &World, story: Story, running: Option<Daemon>, options: &Options) -> Daemon {
    match (story, running) {
        (Story::Rotate, Some(daemon)) => daemon,
        (_, running) => {
            if let Some(mut daemon) = running {
                daemon.kill();
            }
            world.start(options)
        }
    }
}

/// Asks for what the story is about, where somebody has to.
pub(crate) fn ask(story: Story, daemon: &Daemon) {
    if story == Story::Rotate {
        // The worker may be killed before it answers.
        let _ = daemon.keyferry(&["rotate", KEY]);
    }
}

/// A life up to its stop; the daemon, if it still runs, and whether it was hit.
fn live(world: &World, step: &Step, running: Option<Daemon>) -> (Option<Daemon>, bool) {
    match &step.stop {
        Stop::Effect(point) => {
            let daemon = begin(world, step.story, running, &Options::default());
            (effects::stop(world, step.story, daemon, point), true)
        }
        Stop::Write(hit) => (None, writes::stop(world, step.story, running, *hit)),
    }
}

/// Says what was under way when a case fails.
struct Doing<'a, T: Debug>(&'a T);

impl<T: Debug> Drop for Doing<'_, T> {
    #[expect(clippy::print_stderr, reason = "what a test prints is shown when it fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- it was {:?} ---", self.0);
        }
    }
}

/// Whether a deadline is over.
pub(crate) fn is_over(begin: Instant) -> bool {
    begin.elapsed() > DEADLINE
}
