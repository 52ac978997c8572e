//! One key on two hosts, its home and its cloud; and what must hold when everything has come to rest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use cloud_sim::{CloudSim, Options, RequestRecord, Service};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::fleet::{
    self, AuthorizedKey, Fleet, Host, HostOptions, Login, LoginOutcome, Shell, fingerprint, parse,
};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::other_agent::OtherAgent;
use keyferry_tests::{processes, wait};

use crate::gate::Gate;
use crate::rows::{Effect, GenerationRow, effect_rows, generation_rows, placement_rows, trusted_rows};
use crate::watcher::Watcher;

/// The key that every world is about.
pub(crate) const KEY: &str = "web";

const ECS: Service = Service::AlibabaEcs;

/// Longer than anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// What a world is like.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Setting {
    pub(crate) made_by: MadeBy,
    pub(crate) way_in: WayIn,
}

/// Where private halves are made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum MadeBy {
    Keyferry,
    Provider,
}

/// Who logs in when the agent has no key that does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum WayIn {
    /// The recovery identity; nobody else once the first generation is there.
    Recovery,
    /// A file that the user's own ssh_config names.
    SshConfig,
}

/// The ledger's log, as it was seen last.
pub(crate) struct Seen {
    version: Option<(u64, i64, i64)>,
    at: Instant,
}

/// What outlives the daemon.
pub(crate) struct World {
    // Dropped in this order.
    pub(crate) watcher: Watcher,
    other_agent: Option<OtherAgent>,
    pub(crate) fleet: Fleet,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
    pub(crate) gate: Gate,
    /// What each host's file holds that is not keyferry's.
    others: BTreeMap<String, Vec<u8>>,
    /// The recovery identity's public half.
    recovery: Option<String>,
}

impl World {
    pub(crate) fn new(setting: Setting) -> Self {
        let options = Options {
            // Few are needed, and each takes a while.
            key_stock: 0,
            ..Options::new(ACCESS_KEY, SECRET_KEY)
        };
        let cloud = CloudSim::start(options).expect("a loopback cloud can be started");
        let fleet = Fleet::start([
            HostOptions::new("web-1", Shell::Dash),
            HostOptions::new("web-2", Shell::Busybox).noisy(),
        ]);
        for host in fleet.hosts() {
            host.set_authorized_keys(&[LINES_OF_OTHERS, &host.authorized_keys(), b"\n# the end"].concat());
        }
        let home = Home::new();
        home.account("cloud", ECS.name(), cloud.url(ECS));
        let gate = Gate::new(home.path("gate"));
        let mut settings = gate.command(&fleet.ssh_config());
        let (mut other_agent, mut recovery) = (None, None);
        if setting.way_in == WayIn::Recovery {
            let key = fleet.path("recovery_key");
            fleet::generate(&key, "recovery");
            let agent = OtherAgent::start(fleet.path("other.sock"), &key);
            let public_half = key.with_extension("pub");
            settings.push_str(&format!(
                "[recovery]\nidentity = \"{}\"\nagent = \"{}\"\n",
                public_half.display(),
                agent.socket().display()
            ));
            let text = fs::read_to_string(public_half).expect("the identity has a public half");
            recovery = Some(fleet::public_key(&text).to_owned());
            other_agent = Some(agent);
        }
        home.write("keyferry.toml", &settings);
        let made_by = match setting.made_by {
            MadeBy::Keyferry => "algorithm = \"ecdsa-p256\"",
            MadeBy::Provider => "generated_by = \"provider\"",
        };
        // One host after the other, so that each life goes as the one before.
        let file = format!(
            "account = \"cloud\"\n{made_by}\nhosts = [\"web-1\", \"web-2\"]\n\n[rotate]\nevery = \"30d\"\ngrace = \"0s\"\n\n[deploy]\nlogin_with = [\"current\", \"ssh-config\"]\ncanary = 0\nat_once = 1\n"
        );
        home.key(KEY, &file);
        let watcher = Watcher::start(&fleet, home.ledger(), recovery.clone());
        let mut world = Self {
            watcher,
            other_agent,
            fleet,
            home,
            cloud,
            gate,
            others: BTreeMap::new(),
            recovery,
        };
        world.take_others_as_they_are();
        world
    }

    /// When the first generation is everywhere: from now on the recovery identity is the only other way in.
    pub(crate) fn leave_recovery_alone(&mut self) {
        if self.other_agent.is_none() {
            return;
        }
        let admin = fs::read(self.fleet.admin_public_key()).expect("the admin key has a public half");
        for host in self.fleet.hosts() {
            let file = host.authorized_keys();
            let lines = file.split_inclusive(|&byte| byte == b'\n');
            let kept: Vec<u8> = lines.filter(|line| *line != admin).flatten().copied().collect();
            assert_eq!(kept.len(), file.len() - admin.len());
            host.set_authorized_keys(&kept);
        }
        self.take_others_as_they_are();
    }

    /// Starts a life of the daemon.
    pub(crate) fn start(&self, options: &keyferry_tests::daemon::Options) -> Daemon {
        self.watcher.life_begins(self.last_generation());
        Daemon::launch(&self.home, options)
    }

