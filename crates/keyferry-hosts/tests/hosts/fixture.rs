//! Hosts, an agent with generations, and what does tasks between them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_agent::{Agent, Foreign, ManagedKey, Offer, Options, PrivateSocket, SigningKey};
use keyferry_hosts::{
    Account, Host, HostError, HostKeys, Identity, Line, Login, Marker, OneKeySocket, Parts, Proof, Reply,
    Sockets, Ssh, Task, Work, public_blob,
};
use keyferry_tests::fleet::{self, Fleet, HostOptions, Shell};
use tempfile::TempDir;

/// A fleet and an agent that has generations 1 to 3 of key `web`.
pub(crate) struct Bench {
    pub(crate) fleet: Fleet,
    pub(crate) ssh: Arc<Ssh>,
    pub(crate) sockets: Arc<AgentSockets>,
    config: Mutex<PathBuf>,
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new(hosts: impl IntoIterator<Item = HostOptions>) -> Self {
        Self::with(hosts, |_| {})
    }

    pub(crate) fn with(
        hosts: impl IntoIterator<Item = HostOptions>,
        change: impl FnOnce(&mut Parts),
    ) -> Self {
        let fleet = Fleet::start(hosts);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let agent = Agent::new(Options::default());
        for n in 1..=3 {
            agent
                .load(ManagedKey {
                    name: "web".to_owned(),
                    generation: n,
                    key: SigningKey::from_private_blob(&private_blob(n)).expect("a key"),
                    comment: "web".to_owned(),
                    offer: Offer::Nowhere,
                })
                .expect("it is loaded");
        }
        let sockets = Arc::new(AgentSockets {
            agent,
            folder: folder.path().join("sockets"),
            instead: Mutex::default(),
            opened: Mutex::default(),
        });
        let mut parts = Parts::new(
            Arc::clone(&sockets) as Arc<dyn Sockets>,
            folder.path().join("ssh runtime"),
        );
        parts.auth_socket = None;
        change(&mut parts);
        Self {
            config: Mutex::new(fleet.ssh_config()),
            ssh: Arc::new(Ssh::new(parts).expect("a folder for it")),
            fleet,
            sockets,
            folder,
        }
    }

    /// One quiet host `web-1` with dash.
    pub(crate) fn of_one() -> Self {
        Self::new([HostOptions::new("web-1", Shell::Dash)])
    }

