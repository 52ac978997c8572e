//! A daemon, a cloud and hosts, and what has to be so when nothing is under way.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_sim::{CloudSim, Service};
use keyferry_tests::daemon::{Daemon, Options, find};
use keyferry_tests::fleet::{self, AuthorizedKey, Fleet, Host, HostOptions, Shell};
use keyferry_tests::home::Home;
use keyferry_tests::{ledger, wait};
use serde_json::Value;

pub(crate) const ECS: Service = Service::AlibabaEcs;

/// Longer than anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    // Dropped in this order.
    pub(crate) daemon: Daemon,
    pub(crate) fleet: Fleet,
    pub(crate) home: Arc<Home>,
    pub(crate) cloud: CloudSim,
}

impl Scene {
    /// With these hosts, and no keys yet.
    pub(crate) fn new(hosts: impl IntoIterator<Item = HostOptions>) -> Self {
        Self::of(Fleet::start(hosts), &Options::default())
    }

    /// With hosts `web-1`, `web-2`... of these login shells, and no keys yet.
    pub(crate) fn of_shells(shells: &[Shell]) -> Self {
        Self::of(Fleet::of_shells(shells), &Options::default())
    }

    /// With these hosts and a daemon that is started so.
    pub(crate) fn of(fleet: Fleet, options: &Options) -> Self {
        let cloud = keyferry_tests::cloud();
        let home = Arc::new(Home::new());
        home.account("ecs", ECS.name(), cloud.url(ECS));
        home.write("keyferry.toml", &ssh_command(&fleet));
        let daemon = Daemon::start_with(&home, options);
        Self {
            daemon,
            fleet,
            home,
            cloud,
        }
    }

    /// Declares a key for all hosts, as their first users, and waits until it is verified on each of them.
    pub(crate) fn deploy(&self, key: &str, tables: &str) {
        self.home.key(key, &key_file(&self.names(), tables));
        self.wait_verified(key, 1);
    }

    /// The names of all hosts.
    pub(crate) fn names(&self) -> Vec<String> {
        self.fleet
            .hosts()
            .iter()
            .map(|host| host.name().to_owned())
            .collect()
    }

    /// Takes every line away that is not keyferry's: what logs in afterwards is keyferry's alone.
    pub(crate) fn leave_only_ours(&self) {
        for host in self.fleet.hosts() {
            for user in host.users() {
                host.set_authorized_keys_of(user, &only_ours(&host.authorized_keys_of(user)));
            }
        }
    }

    /// Runs `keyferry rotate KEY --wait`, and expects that it succeeds.
    #[track_caller]
    pub(crate) fn rotate(&self, key: &str) {
        let output = self.daemon.keyferry(&["rotate", key, "--wait"]);
        assert!(
            output.status.success(),
            "{}\n{}",
            said(&output),
            self.daemon.log()
        );
    }

    /// Waits until every host of a key is verified with this generation.
    #[track_caller]
    pub(crate) fn wait_verified(&self, key: &str, generation: u64) {
        self.wait_verified_on(key, generation, None);
    }

    /// As [`Scene::wait_verified`], of these hosts alone.
    #[track_caller]
    pub(crate) fn wait_verified_on(&self, key: &str, generation: u64, hosts: Option<&[&str]>) {
        self.wait_for_key(key, &format!("verified with {generation}"), |status| {
            let shown = host_states(status);
            let expected = shown
                .iter()
                .filter(|(host, _)| hosts.is_none_or(|hosts| hosts.iter().any(|name| host.ends_with(name))));
            let good: Vec<_> = expected
                .map(|(_, (state, at))| state == "verified" && *at == Some(generation))
                .collect();
            !good.is_empty() && good.iter().all(|&good| good)
        });
    }

