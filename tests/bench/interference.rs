//! A signature while everything around the agent goes wrong, against the same agent with nothing else to do.

use std::path::Path;
use std::time::{Duration, Instant};

use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::home::Home;
use keyferry_tests::{openssh, trouble};

use crate::client::{Connection, sign_request};
use crate::{quantile, say};

/// Between one request and the next: a person's pace is slower, a deployment's about this.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) fn run() {
    let cloud = keyferry_tests::cloud();
    let (calm, troubled) = (Home::new(), Home::new());
    let daemons = [&calm, &troubled].map(|home| {
        trouble::prepare(home, &cloud);
        let daemon = Daemon::start(home);
        daemon.wait_loaded(60);
        daemon
    });
    let mut connections = [&calm, &troubled].map(|home| Connection::open(&home.agent_socket()));
    let requests = daemons.each_ref().map(|daemon| sign_request(&blob(daemon), 0));

    // In turn, so that a machine that is busy for other reasons is busy for both.
    let mut idle = Vec::new();
    let mut before = Vec::new();
    measure(
        &mut connections,
        &requests,
        Instant::now() + Duration::from_secs(5),
        [&mut idle, &mut before],
        || false,
    );
    trouble::begin(&troubled, 500);
    let start = Instant::now();
    let (mut beside, mut under) = (Vec::new(), Vec::new());
    let socket = troubled.agent_socket();
    let mut looked = Instant::now();
    measure(
        &mut connections,
        &requests,
        Instant::now() + Duration::from_secs(180),
        [&mut beside, &mut under],
        || {
            // Listing 500 keys costs more than signing; once a second tells soon enough.
            looked.elapsed() > Duration::from_secs(1) && {
                looked = Instant::now();
                listed(&socket) > 500
            }
        },
    );
    let time = start.elapsed().as_secs_f64();
    say(&format!(
        "\nECDSA P-256 signature on an open connection, milliseconds, while a sandbox loops, a cloud is down and 500 files arrive ({time:.0} s)"
    ));
    let [idle, before, beside, under] = [idle, before, beside, under].map(|mut times| {
        let count = times.len();
        (
            [0.5, 0.95, 0.99].map(|part| quantile(&mut times, part) * 1000.0),
            count,
        )
    });
    say(&format!(
        "{:<44} {:>8} {:>8} {:>8} {:>8}",
        "", "median", "p95", "p99", "count"
    ));
    for (name, (times, count)) in [
        ("this daemon before", before),
        ("this daemon meanwhile", under),
        ("another daemon, idle, before", idle),
        ("another daemon, idle, meanwhile", beside),
    ] {
        say(&format!(
            "{name:<44} {:>8.3} {:>8.3} {:>8.3} {count:>8}",
            times[0], times[1], times[2]
        ));
    }
    let (quiet, loud) = (before.0[1], under.0[1]);
    say(&format!(
        "p95 meanwhile {loud:.3} ms; aim: at most 1.2 x {quiet:.3} + 1 = {:.3} ms",
        1.2 * quiet + 1.0
    ));
}

fn measure(
    connections: &mut [Connection; 2],
    requests: &[Vec<u8>; 2],
    end: Instant,
    times: [&mut Vec<f64>; 2],
    mut done: impl FnMut() -> bool,
) {
    while Instant::now() < end && !done() {
        for which in 0..2 {
            let start = Instant::now();
            assert_eq!(
                connections[which].ask(&requests[which]).first(),
                Some(&14),
                "the agent refuses"
            );
            times[which].push(start.elapsed().as_secs_f64());
        }
        std::thread::sleep(PAUSE);
    }
}

fn blob(daemon: &Daemon) -> Vec<u8> {
    let status = daemon.status();
    let key = find(&status, "calm");
    let line = key["public_key"]
        .as_str()
        .expect("a loaded key has a public half");
    ssh_key::PublicKey::from_openssh(line)
        .expect("a public key")
        .to_bytes()
        .expect("a blob")
}

fn listed(socket: &Path) -> usize {
    openssh::listed(socket).len()
}