    /// Has ssh read other settings: these, and then those of the fleet without its admin key.
    pub(crate) fn set_config(&self, text: &str) {
        let path = self.folder.path().join("config");
        let fleet = fs::read_to_string(self.fleet.agent_config()).expect("the fleet's settings");
        // What they say of keys would come first otherwise.
        let fleet = fleet
            .replace("IdentityFile none", "")
            .replace("ControlPath none", "");
        fs::write(&path, format!("{text}\n{fleet}")).expect("a file can be written");
        *self.config.lock().expect("no panic") = path;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn host(&self, name: &str) -> Host {
        Host {
            destination: name.to_owned(),
            account: Account::default(),
            ssh: vec![
                "ssh".to_owned(),
                "-F".to_owned(),
                self.config.lock().expect("no panic").display().to_string(),
            ],
            host_keys: HostKeys::Known,
            pinned: None,
        }
    }

    pub(crate) async fn run(&self, name: &str, work: Work) -> Result<Reply, HostError> {
        self.run_on(self.host(name), work).await
    }

    pub(crate) async fn run_on(&self, host: Host, work: Work) -> Result<Reply, HostError> {
        tokio::time::timeout(Duration::from_secs(100), self.ssh.run(Task { host, work }))
            .await
            .expect("a task ends by itself")
    }

    pub(crate) async fn verify(&self, name: &str, n: u64) -> Result<Reply, HostError> {
        self.run(name, verify(n)).await
    }

    /// The bytes of authorized_keys of `web-1`'s user.
    pub(crate) fn file(&self) -> Vec<u8> {
        self.fleet.hosts()[0].authorized_keys()
    }

    /// The file as it was at first and these lines.
    pub(crate) fn admin_and(&self, lines: &str) -> String {
        fs::read_to_string(self.fleet.admin_public_key()).expect("the admin key") + lines
    }

    pub(crate) fn host_key(&self, name: &str) -> Vec<u8> {
        public_blob(self.fleet.host(name).host_key()).expect("a host key")
    }
}

/// Opens sockets of the agent.
pub(crate) struct AgentSockets {
    pub(crate) agent: Agent,
    folder: PathBuf,
    /// What is opened in place of the wanted one, by how many were opened before.
    pub(crate) instead: Mutex<Option<Instead>>,
    pub(crate) opened: Mutex<usize>,
}

type Instead = Box<dyn Fn(usize) -> Option<Result<Box<dyn OneKeySocket>, String>> + Send>;

impl AgentSockets {
    pub(crate) fn socket(&self, key: &str, n: u64) -> Result<Box<dyn OneKeySocket>, String> {
        match self.agent.private_socket(&self.folder, key, n) {
            Ok(socket) => Ok(Box::new(Opened(socket))),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Sockets for AgentSockets {
    fn open(&self, key: &str, n: u64) -> Result<Box<dyn OneKeySocket>, String> {
        let mut opened = self.opened.lock().expect("no panic");
        *opened += 1;
        if let Some(instead) = &*self.instead.lock().expect("no panic")
            && let Some(answer) = instead(*opened)
        {
            return answer;
        }
        self.socket(key, n)
    }

    fn open_foreign(&self, agent: &Path, public_key: &str) -> Result<Box<dyn OneKeySocket>, String> {
        let foreign = Foreign {
            public_blob: public_blob(public_key).ok_or("no public key")?,
            comment: String::new(),
            socket: agent.to_owned(),
        };
        match self.agent.private_socket_of(&self.folder, foreign) {
            Ok(socket) => Ok(Box::new(Opened(socket))),
            Err(error) => Err(error.to_string()),
        }
    }
}

struct Opened(PrivateSocket);

impl OneKeySocket for Opened {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn logins(&self) -> Vec<Login> {
        self.0
            .logins()
            .into_iter()
            .map(|login| Login {
                host_key: login.host_key,
                session_id: login.session_id,
                user: login.user,
                forwarded: login.forwarded,
            })
            .collect()
    }
}

fn pair(n: u64) -> (Vec<u8>, Vec<u8>) {
    let seed = vec![u8::try_from(n).expect("few generations"); 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
    (pair.public_key().as_ref().to_vec(), seed)
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes(), bytes].concat()
}

fn private_blob(n: u64) -> Vec<u8> {
    let (public, seed) = pair(n);
    [
        string(b"ssh-ed25519"),
        string(&public),
        string(&[seed, public].concat()),
    ]
    .concat()
}

pub(crate) fn public_key(n: u64) -> String {
    let (public, _) = pair(n);
    let blob = [string(b"ssh-ed25519"), string(&public)].concat();
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

pub(crate) fn generation(n: u64) -> Identity {
    Identity::Generation {
        key: "web".to_owned(),
        n,
        public_key: public_key(n),
    }
}

pub(crate) fn verify(n: u64) -> Work {
    Work::Verify {
        identity: generation(n),
        proof: Proof::Session,
    }
}

pub(crate) fn put(n: u64) -> Work {
    put_over(vec![generation(n), Identity::SshConfig], n)
}

pub(crate) fn put_over(over: Vec<Identity>, n: u64) -> Work {
    Work::Put {
        over,
        line: line(n),
        itself: Some(generation(n)),
        proof: Proof::Session,
    }
}

pub(crate) fn remove(over: u64, n: u64) -> Work {
    Work::Remove {
        over: generation(over),
        editors: vec![Identity::SshConfig],
        proof: Proof::Session,
        lines: vec![line(n)],
        foreign: Vec::new(),
    }
}

pub(crate) fn line(n: u64) -> Line {
    Line {
        options: String::new(),
        public_key: public_key(n),
        marker: Marker {
            owner: "li".to_owned(),
            machine: "laptop-7f3a1c".to_owned(),
            key: "web".to_owned(),
            n: Some(n),
        },
    }
}

/// Another key in files, as users have them.
pub(crate) fn key_file(path: &Path) -> String {
    fleet::generate(path, "somebody");
    fs::read_to_string(path.with_extension("pub")).expect("its public half")
}

pub(crate) fn append(host: &fleet::Host, text: &str) {
    let mut bytes = host.authorized_keys();
    bytes.write_all(text.as_bytes()).expect("memory");
    host.set_authorized_keys(&bytes);
}
