//! A daemon, a cloud, and one key of each kind at each service.

use std::time::{Duration, Instant};

use cloud_sim::{CloudSim, RequestFilter, RequestRecord, Service};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::{ledger, wait};
use serde_json::Value;

/// A running daemon with the accounts `ecs` and `ens`, and no key yet.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
}

/// One key: where and how it is made.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) key: &'static str,
    pub(crate) service: Service,
    pub(crate) action: &'static str,
    file: &'static str,
}

/// Created and imported, at ECS and ENS.
pub(crate) const ALL: [Declared; 4] = [
    Declared {
        key: "ecs-created",
        service: Service::AlibabaEcs,
        action: "CreateKeyPair",
        file: "account = \"ecs\"\ngenerated_by = \"provider\"\n",
    },
    Declared {
        key: "ecs-imported",
        service: Service::AlibabaEcs,
        action: "ImportKeyPair",
        file: "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n",
    },
    Declared {
        key: "ens-created",
        service: Service::AlibabaEns,
        action: "CreateKeyPair",
        file: "account = \"ens\"\ngenerated_by = \"provider\"\n",
    },
    Declared {
        key: "ens-imported",
        service: Service::AlibabaEns,
        action: "ImportKeyPair",
        file: "account = \"ens\"\nalgorithm = \"rsa-2048\"\n",
    },
];

impl Declared {
    pub(crate) fn is_created(&self) -> bool {
        self.action == "CreateKeyPair"
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(keyferry_tests::cloud())
    }

    /// With a cloud of the caller's choice.
    pub(crate) fn with(cloud: CloudSim) -> Self {
        let home = Home::new();
        home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
        home.account("ens", "alibaba-ens", cloud.url(Service::AlibabaEns));
        let daemon = Daemon::start(&home);
        Self { daemon, home, cloud }
    }

    /// Writes the files of these keys.
    pub(crate) fn declare<'a>(&self, keys: impl IntoIterator<Item = &'a Declared>) {
        for declared in keys {
            self.home.key(declared.key, declared.file);
        }
    }

    /// The requests that make pairs of this kind, in order.
    pub(crate) fn tries(&self, declared: &Declared) -> Vec<RequestRecord> {
        let requests = self.cloud.requests().requests.into_iter();
        requests
            .filter(|request| request.service == declared.service && request.action == declared.action)
            .filter(|request| {
                request
                    .name
                    .as_ref()
                    .is_some_and(|name| name.contains(declared.key))
            })
            .collect()
    }

    /// Waits until so many requests of this kind have reached the cloud.
    #[track_caller]
    pub(crate) fn wait_for_tries(&self, declared: &Declared, at_least: usize) {
        let filter = RequestFilter {
            service: Some(declared.service),
            ..RequestFilter::action(declared.action)
        };
        self.cloud
            .wait_for_requests(&filter, at_least, Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("{}: {error}", declared.key));
    }

    /// Waits until status shows an error of this kind for a key, checks all of it, and gives it back.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, key: &str, shown: &Shown) -> Value {
        wait_for_error(&self.daemon, key, shown)
    }

    /// Everything is loaded, and the cloud holds what the ledger knows.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        self.daemon.wait_loaded(60);
        ledger::assert_matches_cloud(&self.home, &self.cloud);
    }
}

/// What status is to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    /// Part of the message.
    pub(crate) words: &'static str,
    /// Whether there is a next try.
    pub(crate) again: bool,
}

#[track_caller]
pub(crate) fn wait_for_error(daemon: &Daemon, key: &str, shown: &Shown) -> Value {
    wait_for_errors(daemon, &[(key, *shown)]).remove(0)
}

/// Waits until status has shown an error of its kind for each of these keys, checks all of it, and gives them back.
#[track_caller]
pub(crate) fn wait_for_errors(daemon: &Daemon, expected: &[(&str, Shown)]) -> Vec<Value> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut seen: Vec<Option<Value>> = vec![None; expected.len()];
    let what = format!("errors of {expected:?}");
    wait::until(&what, Duration::from_secs(40), || {
        let status = daemon.status();
        for ((key, shown), seen) in expected.iter().zip(&mut seen) {
            let error = listed(&status, key).map(|key| key["error"].clone());
            if seen.is_none() {
                *seen = error.filter(|error| error["kind"] == shown.kind);
            }
        }
        assert!(
            Instant::now() < end,
            "not every one of {expected:?} was seen: {seen:?}; last {status:#}"
        );
        seen.iter().all(Option::is_some).then_some(())
    });
    let errors: Vec<Value> = seen.into_iter().flatten().collect();
    for ((key, shown), error) in expected.iter().zip(&errors) {
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(error["code"].as_str(), shown.code, "{key}: {error:#}");
        assert!(text("message").contains(shown.words), "{key}: {error:#}");
        assert!(!text("remedy").is_empty(), "{key}: {error:#}");
        if shown.code.is_some() {
            assert!(is_request_id(&text("request_id")), "{key}: {error:#}");
        }
        assert_eq!(error["retry_at"].is_string(), shown.again, "{key}: {error:#}");
    }
    errors
}

/// The error that status shows for a whole account.
pub(crate) fn account_error(daemon: &Daemon, account: &str) -> Value {
    let status = daemon.status();
    let mut accounts = status["accounts"].as_array().expect("accounts is a list").iter();
    let account = accounts.find(|shown| shown["name"] == account);
    account.map_or(Value::Null, |account| account["error"].clone())
}

#[track_caller]
pub(crate) fn wait_for_state(daemon: &Daemon, key: &str, state: &str) -> Value {
    wait::until(&format!("{key} is {state}"), Duration::from_secs(60), || {
        listed(&daemon.status(), key).filter(|shown| shown["state"] == state)
    })
}

/// A key of status, once its file has been read.
fn listed(status: &Value, key: &str) -> Option<Value> {
    let mut keys = status["keys"].as_array()?.iter();
    keys.find(|shown| shown["name"] == key).cloned()
}

/// As the vendors write them: the 32 hexadecimal digits of a UUID, with its hyphens or without.
fn is_request_id(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    (lengths == [8, 4, 4, 4, 12] || lengths == [32])
        && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
