//! A daemon with one account at one vendor's cloud, where somebody else has pairs too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use cloud_sim::{CloudSim, Credential, Fault, FaultKind, Pair, Plant, RequestRecord};
use keyferry_tests::daemon::{self, Daemon};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::openssh::{assert_signs, listed};
use keyferry_tests::{ledger, wait};
use serde_json::Value;

use crate::vendor::Vendor;

/// The scene of one case.
pub(crate) struct Scene<'a> {
    pub(crate) vendor: &'a Vendor,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
    pub(crate) daemon: Daemon,
    /// Somebody else's pairs.
    foreign: Vec<Pair>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(vendor: &'a Vendor) -> Self {
        Self::with(vendor, &permanent(), |_| {})
    }

    /// With this access key, at a cloud that was prepared.
    pub(crate) fn with(vendor: &'a Vendor, key: &Credential, prepare: impl FnOnce(&CloudSim)) -> Self {
        let cloud = keyferry_tests::cloud();
        prepare(&cloud);
        let home = Home::new();
        write_credentials(&home, vendor, key);
        let credentials = home.path("credentials.json");
        home.write(
            "accounts/cloud.toml",
            &format!(
                "plugin = \"{}\"\nregion = \"{}\"\nendpoint = \"{}\"\n{}\n[credentials]\nfile = \"{}\"\n",
                vendor.service.name(),
                vendor.region,
                cloud.url(vendor.service),
                vendor.account,
                credentials.display()
            ),
        );
        let daemon = Daemon::start(&home);
        let mut scene = Self {
            vendor,
            home,
            cloud,
            daemon,
            foreign: Vec::new(),
        };
        scene.plant("somebody-elses", 1);
        scene
    }

    /// Puts somebody else's pairs there: `NAME-0`, `NAME-1`, ...
    pub(crate) fn plant(&mut self, name: &str, count: usize) {
        for n in 0..count {
            self.plant_named(&format!("{name}-{n}"));
        }
    }

    /// Puts somebody else's pair there.
    pub(crate) fn plant_named(&mut self, name: &str) {
        let plant = Plant {
            service: self.vendor.service,
            region: self.vendor.has_regions.then(|| self.vendor.region.to_owned()),
            name: name.to_owned(),
            public_key: Some(FOREIGN_KEY.to_owned()),
        };
        let pair = self.cloud.plant(plant).expect("a pair can be planted");
        self.foreign.push(pair);
    }

    /// Declares a key whose pair the provider makes.
    pub(crate) fn declare_created(&self, key: &str) {
        self.home
            .key(key, "account = \"cloud\"\ngenerated_by = \"provider\"\n");
    }

    /// Declares a key that is made here.
    pub(crate) fn declare_imported(&self, key: &str) {
        let text = format!("account = \"cloud\"\nalgorithm = \"{}\"\n", self.vendor.algorithm);
        self.home.key(key, &text);
    }

    /// The credentials' file says this from now on.
    pub(crate) fn write_credentials(&self, key: &Credential) {
        write_credentials(&self.home, self.vendor, key);
    }

    /// One fault of the next call of this name.
    pub(crate) fn fault_once(&self, action: &str, kind: FaultKind) {
        self.cloud.fault(
            Fault::new(kind)
                .service(self.vendor.service)
                .action(action)
                .count(1),
        );
    }

    /// The calls of this name so far.
    pub(crate) fn calls(&self, action: &str) -> Vec<RequestRecord> {
        let requests = self.cloud.requests().requests.into_iter();
        requests
            .filter(|request| request.service == self.vendor.service && request.action == action)
            .collect()
    }

    /// A file of a key that the config refuses, with these words about it, and nothing was sent for it.
    #[track_caller]
    pub(crate) fn assert_file_refused(&self, key: &str, words: &str) {
        let message = wait::until("the file is refused", Duration::from_secs(30), || {
            let status = self.daemon.status();
            let files = status["files"].as_array()?.clone();
            let file = files.into_iter().find(|file| {
                file["path"]
                    .as_str()
                    .is_some_and(|path| path.ends_with(&format!("{key}.toml")))
            })?;
            file["message"].as_str().map(str::to_owned)
        });
        assert!(message.contains(words), "{message}");
        let requests = self.cloud.requests().requests;
        assert!(requests.is_empty(), "{requests:#?}");
    }

    /// Waits until status shows an error of this kind and code for a key.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, key: &str, kind: &str, code: Option<&str>) -> Value {
        let what = format!("{key} shows {kind} {code:?}");
        let error = wait::until(&what, Duration::from_secs(60), || {
            let status = self.daemon.status();
            let keys = status["keys"].as_array()?.clone();
            let key = keys.into_iter().find(|shown| shown["name"] == key)?;
            (key["error"]["kind"] == kind).then(|| key["error"].clone())
        });
        if code.is_some() {
            assert_eq!(error["code"].as_str(), code, "{error:#}");
        }
        for field in ["message", "remedy"] {
            assert!(
                error[field].as_str().is_some_and(|text| !text.is_empty()),
                "{error:#}"
            );
        }
        error
    }

    /// Tries again what failed.
    #[track_caller]
    pub(crate) fn resume(&self) {
        let output = self.daemon.keyferry(&["resume"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Every key is loaded, listed and signs; the cloud holds what the ledger knows, and the foreign pairs.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let status = self.daemon.wait_loaded(60);
        ledger::assert_matches_cloud(&self.home, &self.cloud);
        let keys = status["keys"].as_array().expect("keys is a list");
        assert!(!keys.is_empty(), "no file of a key was taken: {status:#}");
        let agent = self.home.agent_socket();
        assert_eq!(listed(&agent).len(), keys.len(), "{status:#}");
        for key in keys {
            let name = key["name"].as_str().expect("a name");
            assert_signs(&agent, &self.home.path(&format!("state/public/{name}.pub")));
        }
        let pairs = self.cloud.pairs(self.vendor.service);
        for pair in &self.foreign {
            assert!(pairs.contains(pair), "{} was touched", pair.name);
        }
    }

    /// Ends the daemon as a shutdown does and starts it again: private halves are gone, by design.
    pub(crate) fn restart(&mut self) {
        assert_eq!(self.daemon.stop(), Some(0));
        self.daemon = Daemon::start_with(&self.home, &daemon::Options::default());
    }
}

/// The access key that every cloud of the tests knows.
pub(crate) fn permanent() -> Credential {
    Credential {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        session_token: None,
        expires_at: None,
    }
}

fn write_credentials(home: &Home, vendor: &Vendor, key: &Credential) {
    let path = home.path("credentials.json");
    let draft = home.path("credentials.draft");
    fs::write(&draft, (vendor.credentials)(key).to_string()).expect("credentials can be written");
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).expect("modes can be set");
    fs::rename(&draft, &path).expect("credentials can be renamed");
}

/// A public key that every vendor takes; nobody has its private half.
const FOREIGN_KEY: &str = include_str!("foreign.pub");