    /// The ledger's effects from this one on, in the order they were begun. Read beside the daemon, which is not asked.
    pub(crate) fn effects(&self, from: i64) -> Vec<Effect> {
        let mut effects = effect_rows(&self.home.ledger()).unwrap_or_default();
        effects.retain(|effect| effect.id >= from);
        effects
    }

    /// The number that the next effect will have.
    pub(crate) fn next_effect(&self) -> i64 {
        self.effects(0).last().map_or(0, |effect| effect.id + 1)
    }

    /// The number of the last generation; 0: there is none.
    pub(crate) fn last_generation(&self) -> u64 {
        let rows = generation_rows(&self.home.ledger()).unwrap_or_default();
        rows.last().map_or(0, |row| row.n)
    }

    /// The requests to the cloud that changed something.
    pub(crate) fn committed(&self) -> Vec<RequestRecord> {
        let requests = self.cloud.requests().requests.into_iter();
        requests.filter(|request| request.committed).collect()
    }

    /// The generation that everything is about, when all has come to rest and it is a later one than number `after`;
    /// else what is not as it should be.
    pub(crate) fn settled(&self, after: u64) -> Result<u64, String> {
        let ledger = self.home.ledger();
        let generations = generation_rows(&ledger).ok_or("the ledger cannot be read")?;
        let (live, rest): (Vec<_>, Vec<_>) = generations.iter().partition(|row| row.state == "live");
        let [live] = live.as_slice() else {
            return Err(format!("not one generation is live: {generations:#?}"));
        };
        let is_left = |row: &&GenerationRow| !row.has_ended() && row.state != "doubtful";
        if let Some(left) = rest.into_iter().find(is_left) {
            return Err(format!("{left:#?} is left"));
        }
        let (n, Some(public_key)) = (live.n, &live.public_key) else {
            return Err("it has no public half".to_owned());
        };
        if n <= after || live.stage != "active" {
            return Err(format!("{live:#?} is not active, or not later than {after}"));
        }
        self.placements_are_of(n)?;
        let pairs = self.cloud.pairs(ECS).into_iter();
        let pairs: Vec<_> = pairs
            .map(|pair| (pair.name, fleet::public_key(&pair.public_key).to_owned()))
            .collect();
        if pairs != [(live.pair_name.clone(), public_key.clone())] {
            return Err(format!("the cloud has {pairs:#?}, and {live:#?} is live"));
        }
        for host in self.fleet.hosts() {
            self.has_only(host, public_key)?;
        }
        Ok(n)
    }

    /// Waits until everything has come to rest, and checks all that must hold then; the generation.
    #[track_caller]
    pub(crate) fn wait_settled(&self, daemon: &Daemon, after: u64) -> u64 {
        let end = Instant::now() + DEADLINE;
        let mut seen = None;
        let n = wait::until("all comes to rest", 2 * DEADLINE, || {
            // Whatever is done is followed by a row in the ledger.
            if !self.has_written(&mut seen) {
                return None;
            }
            let settled = self.settled(after);
            if let Err(what) = &settled
                && Instant::now() > end
            {
                panic!("{what}\n{:#}\n{}", daemon.status(), daemon.log());
            }
            settled.ok()
        });
        self.watcher.assert_nobody_was_locked_out();
        let key = daemon.key(KEY);
        assert_eq!(key["state"], "loaded", "{key:#}");
        // Nothing was asked of the cloud that the ledger does not know.
        let effects = self.effects(0);
        for request in self.cloud.requests().requests {
            let known = effects.iter().any(|effect| effect.is_of(&request)) || request.name.is_none();
            assert!(known, "{request:#?}: {effects:#?}");
        }
        n
    }

    /// Whether the ledger was written to since it was seen last, or half a second is over.
    pub(crate) fn has_written(&self, seen: &mut Option<Seen>) -> bool {
        let log = self.home.path("state/ledger.sqlite-wal");
        let version = fs::metadata(log)
            .ok()
            .map(|facts| (facts.len(), facts.mtime(), facts.mtime_nsec()));
        let is_old = |seen: &Seen| seen.version == version && seen.at.elapsed() < Duration::from_millis(500);
        if seen.as_ref().is_some_and(is_old) {
            return false;
        }
        *seen = Some(Seen {
            version,
            at: Instant::now(),
        });
        true
    }

