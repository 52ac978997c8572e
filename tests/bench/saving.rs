//! From saving a key file to the request at the cloud.

use std::time::{Duration, Instant, SystemTime};

use cloud_sim::{CloudSim, RequestFilter, Service};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;

use crate::{quantile, say};

/// How many key files are saved for each figure.
const FILES: usize = 50;

pub(crate) fn run() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.account("ens", "alibaba-ens", cloud.url(Service::AlibabaEns));
    let daemon = Daemon::start(&home);
    say("\nFrom saving a key file to the request's arrival at the cloud, milliseconds");
    say(&format!(
        "{:<34} {:>8} {:>8} {:>8} {:>10}",
        "", "median", "p95", "worst", "aim (p95)"
    ));
    measure(
        &cloud,
        &home,
        &daemon,
        "created at ENS",
        "CreateKeyPair",
        "ens",
        "generated_by = \"provider\"",
        FILES,
        "200",
    );
    measure(
        &cloud,
        &home,
        &daemon,
        "ECDSA P-256 imported at ECS",
        "ImportKeyPair",
        "ecs",
        "algorithm = \"ecdsa-p256\"",
        FILES,
        "200",
    );
    measure(
        &cloud,
        &home,
        &daemon,
        "RSA-3072 made here, imported",
        "ImportKeyPair",
        "ecs",
        "algorithm = \"rsa-3072\"",
        10,
        "-",
    );
}

#[expect(
    clippy::too_many_arguments,
    reason = "a row of the table, read where it is written"
)]
fn measure(
    cloud: &CloudSim,
    home: &Home,
    daemon: &Daemon,
    what: &str,
    action: &str,
    account: &str,
    line: &str,
    files: usize,
    aim: &str,
) {
    let mut times = Vec::new();
    for number in 0..files {
        let seen = RequestFilter::action(action);
        let before = cloud
            .wait_for_requests(&seen, 0, Duration::ZERO)
            .map_or(0, |requests| requests.len());
        let saved = SystemTime::now();
        home.key(
            &format!("{account}-{}-{number}", line.len()),
            &format!("account = \"{account}\"\n{line}\n"),
        );
        let requests = cloud
            .wait_for_requests(&seen, before + 1, Duration::from_secs(60))
            .unwrap_or_else(|error| panic!("no request: {error}\n{}", daemon.log()));
        let arrived = requests[before].time;
        times.push(arrived.duration_since(saved).unwrap_or_default().as_secs_f64() * 1000.0);
        // One at a time: the next file is saved when this key is loaded.
        let end = Instant::now() + Duration::from_secs(60);
        while daemon.wait(60).0 != 0 {
            assert!(Instant::now() < end, "not loaded: {}", daemon.log());
        }
    }
    let [median, p95, worst] = [0.5, 0.95, 1.0].map(|part| quantile(&mut times, part));
    say(&format!(
        "{what:<34} {median:>8.1} {p95:>8.1} {worst:>8.1} {aim:>10}"
    ));
}