    /// Waits until what status shows of a key is as it has to be.
    #[track_caller]
    pub(crate) fn wait_for_key(&self, key: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = std::time::Instant::now() + DEADLINE;
        wait::until(&format!("{key}: {what}"), 2 * DEADLINE, || {
            let status = self.daemon.status();
            let keys = status["keys"].as_array().into_iter().flatten();
            let shown = keys.clone().find(|shown| shown["name"] == key).cloned();
            if let Some(shown) = shown.as_ref().filter(|shown| is_so(shown)) {
                return Some(shown.clone());
            }
            assert!(
                std::time::Instant::now() < end,
                "{key} is not {what}: {shown:#?}\n{}",
                self.daemon.log()
            );
            None
        })
    }

    /// What status shows of a key on a host.
    #[track_caller]
    pub(crate) fn host_status(&self, key: &str, host: &str) -> Value {
        let shown = find(&self.daemon.status(), key);
        let hosts = shown["hosts"].as_array().expect("hosts is a list");
        hosts
            .iter()
            .find(|shown| shown["host"].as_str().is_some_and(|name| name.ends_with(host)))
            .unwrap_or_else(|| panic!("no {host} in {shown:#}"))
            .clone()
    }

    /// Logs in through the agent's public socket, with keys from there alone.
    pub(crate) fn login(&self, destination: &str) -> Output {
        let mut ssh = self.fleet.ssh(&self.fleet.agent_config());
        ssh.args([destination, "true"])
            .env("SSH_AUTH_SOCK", self.home.agent_socket());
        ssh.output().expect("ssh can be started (Debian: openssh-client)")
    }

    #[track_caller]
    pub(crate) fn assert_logs_in(&self, destination: &str) {
        let output = self.login(destination);
        assert!(
            output.status.success(),
            "{destination}: {}\n{}",
            said(&output),
            self.daemon.log()
        );
    }

    /// As [`Scene::assert_logs_in`], with this key and no other.
    #[track_caller]
    pub(crate) fn assert_logs_in_with(&self, destination: &str, public_key: &str) {
        let mut ssh = self.fleet.ssh(&self.fleet.agent_config());
        ssh.args(["-v", destination, "true"])
            .env("SSH_AUTH_SOCK", self.home.agent_socket());
        let output = ssh.output().expect("ssh can be started (Debian: openssh-client)");
        assert!(output.status.success(), "{destination}: {}", said(&output));
        let words = String::from_utf8_lossy(&output.stderr);
        let accepted: Vec<&str> = words
            .lines()
            .filter(|line| line.contains("Server accepts key:"))
            .collect();
        let fingerprint = fleet::fingerprint(public_key);
        assert!(
            matches!(accepted[..], [one] if one.contains(&fingerprint)),
            "{destination}: not {fingerprint}: {accepted:#?}"
        );
    }

    /// The pairs that the cloud holds: public key by name.
    pub(crate) fn pairs(&self) -> BTreeMap<String, String> {
        let pairs = self.cloud.pairs(ECS).into_iter();
        pairs
            .map(|pair| (pair.name, fleet::public_key(&pair.public_key).to_owned()))
            .collect()
    }

    /// The public key of a key's generation, as the ledger has it.
    #[track_caller]
    pub(crate) fn public_key(&self, key: &str, generation: u64) -> String {
        let rows = ledger::generations(&self.home);
        let row = rows.iter().find(|row| row.key == key && row.n == generation);
        let blob = row.and_then(|row| row.blob.as_deref());
        written(blob.unwrap_or_else(|| panic!("no {key} {generation} in {rows:#?}")))
    }

    /// Waits until nothing of a key's earlier generations is left: on each of these logins exactly one line, of this
    /// generation, and exactly its pair at the cloud.
    #[track_caller]
    pub(crate) fn wait_for_only(&self, key: &str, generation: u64, logins: &[(&Host, &str)]) {
        let public_key = self.public_key(key, generation);
        let end = std::time::Instant::now() + DEADLINE;
        wait::until("nothing is left of earlier generations", 2 * DEADLINE, || {
            let lines: Vec<Vec<AuthorizedKey>> =
                logins.iter().map(|(host, user)| lines(host, user, key)).collect();
            let prefix = format!("keyferry-{key}-");
            let pairs: Vec<_> = self
                .pairs()
                .into_iter()
                .filter(|(name, _)| name.starts_with(&prefix))
                .collect();
            let clean = lines
                .iter()
                .all(|lines| lines.len() == 1 && lines[0].public_key == public_key)
                && pairs.len() == 1
                && pairs[0].1 == public_key;
            assert!(
                clean || std::time::Instant::now() < end,
                "{key} {generation} is {public_key}\n{lines:#?}\n{pairs:#?}\n{:#}\n{}",
                self.daemon.key(key),
                self.daemon.log()
            );
            clean.then_some(())
        });
    }

