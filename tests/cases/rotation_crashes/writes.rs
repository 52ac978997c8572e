//! The worker killed at every write of the ledger, by strace, which sends it SIGKILL at a system call of our choice.
//!
//! A transaction is a few writes to SQLite's log and one fsync. Killed at the first of those writes, nothing of it is on
//! the disk; killed at the fsync, all of it is in the file, and nobody knows. Lives that are only watched say how many
//! there are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::processes::{self, Process};
use keyferry_tests::wait;

use crate::lives::{self, Chain, Step, Stop, Story};
use crate::side_by_side::{self, is_soak};
use crate::world::{DEADLINE, MadeBy, Setting, WayIn, World};

/// The K-th call of a kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hit {
    call: &'static str,
    count: usize,
}

const WRITE: &str = "pwrite64";
/// SQLite's choice between the two depends on how it was built.
const SYNC: [&str; 2] = ["fdatasync", "fsync"];

#[test]
fn killed_at_every_ledger_write() {
    let settings = [
        (MadeBy::Keyferry, WayIn::SshConfig),
        (MadeBy::Keyferry, WayIn::Recovery),
        (MadeBy::Provider, WayIn::SshConfig),
    ];
    let settings = settings.map(|(made_by, way_in)| Setting { made_by, way_in });
    let walked = if is_soak() { &settings[..] } else { &settings[..1] };
    let mut wanted = BTreeMap::new();
    for &setting in walked {
        let mut steps = Vec::new();
        for (story, hits) in hits(setting) {
            println!("{setting:?} {story:?}: {} writes", hits.len());
            // The intent and the outcome at the cloud, on two hosts each, and that both keys logged in there.
            assert!(hits.len() >= 2 * 8, "{story:?}: {hits:?}");
            // Of a few the one, of the next few another.
            let chosen = hits.iter().enumerate();
            let chosen = chosen.filter(|(index, _)| is_soak() || index % SAMPLE == story as usize % SAMPLE);
            steps.extend(chosen.map(|(_, &hit)| Step {
                story,
                stop: Stop::Write(hit),
            }));
        }
        wanted.insert(setting, steps);
    }
    let count = |wanted: &BTreeMap<Setting, Vec<Step>>| wanted.values().map(Vec::len).sum::<usize>();
    let all = count(&wanted);
    // What is done on two hosts at once is not written down in the same order each time, nor always in as many writes: a life
    // may be over before the write that is meant. Then others are lived until one comes to it.
    for _ in 0..MOST_LIVES {
        if count(&wanted) == 0 {
            break;
        }
        wanted = walk(&wanted);
        println!("{} of {all} were beyond the end of their life", count(&wanted));
    }
    let left = count(&wanted);
    assert!(left * 50 <= all, "{left} of {all} were never met: {wanted:#?}");
}

/// Lives that are to be killed; those that were over before.
fn walk(wanted: &BTreeMap<Setting, Vec<Step>>) -> BTreeMap<Setting, Vec<Step>> {
    let chains: Vec<Chain> = wanted
        .iter()
        .flat_map(|(setting, steps)| Chain::split(*setting, steps.clone(), steps.len() / 4))
        .collect();
    let missed = Mutex::new(BTreeMap::<_, Vec<_>>::new());
    side_by_side::run(
        "ledger writes of rotations",
        1,
        &chains,
        |chain| format!("{chain:?}"),
        |chain| {
            let tally = chain.run();
            let mut missed = missed.lock().expect("no thread panics with it");
            missed.entry(chain.setting).or_default().extend(tally.missed);
        },
    );
    missed.into_inner().expect("all threads have ended")
}

/// So often a write is aimed at before it counts as never met.
const MOST_LIVES: usize = 8;

/// One of so many writes is walked in the short form.
const SAMPLE: usize = 6;

