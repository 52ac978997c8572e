//! One key, its home and its cloud; and what must hold when everything has come to rest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cloud_sim::{CloudSim, Options, RequestRecord, Service};
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::ledger::{self, Generation};
use keyferry_tests::openssh::listed;
use keyferry_tests::processes::Process;
use keyferry_tests::wait;
use rusqlite::{Connection, OpenFlags};

/// The key that every world is about.
pub(crate) const KEY: &str = "web";

/// Longer than anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// A way in which a key comes to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Making {
    CreateAtEcs,
    CreateAtEns,
    ImportAtEcs,
    /// Not among [`Making::ALL`]: walked in a short form.
    ImportInTwoRegions,
}

impl Making {
    pub(crate) const ALL: [Self; 3] = [Self::CreateAtEcs, Self::CreateAtEns, Self::ImportAtEcs];

    pub(crate) fn service(self) -> Service {
        match self {
            Self::CreateAtEcs | Self::ImportAtEcs | Self::ImportInTwoRegions => Service::AlibabaEcs,
            Self::CreateAtEns => Service::AlibabaEns,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::CreateAtEcs | Self::CreateAtEns => "account = \"cloud\"\ngenerated_by = \"provider\"\n",
            Self::ImportAtEcs => "account = \"cloud\"\nalgorithm = \"ecdsa-p256\"\n",
            Self::ImportInTwoRegions => {
                "account = \"cloud\"\nalgorithm = \"ecdsa-p256\"\nregions = [\"cn-hangzhou\", \"cn-beijing\"]\n"
            }
        }
    }

    /// How many pairs a generation has.
    fn pairs(self) -> usize {
        match self {
            Self::CreateAtEcs | Self::CreateAtEns | Self::ImportAtEcs => 1,
            Self::ImportInTwoRegions => 2,
        }
    }
}

/// An effect's row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Effect {
    pub(crate) kind: String,
    pub(crate) n: u64,
    pub(crate) pair_name: String,
    provider_id: Option<String>,
    pub(crate) outcome: Option<String>,
}

impl Effect {
    /// Whether a request is about its pair. Where pairs have an id, a deletion names that.
    pub(crate) fn is_of(&self, request: &RequestRecord) -> bool {
        let name = request.name.as_deref().unwrap_or_default();
        let name = name.trim_matches(['[', ']', '"']);
        name == self.pair_name || Some(name) == self.provider_id.as_deref()
    }
}

/// What outlives the daemon.
pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
    pub(crate) service: Service,
    /// How many pairs the key has when everything has come to rest.
    pairs: usize,
}

impl World {
    /// With the key's file.
    pub(crate) fn new(making: Making) -> Self {
        let world = Self::without_key(making);
        world.declare(making);
        world
    }

    /// With the account alone.
    pub(crate) fn without_key(making: Making) -> Self {
        let options = Options {
            // Few are needed, and each takes a while.
            key_stock: 0,
            ..Options::new(ACCESS_KEY, SECRET_KEY)
        };
        let cloud = CloudSim::start(options).expect("a loopback cloud can be started");
        let home = Home::new();
        home.account("cloud", making.service().name(), cloud.url(making.service()));
        if making.pairs() > 1 {
            // One after the other, so that ledger and cloud tell of them in the same order.
            let path = home.config().join("accounts/cloud.toml");
            let text = fs::read_to_string(path).expect("the account has a file");
            home.write("accounts/cloud.toml", &format!("max_concurrent = 1\n{text}"));
        }
        Self {
            home,
            cloud,
            service: making.service(),
            pairs: making.pairs(),
        }
    }

    /// Writes the key's file.
    pub(crate) fn declare(&self, making: Making) {
        self.home.key(KEY, making.file());
    }

