//! A daemon with one account at ECS, whose pairs are looked at only when asked.

use std::process::Output;
use std::time::Duration;

use cloud_sim::{CloudSim, Plant, Service};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::wait;
use serde_json::Value;

pub(crate) const ECS: Service = Service::AlibabaEcs;
pub(crate) const HERE: &str = "cn-hangzhou";
pub(crate) const THERE: &str = "cn-beijing";

pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
}

impl Scene {
    /// With these keys, loaded.
    pub(crate) fn new(keys: &[(&str, &str)]) -> Self {
        let scene = Self::without_keys();
        for (name, text) in keys {
            scene.home.key(name, text);
        }
        scene.daemon.wait_loaded(60);
        scene
    }

    pub(crate) fn without_keys() -> Self {
        let cloud = keyferry_tests::cloud();
        let home = Home::new();
        home.account("ecs", ECS.name(), cloud.url(ECS));
        let daemon = Daemon::start_with(&home, &Options::default());
        Self { daemon, home, cloud }
    }

    /// Names and regions of the cloud's pairs.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let pairs = self.cloud.pairs(ECS).into_iter();
        let mut pairs: Vec<_> = pairs
            .map(|pair| (pair.region.unwrap_or_default(), pair.name))
            .collect();
        pairs.sort();
        pairs
    }

    /// Somebody puts a pair there.
    pub(crate) fn plant(&self, region: &str, name: &str) {
        let plant = Plant {
            service: ECS,
            region: Some(region.to_owned()),
            name: name.to_owned(),
            public_key: None,
        };
        self.cloud.plant(plant).expect("the pair can be put there");
    }

    /// Runs `keyferry refresh` and expects that every account could be asked.
    #[track_caller]
    pub(crate) fn refresh(&self) -> String {
        let output = self.daemon.keyferry(&["refresh"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        text
    }

    /// Waits until a key shows this drift; null: none.
    #[track_caller]
    pub(crate) fn wait_for_drift(&self, key: &str, drift: &Value) -> Value {
        wait::until(&format!("{key} shows {drift}"), Duration::from_secs(20), || {
            let shown = self.daemon.key(key);
            (shown["drift"] == *drift).then_some(shown)
        })
    }
}

/// What a command printed.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
