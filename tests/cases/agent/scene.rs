//! A daemon with keys in its agent.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cloud_sim::{CloudSim, Service};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::{openssh, wait};
use serde_json::Value;

/// A running daemon with the accounts `ecs` and `ens`.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
}

/// The file of a quick key.
pub(crate) const QUICK: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";

impl Scene {
    /// With these keys, name and file, all loaded.
    #[track_caller]
    pub(crate) fn new(keys: &[(&str, &str)]) -> Self {
        Self::with(keys, &Options::default())
    }

    #[track_caller]
    pub(crate) fn with(keys: &[(&str, &str)], options: &Options) -> Self {
        let (home, cloud) = (Home::new(), keyferry_tests::cloud());
        home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
        home.account("ens", "alibaba-ens", cloud.url(Service::AlibabaEns));
        for (name, file) in keys {
            home.key(name, file);
        }
        let daemon = Daemon::start_with(&home, options);
        daemon.wait_loaded(90);
        Self { daemon, home, cloud }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.agent_socket()
    }

    /// The path of a key's public half.
    pub(crate) fn public(&self, key: &str) -> PathBuf {
        let path = self.home.path(&format!("state/public/{key}.pub"));
        wait::until("the public half is written", Duration::from_secs(10), || {
            path.exists().then_some(())
        });
        path
    }

    /// Whether `ssh-add -L` shows this key.
    pub(crate) fn lists(&self, key: &str) -> bool {
        let line = std::fs::read_to_string(self.public(key)).expect("the public half can be read");
        openssh::listed(&self.socket()).contains(&line.trim().to_owned())
    }

    #[track_caller]
    pub(crate) fn wait_for_state(&self, key: &str, state: &str) -> Value {
        wait::until(&format!("{key} is {state}"), Duration::from_secs(60), || {
            let status = self.daemon.status();
            let mut keys = status["keys"].as_array()?.iter();
            keys.find(|shown| shown["name"] == key && shown["state"] == state)
                .cloned()
        })
    }

    #[track_caller]
    pub(crate) fn assert_signs(&self, key: &str) {
        openssh::assert_signs(&self.socket(), &self.public(key));
    }

    #[track_caller]
    pub(crate) fn assert_refuses_to_sign(&self, key: &str) {
        let output = openssh::sign(&self.socket(), &self.public(key));
        assert!(!output.status.success(), "{key} signs");
    }

    /// `ssh-add` with these arguments.
    pub(crate) fn ssh_add(&self, arguments: &[&str]) -> Output {
        openssh::ssh_add(&self.socket(), arguments)
    }
}

/// A new Ed25519 key by ssh-keygen.
pub(crate) fn own_key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .expect("ssh-keygen can be started (Debian: openssh-client)");
    assert!(output.status.success(), "{output:?}");
    path
}

#[track_caller]
pub(crate) fn assert_done(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