    /// What is only looked at in the end: people log in with the key, and nothing runs on when the daemon is gone.
    #[track_caller]
    pub(crate) fn assert_ends_well(&self, mut daemon: Daemon) {
        let generations = generation_rows(&self.home.ledger()).expect("the ledger can be read");
        let live = generations.iter().find(|row| row.state == "live");
        let public_key = live.and_then(|row| row.public_key.clone());
        let public_key = public_key.expect("it has settled");
        for host in self.fleet.hosts() {
            let mut ssh = self.fleet.ssh(&self.fleet.agent_config());
            ssh.args([host.name(), "echo $SSH_CLIENT"])
                .env("SSH_AUTH_SOCK", self.home.agent_socket());
            let output = ssh.output().expect("ssh can be started (Debian: openssh-client)");
            assert!(output.status.success(), "{output:?}\n{}", daemon.log());
            // The daemon may log in too meanwhile: to see whether the recovery identity still can, for instance.
            let client = String::from_utf8_lossy(&output.stdout).into_owned();
            // Behind what the host says to everybody.
            let port = client.split_whitespace().rev().nth(1);
            let is_ours = |login: &Login| port == Some(login.client_port.to_string().as_str());
            let mut logins = host.logins().into_iter();
            let login = logins.rfind(|login| login.outcome == LoginOutcome::Accepted && is_ours(login));
            let login = login.unwrap_or_else(|| panic!("{client:?}: {}", host.log()));
            assert_eq!(login.fingerprint, fingerprint(&public_key));
        }
        let status = daemon.keyferry(&["status"]);
        assert_eq!(status.status.code(), Some(0), "{status:?}");
        assert_eq!(daemon.stop(), Some(0), "{}", daemon.log());
        let end = Instant::now() + DEADLINE;
        wait::until("what was started has ended", 2 * DEADLINE, || {
            let left = self.started();
            assert!(Instant::now() < end, "{left:#?} are left");
            left.is_empty().then_some(())
        });
        self.watcher.assert_nobody_was_locked_out();
    }

    /// Processes that have to do with this home.
    fn started(&self) -> Vec<processes::Process> {
        let home = self.home.root().display().to_string();
        // Those whose parent was killed are the first process's, or another's who takes them.
        let mut all = processes::descendants(1);
        all.retain(|process| process.arguments.iter().any(|argument| argument.contains(&home)));
        all
    }

    fn take_others_as_they_are(&mut self) {
        let hosts = self.fleet.hosts().iter();
        self.others = hosts
            .map(|host| (host.name().to_owned(), without_ours(&host.authorized_keys())))
            .collect();
    }

    fn placements_are_of(&self, n: u64) -> Result<(), String> {
        let ledger = self.home.ledger();
        let placements = placement_rows(&ledger).ok_or("the ledger cannot be read")?;
        let there = placements.iter().filter(|(_, _, state)| state != "removed");
        let there: Vec<_> = there
            .map(|(n, host, state)| (*n, host.as_str(), state.as_str()))
            .collect();
        if there != [(n, "web-1", "verified"), (n, "web-2", "verified")] {
            return Err(format!(
                "generation {n} is not everywhere, or others are: {there:#?}"
            ));
        }
        // A recovery identity is tried with every generation.
        let trusted = trusted_rows(&ledger).ok_or("the ledger cannot be read")?;
        let expected = if self.recovery.is_some() { 2 } else { 0 };
        if trusted.len() != expected || trusted.iter().any(|(_, state)| state != "verified") {
            return Err(format!("the recovery identity is not everywhere: {trusted:#?}"));
        }
        Ok(())
    }

    /// Whether a host has this line, the recovery identity's where there is one, the other people's byte for byte, and
    /// nothing else.
    fn has_only(&self, host: &Host, public_key: &str) -> Result<(), String> {
        let file = host.authorized_keys();
        let complain = |what: &str| {
            let text = String::from_utf8_lossy(&file);
            Err(format!("{}: {what}, of {public_key}: {text}", host.name()))
        };
        // A person's comment that looks much like a marker makes no line keyferry's.
        let is_ours = |line: &AuthorizedKey| line.comment.starts_with("keyferry owner=");
        let ours: Vec<_> = parse(&file).into_iter().filter(is_ours).collect();
        let of_generations: Vec<_> = ours
            .iter()
            .filter(|line| Some(&line.public_key) != self.recovery.as_ref())
            .collect();
        if of_generations.len() != 1 || of_generations[0].public_key != public_key {
            return complain("not exactly the line");
        }
        if ours.len() != 1 + self.recovery.iter().len() {
            return complain("not exactly the recovery identity besides");
        }
        let others = without_ours(&file);
        let before = &self.others[host.name()];
        // A last line without an end gets one when another comes after it.
        if others != *before && others != [before.as_slice(), b"\n"].concat() {
            return complain("what others wrote is not as it was");
        }
        let entries = fs::read_dir(host.home(host.user()).join(".ssh")).expect("the folder is there");
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| name != "authorized_keys" && name != "rc");
        if !names.is_empty() {
            return complain(&format!("{names:?} is left beside the file"));
        }
        Ok(())
    }
}

/// A file without the lines that keyferry put there.
fn without_ours(file: &[u8]) -> Vec<u8> {
    let lines = file.split_inclusive(|&byte| byte == b'\n');
    lines
        .filter(|line| !String::from_utf8_lossy(line).contains(" keyferry owner="))
        .flatten()
        .copied()
        .collect()
}
/// What is in the files from the start, and stays.
const LINES_OF_OTHERS: &[u8] = b"# machines of the web team\r\n\n  \
    from=\"10.0.0.0/8, ::1\",command=\"say \\\"hi\\\"\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS keyferry key=web gen=1\n\
    not a key at all \xff\xfe\n";
