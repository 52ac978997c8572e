//! One account at a loopback ECS, with pairs of nobody's.

use std::collections::BTreeSet;

use cloud_sim::{CloudSim, CreatedBy, Plant, Service, Settings};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::ledger;

pub(crate) const ECS: Service = Service::AlibabaEcs;

/// The smallest key that a cloud takes here: P-256 keys are made in no time.
pub(crate) const KEY: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";

/// A cloud that holds so many pairs that no keyferry made, and no more than `quota` in all.
pub(crate) fn cloud(foreign: usize, quota: usize) -> CloudSim {
    let cloud = keyferry_tests::cloud();
    for number in 0..foreign {
        let plant = Plant {
            service: ECS,
            region: Some("cn-hangzhou".to_owned()),
            name: format!("of-a-colleague-{number}"),
            public_key: None,
        };
        cloud.plant(plant).expect("a pair can be put there");
    }
    let settings = cloud.settings(ECS);
    cloud.set_settings(ECS, Settings { quota, ..settings });
    cloud
}

/// A home with this account and these keys.
pub(crate) fn home(cloud: &CloudSim, keys: &[&str]) -> Home {
    let home = Home::new();
    home.account("ecs", ECS.name(), cloud.url(ECS));
    for key in keys {
        home.key(key, KEY);
    }
    home
}

/// The names of the pairs that no keyferry made.
pub(crate) fn foreign(cloud: &CloudSim) -> BTreeSet<String> {
    let pairs = cloud.pairs(ECS).into_iter();
    pairs
        .filter(|pair| pair.created_by == CreatedBy::Plant)
        .map(|pair| pair.name)
        .collect()
}

/// The names of all pairs.
pub(crate) fn pairs(cloud: &CloudSim) -> BTreeSet<String> {
    cloud.pairs(ECS).into_iter().map(|pair| pair.name).collect()
}

/// The names of the pairs that a ledger says are there.
pub(crate) fn live(home: &Home) -> BTreeSet<String> {
    let generations = ledger::generations(home).into_iter();
    generations
        .filter(|generation| generation.state == "live")
        .map(|generation| generation.pair_name)
        .collect()
}

/// Starts a daemon and waits until all its keys are loaded.
#[track_caller]
pub(crate) fn start(home: &Home) -> Daemon {
    let daemon = Daemon::start(home);
    daemon.wait_loaded(60);
    daemon
}
