//! The worker killed at every write of the ledger, by strace, which sends it SIGKILL at a system call of our choice.
//!
//! A transaction is a few writes to SQLite's log and one fsync. Killed at the first of those writes, nothing of it is on
//! the disk; killed at the fsync, all of it is in the file, and nobody knows. A life that is only watched says how
//! many there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cloud_sim::{Fault, FaultKind};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::processes::{self, Process};
use keyferry_tests::wait;

use crate::side_by_side::{self, is_soak};
use crate::story;
use crate::world::{DEADLINE, KEY, Making, World};

/// Whose life is walked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Life {
    /// The first one, from an empty state directory: the ledger is made. One thread makes it and another writes to it, and
    /// strace counts by thread, so that this walks the making.
    First,
    /// The second one: the private half is lost, the next generation is made, the old pair deleted.
    Second,
    /// The second one as well, and the public half's file instead of the ledger.
    SecondPublic,
}

#[derive(Clone, Copy, Debug)]
struct Series {
    making: Making,
    life: Life,
    /// Whether the first reply to each kind of effect is lost.
    lost: bool,
}

/// The K-th call of a kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Hit {
    call: &'static str,
    count: usize,
}

const WRITE: &str = "pwrite64";
/// SQLite's choice between the two depends on how it was built.
const SYNC: [&str; 2] = ["fdatasync", "fsync"];

#[test]
fn worker_killed_at_every_ledger_write() {
    let mut all = Vec::new();
    for making in Making::ALL {
        if making == Making::CreateAtEns && !is_soak() {
            continue;
        }
        for lost in [false, true] {
            all.push(Series {
                making,
                life: Life::Second,
                lost,
            });
        }
    }
    for life in [Life::First, Life::SecondPublic] {
        all.push(Series {
            making: Making::ImportAtEcs,
            life,
            lost: false,
        });
    }
    let mut cases = Vec::new();
    for series in all {
        let hits = hits(series);
        println!("{series:?}: {} points", hits.len());
        cases.extend(hits.into_iter().map(|hit| (series, hit)));
    }
    side_by_side::run(
        "ledger writes",
        crate::SOAK_ROUNDS,
        &cases,
        |case| format!("{case:?}"),
        |&(series, hit)| {
            let world = world(series);
            let trace = trace(&world);
            let mut daemon = launch(&world, series, Some(hit));
            // With the worker and all that it leaves behind, strace ends.
            wait::until("the worker is killed", DEADLINE, || {
                daemon.has_ended().then_some(())
            });
            let trace = fs::read_to_string(trace).expect("strace wrote what it saw");
            assert!(trace.contains("+++ killed by SIGKILL +++"), "{trace}");
            let counts = counts(&trace, hit.call);
            assert!(
                counts.values().any(|&count| count == hit.count)
                    && counts.values().all(|&count| count <= hit.count),
                "it was not killed there: {trace}"
            );
            drop(daemon);
            let daemon = Daemon::start(&world.home);
            world.assert_sound(&daemon);
        },
    );
}

/// Lives a life that is only watched; where it can be killed.
fn hits(series: Series) -> Vec<Hit> {
    let world = world(series);
    let mut daemon = launch(&world, series, None);
    let before = u64::from(series.life != Life::First);
    wait::until("it is loaded and nothing is left to do", DEADLINE, || {
        let path = world.home.path("state/public").join(format!("{KEY}.pub"));
        // At first there may be no ledger to read.
        let is_there = world.home.ledger().exists() && daemon.wait_for_log(" ready", DEADLINE);
        let live = is_there.then(|| world.settled(before))??;
        fs::read_to_string(path)
            .ok()?
            .contains(&live.pair_name)
            .then_some(())
    });
    world.assert_sound(&daemon);
    // strace has one child of its own: the worker.
    let children = processes::descendants(daemon.pid());
    let worker: Vec<&Process> = children
        .iter()
        .filter(|process| process.parent == daemon.pid())
        .collect();
    assert_eq!(worker.len(), 1, "{children:?}");
    // Asked to end it would write once more, to tidy up.
    worker[0].kill();
    wait::until("the worker ends", DEADLINE, || daemon.has_ended().then_some(()));

    let text = fs::read_to_string(trace(&world)).expect("strace wrote what it saw");
    let mut hits = Vec::new();
    for call in SYNC {
        let most = counts(&text, call).into_values().max().unwrap_or(0);
        hits.extend((1..=most).map(|count| Hit { call, count }));
    }
    let syncs = hits.len();
    // The intent, the outcome, and that it was loaded; the same of a deletion, but for the last.
    assert!(series.life != Life::Second || syncs >= 5, "{text}");
    assert!(syncs >= 2, "{text}");
    if series.life == Life::Second {
        // One thread writes.
        let threads = counts(&text, WRITE);
        assert_eq!(threads.len(), 1, "{text}");
        let (mut written, mut begins) = (0, true);
        for line in text.lines() {
            if is_call(line, WRITE) {
                written += 1;
                if begins || is_soak() {
                    hits.push(Hit {
                        call: WRITE,
                        count: written,
                    });
                }
                begins = false;
            } else if SYNC.iter().any(|call| is_call(line, call)) {
                begins = true;
            }
        }
    }
    hits
}

/// Up to the life that is walked.
fn world(series: Series) -> World {
    let world = World::new(series.making);
    if series.life != Life::First {
        story::earlier_life(&world);
    }
    if series.lost {
        let mut actions: Vec<String> = world
            .committed()
            .into_iter()
            .map(|request| request.action)
            .collect();
        actions.push("DeleteKeyPairs".to_owned());
        for action in actions {
            world
                .cloud
                .fault(Fault::new(FaultKind::LostReply).action(action).count(1));
        }
    }
    world
}

/// Starts the daemon under strace, which kills it at the hit.
fn launch(world: &World, series: Series, hit: Option<Hit>) -> Daemon {
    let state = world.home.path("state");
    let files: &[&str] = match series.life {
        Life::First => &["ledger.sqlite", "ledger.sqlite-journal", "ledger.sqlite-wal"],
        Life::Second => &["ledger.sqlite-wal"],
        Life::SecondPublic => &["public/.web.pub.new", "public"],
    };
    let mut wrapper: Vec<String> = ["strace", "-f", "-s", "0", "-e"].map(str::to_owned).to_vec();
    wrapper.push(format!("trace={},{},{WRITE}", SYNC[0], SYNC[1]));
    wrapper.extend(["-o".to_owned(), trace(world).display().to_string()]);
    for file in files {
        wrapper.extend(["-P".to_owned(), state.join(file).display().to_string()]);
    }
    if let Some(Hit { call, count }) = hit {
        wrapper.extend(["-e".to_owned(), format!("inject={call}:signal=KILL:when={count}")]);
    }
    let options = Options {
        wrapper,
        ..Options::default()
    };
    Daemon::launch(&world.home, &options)
}

fn trace(world: &World) -> PathBuf {
    world.home.path("trace")
}

/// How often each thread made a call.
fn counts(trace: &str, call: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in trace.lines().filter(|line| is_call(line, call)) {
        let thread = line.split_whitespace().next().unwrap_or_default();
        *counts.entry(thread.to_owned()).or_default() += 1;
    }
    counts
}

/// A line is the thread's number and the call; its end may stand on a later line.
fn is_call(line: &str, call: &str) -> bool {
    let mut words = line.split_whitespace();
    let begin = words.nth(1).unwrap_or_default();
    begin.strip_prefix(call).is_some_and(|rest| rest.starts_with('('))
}
