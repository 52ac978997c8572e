//! A cloud, a home with an account at it, and a daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use cloud_sim::{CloudSim, RequestFilter, Service};
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::home::Home;
use keyferry_tests::{openssh, wait};
use serde_json::Value;

/// A key that is quick to make.
pub(crate) const KEY: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";

/// How long anything may take that takes a moment on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with the account `ecs` at a cloud of its own.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
}

impl Scene {
    /// Starts with these keys, all of them loaded.
    #[track_caller]
    pub(crate) fn with_keys(names: &[&str]) -> Self {
        let cloud = keyferry_tests::cloud();
        let home = Home::new();
        home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
        for name in names {
            home.key(name, KEY);
        }
        let daemon = Daemon::start(&home);
        daemon.wait_loaded(60);
        Self { daemon, home, cloud }
    }

    /// Waits until the daemon by itself, without being told to read again, has loaded a key; the key.
    #[track_caller]
    pub(crate) fn loads(&self, name: &str) -> Value {
        wait::until(&format!("{name} is loaded"), PATIENCE, || {
            let status = self.daemon.status();
            let keys = status["keys"].as_array().expect("a list");
            keys.iter()
                .find(|key| key["name"] == name && key["state"] == "loaded")
                .cloned()
        })
    }

    /// Waits until status reports a path below the config directory in a state; what it reports.
    #[track_caller]
    pub(crate) fn reports(&self, below_config: &str, state: &str) -> Value {
        reported(&self.daemon, &self.path(below_config), state)
    }

    /// A path below the config directory; an empty one is the directory itself.
    pub(crate) fn path(&self, below_config: &str) -> PathBuf {
        let config = self.home.config();
        match below_config {
            "" => config,
            below => config.join(below),
        }
    }

    /// Asserts that a key is loaded with this public key, listed by ssh-add, and signs.
    #[track_caller]
    pub(crate) fn serves(&self, name: &str, public_key: &Value) {
        let key = find(&self.daemon.status(), name);
        assert_eq!(key["state"], "loaded", "{key:#}");
        assert_eq!(&key["public_key"], public_key, "{key:#}");
        signs(&self.home, public_key);
    }

    /// The public key of a loaded key.
    #[track_caller]
    pub(crate) fn public_key(&self, name: &str) -> Value {
        let key = self.daemon.key(name);
        assert_eq!(key["state"], "loaded", "{key:#}");
        key["public_key"].clone()
    }

    /// How many requests changed something at the cloud so far.
    pub(crate) fn changes_at_the_cloud(&self) -> usize {
        let requests = self.cloud.requests().requests;
        requests.iter().filter(|request| request.committed).count()
    }

    /// How many imports the cloud has seen so far.
    pub(crate) fn imports(&self) -> usize {
        let filter = RequestFilter::action("ImportKeyPair");
        self.cloud
            .wait_for_requests(&filter, 0, Duration::ZERO)
            .map_or(0, |requests| requests.len())
    }

    /// `keyferry check` of the config directory.
    pub(crate) fn check(&self, arguments: &[&str]) -> Output {
        check(&self.home.config(), arguments)
    }
}

/// Waits until status reports a path in a state; what it reports.
#[track_caller]
pub(crate) fn reported(daemon: &Daemon, path: &Path, state: &str) -> Value {
    let path = path.display().to_string();
    wait::until(&format!("{path} is {state}"), PATIENCE, || {
        file(&daemon.status(), &path).filter(|file| file["state"] == state)
    })
}

/// One entry of `files`.
pub(crate) fn file(status: &Value, path: &str) -> Option<Value> {
    let files = status["files"].as_array().expect("files is a list");
    files.iter().find(|file| file["path"] == path).cloned()
}

/// Asserts that the agent lists a public key and signs with it.
#[track_caller]
pub(crate) fn signs(home: &Home, public_key: &Value) {
    let public_key = public_key.as_str().expect("a loaded key has a public key");
    let blob = public_key.split(' ').nth(1).expect("an OpenSSH line");
    let listed = openssh::listed(&home.agent_socket());
    assert!(
        listed.iter().any(|line| line.contains(blob)),
        "{public_key} is not in {listed:#?}"
    );
    let path = home.path("asked.pub");
    fs::write(&path, format!("{public_key}\n")).expect("a file can be written");
    // ssh-add(1): -T tests that the private key can be used, by signing and verifying.
    let tested = openssh::ssh_add(&home.agent_socket(), &["-T", &path.display().to_string()]);
    assert!(
        tested.status.success(),
        "{public_key} does not sign: {}",
        String::from_utf8_lossy(&tested.stderr)
    );
}

/// `keyferry check DIR`.
pub(crate) fn check(directory: &Path, arguments: &[&str]) -> Output {
    std::process::Command::new(built().keyferry())
        .arg("check")
        .arg(directory)
        .args(arguments)
        .output()
        .expect("keyferry can be started")
}

/// Standard output and standard error.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