    /// The ledger's effects, in the order they were begun. Read beside the daemon, which is not asked.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        let connection = Connection::open_with_flags(self.home.ledger(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the ledger can be opened for reading");
        let mut query = connection
            .prepare(
                "SELECT kind, n, pair_name, provider_id, outcome FROM effect JOIN generation USING (key, n) ORDER BY id",
            )
            .expect("the ledger has effects");
        let rows = query
            .query_map((), |row| {
                Ok(Effect {
                    kind: row.get(0)?,
                    n: row.get::<_, i64>(1)?.unsigned_abs(),
                    pair_name: row.get(2)?,
                    provider_id: row.get(3)?,
                    outcome: row.get(4)?,
                })
            })
            .expect("the ledger can be read");
        rows.map(|row| row.expect("a row can be read")).collect()
    }

    /// The requests that changed something, in the order they arrived.
    pub(crate) fn committed(&self) -> Vec<RequestRecord> {
        let requests = self.cloud.requests().requests.into_iter();
        requests.filter(|request| request.committed).collect()
    }

    /// The one generation that is live, with all its pairs, when it is a later one than number `after` and nothing else is
    /// under way. Others are gone or, if a request for one may still arrive, doubtful.
    pub(crate) fn settled(&self, after: u64) -> Option<Generation> {
        let rows = ledger::generations(&self.home);
        let (live, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.state == "live");
        let done = |row: &Generation| matches!(&*row.state, "deleted" | "absent" | "doubtful");
        let is_whole = live.len() == self.pairs && live.iter().all(|row| row.blob == live[0].blob);
        let is_later = live.iter().all(|row| row.n > after);
        let first = live.into_iter().next()?;
        (is_whole && is_later && others.iter().all(done)).then_some(first)
    }

    /// Waits until everything has come to rest, and checks all that must hold then.
    #[track_caller]
    pub(crate) fn assert_sound(&self, daemon: &Daemon) {
        let status = daemon.wait_loaded(30);
        wait::until("one generation is live and no other left", DEADLINE, || {
            self.settled(0)
        });
        let rows = ledger::generations(&self.home).into_iter();
        let live = rows.filter(|row| row.state == "live");
        // Exactly the pairs that the ledger knows, each with the public key that is loaded.
        let key = find(&status, KEY);
        assert_eq!(key["state"], "loaded");
        let public_key = words(key["public_key"].as_str().unwrap_or_default());
        let pairs = self.cloud.pairs(self.service).into_iter();
        let mut pairs: Vec<_> = pairs.map(|pair| (pair.name, words(&pair.public_key))).collect();
        pairs.sort();
        let mut known: Vec<_> = live.map(|row| (row.pair_name, public_key.clone())).collect();
        known.sort();
        assert_eq!(pairs, known);

        // Nothing was asked of the cloud that the ledger does not know.
        let effects = self.effects();
        for request in self.cloud.requests().requests {
            let known = effects.iter().any(|effect| effect.is_of(&request));
            assert!(known, "{request:#?}: {effects:#?}");
        }

        // The agent has it and it alone; the public half on the disk is its, and what it signs the public half verifies.
        let keys: Vec<String> = listed(&self.home.agent_socket())
            .iter()
            .map(|line| words(line))
            .collect();
        assert_eq!(
            keys,
            std::slice::from_ref(&public_key),
            "the agent's keys\n{}",
            daemon.log()
        );
        let path = self.home.path("state/public").join(format!("{KEY}.pub"));
        wait::until("the public half is on the disk", DEADLINE, || {
            (words(&fs::read_to_string(&path).ok()?) == public_key).then_some(())
        });
        self.assert_signs(&path, &public_key);
    }

    /// ssh-keygen signs with the agent's key and verifies with the public half. (`ssh-add -T` of OpenSSH 9.2 asks RSA keys for
    /// SHA-1, which is refused.)
    #[track_caller]
    fn assert_signs(&self, path: &Path, public_key: &str) {
        let (signers, text) = (self.home.path("signers"), self.home.path("text"));
        let signature = self.home.path("text.sig");
        fs::write(&signers, format!("{KEY} {public_key}\n")).expect("a file can be written");
        fs::write(&text, "signed").expect("a file can be written");
        let _ = fs::remove_file(&signature);
        let keygen = |words: &[&str], files: &[&Path], stdin: Stdio| {
            let output = Command::new("ssh-keygen")
                .arg("-Y")
                .args(words)
                .args(files)
                .env("SSH_AUTH_SOCK", self.home.agent_socket())
                .stdin(stdin)
                .output()
                .expect("ssh-keygen can be started (Debian: openssh-client)");
            assert!(output.status.success(), "{words:?}: {output:?}");
        };
        keygen(&["sign", "-n", "test", "-f"], &[path, &text], Stdio::null());
        let text = fs::File::open(text).expect("a file can be opened");
        let files = [signature.as_path(), Path::new("-f"), &signers];
        keygen(
            &["verify", "-n", "test", "-I", KEY, "-s"],
            &files,
            Stdio::from(text),
        );
    }
}

/// Waits until processes whose parent was killed have ended by themselves.
///
/// # Panics
/// When they do not.
#[track_caller]
pub(crate) fn assert_end_by_themselves(processes: &[Process]) {
    wait::until(
        "the processes that were left end",
        Duration::from_secs(10),
        || (!processes.iter().any(Process::is_running)).then_some(()),
    );
}

/// Algorithm and key of a public key's line.
fn words(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
