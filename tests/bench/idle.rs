//! What a daemon costs that has nothing to do: memory and wake-ups of all its processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::Duration;

use cloud_sim::Service;
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::processes::proportional_set_size;
use keyferry_tests::wait;

use crate::say;

const KEYS: usize = 10;
const TIME: Duration = Duration::from_secs(60);

pub(crate) fn run() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    for number in 0..KEYS {
        home.key(
            &format!("key-{number}"),
            "account = \"ecs\"\nalgorithm = \"rsa-2048\"\n",
        );
    }
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(120);
    wait::until("the couriers have ended", Duration::from_secs(60), || {
        daemon.children().is_empty().then_some(())
    });
    let before = wake_ups(daemon.pid());
    // The one thing to do here is nothing.
    thread::sleep(TIME);
    // A thread that ended in between woke up once for it.
    let after = wake_ups(daemon.pid());
    let ended = before
        .keys()
        .filter(|thread| !after.contains_key(*thread))
        .count() as u64;
    let woken = ended
        + after
            .iter()
            .map(|(thread, count)| count - before.get(thread).unwrap_or(&0))
            .sum::<u64>();
    let mut processes = vec![daemon.pid()];
    processes.extend(daemon.children().iter().map(|process| process.pid));
    let memory: u64 = processes
        .iter()
        .filter_map(|&pid| proportional_set_size(pid))
        .sum();
    say(&format!(
        "\nIdle with {KEYS} keys, {} s after the last job: {:.1} MB of memory (PSS) in {} process(es), aim 15 MB; {woken} wake-ups, aim: its timers",
        TIME.as_secs(),
        memory as f64 / 1024.0,
        processes.len(),
    ));
}

/// Times that each thread of the process went to sleep, which is as often as it woke up.
fn wake_ups(pid: u32) -> BTreeMap<OsString, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
    tasks
        .flatten()
        .filter_map(|task| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            Some((task.file_name(), line.trim().parse().ok()?))
        })
        .collect()
}