/// Lives that are only watched; where they can be killed.
fn hits(setting: Setting) -> Vec<(Story, Vec<Hit>)> {
    let mut world = World::new(setting);
    // Writes in the middle of a transaction are as the first one, which is seen once.
    let is_whole = is_soak() && setting.way_in == WayIn::SshConfig;
    let mut found = Vec::new();
    let (mut daemon, mut last) = (None, 0);
    for story in [Story::First, Story::Rotate, Story::Return] {
        let mut watched = Watched::begin(&world, story, daemon.take(), None);
        lives::ask(story, &watched.daemon);
        last = world.wait_settled(&watched.daemon, last);
        let text = watched.end();
        found.push((story, hits_in(&text, is_whole)));
        if story == Story::First {
            world.leave_recovery_alone();
            // What is rotated next is held by a daemon that was not traced.
            let rested = world.start(&Options::default());
            lives::wait_ready(&rested);
            last = world.wait_settled(&rested, last);
            daemon = Some(rested);
        }
    }
    found
}

/// Every transaction's end, and its first write; or every write.
fn hits_in(text: &str, is_whole: bool) -> Vec<Hit> {
    let mut hits = Vec::new();
    for call in SYNC {
        let most = counts(text, call).into_values().max().unwrap_or(0);
        hits.extend((1..=most).map(|count| Hit { call, count }));
    }
    // Of two threads one makes the ledger, and the other writes to it: which call is whose K-th is clear of one alone.
    let threads = counts(text, WRITE);
    let most = threads.into_iter().max_by_key(|(_, count)| *count);
    let Some((thread, _)) = most else {
        return hits;
    };
    let (mut written, mut begins) = (0, true);
    for line in text.lines().filter(|line| thread_of(line) == thread) {
        if is_call(line, WRITE) {
            written += 1;
            if begins || is_whole {
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
    hits
}

/// Lives a life up to a write, if it comes to that; whether it did.
pub(crate) fn stop(world: &World, story: Story, running: Option<Daemon>, hit: Hit) -> bool {
    let last = world.last_generation();
    let mut watched = Watched::begin(world, story, running, Some(hit));
    lives::ask(story, &watched.daemon);
    let (begin, mut seen) = (Instant::now(), None);
    let was_hit = wait::until("the worker is killed", 2 * DEADLINE, || {
        if watched.has_worker_ended() {
            return Some(true);
        }
        if !world.has_written(&mut seen) {
            return None;
        }
        let settled = world.settled(last);
        assert!(
            !lives::is_over(begin),
            "{hit:?}: {settled:?}\n{}",
            watched.daemon.log()
        );
        settled.is_ok().then_some(false)
    });
    let text = watched.end();
    if was_hit {
        let counts = counts(&text, hit.call);
        assert!(
            counts.values().any(|&count| count == hit.count)
                && counts.values().all(|&count| count <= hit.count),
            "it was not killed there: {text}"
        );
    }
    was_hit
}

/// A daemon with strace at it.
struct Watched {
    daemon: Daemon,
    /// strace, where the daemon was there before.
    tracer: Option<Child>,
    /// The worker, once it is known, where strace has started it.
    worker: Option<u32>,
    trace: PathBuf,
}

impl Watched {
    fn begin(world: &World, story: Story, running: Option<Daemon>, hit: Option<Hit>) -> Self {
        let trace = world.home.path("trace");
        let mut words: Vec<String> = ["-s", "0", "-e"].map(str::to_owned).to_vec();
        words.push(format!("trace={},{},{WRITE}", SYNC[0], SYNC[1]));
        words.extend(["-o".to_owned(), trace.display().to_string()]);
        let files: &[&str] = match story {
            Story::First => &["ledger.sqlite", "ledger.sqlite-journal", "ledger.sqlite-wal"],
            Story::Return | Story::Rotate => &["ledger.sqlite-wal"],
        };
        for file in files {
            words.extend([
                "-P".to_owned(),
                world.home.path("state").join(file).display().to_string(),
            ]);
        }
        if let Some(Hit { call, count }) = hit {
            words.extend(["-e".to_owned(), format!("inject={call}:signal=KILL:when={count}")]);
        }
        if story == Story::Rotate {
            let daemon = running.expect("there is a key to rotate");
            let tracer = Some(attach(&words, ledger_thread(&daemon)));
            return Self {
                daemon,
                tracer,
                worker: None,
                trace,
            };
        }
        // It can be asked to end at any time.
        let mut wrapper: Vec<String> = ["strace", "-f", "-I", "2"].map(str::to_owned).to_vec();
        wrapper.extend(words);
        let options = Options {
            wrapper,
            ..Options::default()
        };
        let daemon = lives::begin(world, story, running, &options);
        if hit.is_none() {
            lives::wait_ready(&daemon);
        }
        Self {
            daemon,
            tracer: None,
            worker: None,
            trace,
        }
    }

    /// Whether the worker has ended. strace goes on for as long as an ssh of it does, and one that had not opened its log yet
    /// waits until the next daemon lets it go.
    fn has_worker_ended(&mut self) -> bool {
        if self.tracer.is_none() && self.worker.is_none() {
            // strace has had other children before.
            let is_worker = |process: &Process| {
                let program = process.arguments.first();
                program.is_some_and(|program| program.ends_with("/keyferry"))
            };
            let children = self.daemon.children();
            let mut own = children.iter().filter(|child| child.parent == self.daemon.pid());
            self.worker = own.find(|child| is_worker(child)).map(|child| child.pid);
        }
        let is_gone = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
        self.daemon.has_ended() || self.worker.is_some_and(is_gone)
    }

    /// Ends the worker, if it still runs, and strace; what strace saw.
    fn end(&mut self) -> String {
        if !self.has_worker_ended() {
            let worker = self.worker.unwrap_or_else(|| self.daemon.pid());
            processes::kill(worker);
        }
        wait::until("the worker ends", DEADLINE, || {
            self.has_worker_ended().then_some(())
        });
        if self.tracer.is_none() && !self.daemon.has_ended() {
            processes::terminate(self.daemon.pid());
        }
        // It may wait for an ssh of the worker's that does not let itself be stopped; what it saw is written.
        let patience = Instant::now() + DEADLINE / 3;
        wait::until("strace ends", DEADLINE, || {
            if self.tracer.is_none() && Instant::now() > patience && !self.daemon.has_ended() {
                processes::kill(self.daemon.pid());
            }
            let tracer_ended = match &mut self.tracer {
                Some(tracer) => tracer.try_wait().expect("a child can be waited for").is_some(),
                None => true,
            };
            (self.daemon.has_ended() && tracer_ended).then_some(())
        });
        fs::read_to_string(&self.trace).expect("strace wrote what it saw")
    }
}

/// The thread that writes to the ledger.
fn ledger_thread(daemon: &Daemon) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the worker runs");
    let mut tasks = tasks.flatten().filter(|task| {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.trim() == "keyferry-ledger"
    });
    let task = tasks.next().expect("the ledger has a thread");
    task.file_name().to_string_lossy().into_owned()
}

fn attach(words: &[String], thread: String) -> Child {
    let mut tracer = Command::new("strace")
        .args(words)
        .args(["-p", &thread])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace can be started (Debian: strace)");
    let mut line = String::new();
    let mut said = BufReader::new(tracer.stderr.take().expect("stderr is a pipe"));
    while !line.contains(" attached") {
        line.clear();
        let length = said.read_line(&mut line).expect("the pipe can be read");
        assert!(length > 0, "strace does not attach to the ledger's thread");
    }
    tracer
}

/// How often each thread made a call.
fn counts(trace: &str, call: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in trace.lines().filter(|line| is_call(line, call)) {
        *counts.entry(thread_of(line).to_owned()).or_default() += 1;
    }
    counts
}

/// The thread's number stands in front, where strace follows several.
fn thread_of(line: &str) -> &str {
    let first = line.split_whitespace().next().unwrap_or_default();
    match first.bytes().all(|byte| byte.is_ascii_digit()) {
        true => first,
        false => "",
    }
}

/// The end of a call may stand on a later line.
fn is_call(line: &str, call: &str) -> bool {
    let rest = line[thread_of(line).len()..].trim_start();
    rest.strip_prefix(call).is_some_and(|rest| rest.starts_with('('))
}