    /// As [`Scene::wait_for_only`], on all hosts' first users.
    #[track_caller]
    pub(crate) fn wait_for_only_everywhere(&self, key: &str, generation: u64) {
        let logins: Vec<_> = self
            .fleet
            .hosts()
            .iter()
            .map(|host| (host, host.user()))
            .collect();
        self.wait_for_only(key, generation, &logins);
    }
}

/// `keyferry.toml` of a user with the fleet's ssh_config.
pub(crate) fn ssh_command(fleet: &Fleet) -> String {
    format!(
        "[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n",
        fleet.ssh_config().display()
    )
}

/// A key file for hosts.
pub(crate) fn key_file(hosts: &[impl AsRef<str>], tables: &str) -> String {
    let hosts: Vec<String> = hosts
        .iter()
        .map(|host| format!("\"{}\"", host.as_ref()))
        .collect();
    format!(
        "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\nhosts = [{}]\n{tables}",
        hosts.join(", ")
    )
}

/// The earlier generation goes as soon as the later one is seen to log in.
pub(crate) const NO_GRACE: &str = "[rotate]\nevery = \"30d\"\ngrace = \"0s\"\n";

/// The earlier generation stays longer than any case takes.
pub(crate) const LONG_GRACE: &str = "[rotate]\nevery = \"30d\"\ngrace = \"1d\"\n";

/// State and generation of each host of a key's status.
pub(crate) fn host_states(key: &Value) -> BTreeMap<String, (String, Option<u64>)> {
    let hosts = key["hosts"].as_array().into_iter().flatten();
    hosts
        .map(|host| {
            let text = |name: &str| host[name].as_str().unwrap_or_default().to_owned();
            (text("host"), (text("state"), host["generation"].as_u64()))
        })
        .collect()
}

/// A key's own lines in a user's file.
pub(crate) fn lines(host: &Host, user: &str, key: &str) -> Vec<AuthorizedKey> {
    let mut lines = fleet::parse(&host.authorized_keys_of(user));
    lines.retain(|line| line.is_of(key));
    lines
}

/// A file without the lines that keyferry put there.
pub(crate) fn without_ours(file: &[u8]) -> Vec<u8> {
    pieces(file)
        .filter(|line| !is_ours(line))
        .flatten()
        .copied()
        .collect()
}

/// The lines that keyferry put into a file.
pub(crate) fn only_ours(file: &[u8]) -> Vec<u8> {
    pieces(file)
        .filter(|line| is_ours(line))
        .flatten()
        .copied()
        .collect()
}

fn pieces(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|&byte| byte == b'\n')
}

fn is_ours(line: &[u8]) -> bool {
    String::from_utf8_lossy(line).contains(" keyferry owner=")
}

/// The public keys of generations that the ledger calls live: those that the agent holds.
pub(crate) fn live(home: &Home) -> Vec<String> {
    let rows = ledger::generations(home).into_iter();
    rows.filter(|row| row.state == "live")
        .filter_map(|row| Some(written(&row.blob?)))
        .collect()
}

/// What a command said, on both streams.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A public blob as `TYPE BASE64`.
fn written(blob: &[u8]) -> String {
    let length = u32::from_be_bytes(blob[..4].try_into().expect("four bytes"));
    let kind = &blob[4..4 + usize::try_from(length).expect("a small number")];
    format!("{} {}", String::from_utf8_lossy(kind), STANDARD.encode(blob))
}
