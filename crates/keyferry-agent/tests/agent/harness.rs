//! A running agent on a private socket, a client that speaks bytes, and keys made by `ssh-keygen`.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_agent::{Agent, Limits, Listener, ManagedKey, Offer, Options, SigningKey, serve};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const FAILURE: &[u8] = &[5];
pub(crate) const SUCCESS: &[u8] = &[6];
pub(crate) const LIST: &[u8] = &[11];
pub(crate) const EMPTY_LIST: &[u8] = &[12, 0, 0, 0, 0];
pub(crate) const REMOVE_ALL: &[u8] = &[19];

/// How long anything here may take before it counts as not happening.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An agent that is served on a socket of its own.
pub(crate) struct Running {
    pub(crate) agent: Agent,
    pub(crate) path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
    runtime: Runtime,
    pub(crate) folder: TempDir,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::with(Options::default(), Limits::default())
    }

    pub(crate) fn with(options: Options, limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let agent = Agent::new(options);
        let (stop, stopped) = oneshot::channel();
        let served = {
            let _within = runtime.enter();
            let listener = Listener::bind(&path).unwrap();
            let stopped = async {
                let _ = stopped.await;
            };
            runtime.spawn(serve(listener, agent.clone(), limits, stopped))
        };
        Self {
            agent,
            path,
            stop: Some(stop),
            served: Some(served),
            runtime,
            folder,
        }
    }

    /// Stops as a signal would have it, and waits for the end.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let served = self.served.take().unwrap();
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, served).await.unwrap().unwrap() });
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    /// Runs a program with this agent as its agent, and without a terminal or another way to ask.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        run(
            Command::new(program)
                .args(arguments)
                .env("SSH_AUTH_SOCK", &self.path),
            input,
        )
    }

    /// The same, and it must succeed.
    #[track_caller]
    pub(crate) fn tool_ok(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let output = self.tool(program, arguments, input);
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn load(&self, name: &str, key: &TestKey) {
        self.load_generation(name, 1, key, Offer::Everywhere);
    }

    pub(crate) fn load_generation(&self, name: &str, generation: u64, key: &TestKey, offer: Offer) {
        let key = SigningKey::from_private_blob(&key.private).unwrap();
        self.agent
            .load(ManagedKey {
                name: name.to_owned(),
                generation,
                key,
                comment: format!("comment of {name}"),
                offer,
            })
            .unwrap();
    }
}

pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .env_remove("DISPLAY")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A client that sends and receives bytes as they are.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self(stream))
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut message)?;
        Ok(message)
    }

    pub(crate) fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        self.send_bytes(&frame(message));
        self.read().unwrap()
    }

    /// The blobs and comments that the agent lists.
    pub(crate) fn list(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let reply = self.ask(LIST);
        assert_eq!(reply[0], 12);
        let count = u32::from_be_bytes(reply[1..5].try_into().unwrap());
        let mut rest = &reply[5..];
        let entries = (0..count)
            .map(|_| (take_string(&mut rest).to_vec(), take_string(&mut rest).to_vec()))
            .collect();
        assert!(rest.is_empty(), "the list ends with its last entry");
        entries
    }

    /// Whether the agent has closed this connection, or does so before the deadline.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// A message with its length.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    string(message)
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

pub(crate) fn take_string<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (length, after) = rest.split_at(4);
    let (string, after) = after.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
    *rest = after;
    string
}

pub(crate) fn add(private: &[u8], comment: &[u8]) -> Vec<u8> {
    [&[17], private, &string(comment)].concat()
}

pub(crate) fn add_constrained(private: &[u8], comment: &[u8], constraints: &[u8]) -> Vec<u8> {
    [&[25], private, &string(comment), constraints].concat()
}

pub(crate) fn remove(public: &[u8]) -> Vec<u8> {
    [&[18], &string(public)[..]].concat()
}

pub(crate) fn sign(public: &[u8], data: &[u8], flags: u32) -> Vec<u8> {
    [&[13], &string(public)[..], &string(data), &flags.to_be_bytes()].concat()
}

/// A key of which both halves are known.
pub(crate) struct TestKey {
    pub(crate) public: Vec<u8>,
    /// As it travels in a message, without the comment.
    pub(crate) private: Vec<u8>,
}

impl TestKey {
    /// An Ed25519 key of the seed that is `byte`, 32 times.
    pub(crate) fn ed25519(byte: u8) -> Self {
        Self::ed25519_of([byte; 32])
    }

    pub(crate) fn ed25519_of(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public = pair.public_key().as_ref();
        let name = string(b"ssh-ed25519");
        Self {
            public: [&name[..], &string(public)].concat(),
            private: [&name[..], &string(public), &string(&[&seed, public].concat())].concat(),
        }
    }

    /// A key that `ssh-keygen` makes, with its private half as it stands in the file.
    pub(crate) fn generate(kind: &str, bits: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::read(&keygen(folder.path(), kind, bits))
    }

    /// Reads an unencrypted key file in OpenSSH's own form.
    pub(crate) fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let bytes = STANDARD.decode(body).unwrap();
        let mut rest = bytes.strip_prefix(b"openssh-key-v1\0").unwrap();
        for expected in [&b"none"[..], b"none", b""] {
            assert_eq!(take_string(&mut rest), expected);
        }
        rest = &rest[4..];
        let public = take_string(&mut rest).to_vec();
        let section = &take_string(&mut rest)[8..];
        let mut after = section;
        let fields = match take_string(&mut after) {
            b"ssh-ed25519" => 2,
            b"ssh-rsa" => 6,
            _ => 3,
        };
        for _ in 0..fields {
            take_string(&mut after);
        }
        Self {
            public,
            private: section[..section.len() - after.len()].to_vec(),
        }
    }

    /// The public half as a line of authorized_keys, without a comment.
    pub(crate) fn line(&self) -> String {
        let kind = take_string(&mut &self.public[..]);
        format!(
            "{} {}",
            String::from_utf8_lossy(kind),
            STANDARD.encode(&self.public)
        )
    }

    /// The strings of the private half, the type's name first.
    pub(crate) fn fields(&self) -> Vec<Vec<u8>> {
        let mut rest = &self.private[..];
        let mut fields = Vec::new();
        while !rest.is_empty() {
            fields.push(take_string(&mut rest).to_vec());
        }
        fields
    }
}

/// A private half of these strings.
pub(crate) fn private_of(fields: &[Vec<u8>]) -> Vec<u8> {
    fields.iter().flat_map(|field| string(field)).collect()
}

/// Has `ssh-keygen` make a key file, and returns its path.
pub(crate) fn keygen(folder: &Path, kind: &str, bits: u32) -> PathBuf {
    let file = folder.join(format!("{kind}-{bits}"));
    let mut command = Command::new("ssh-keygen");
    command
        .args([
            "-q",
            "-t",
            kind,
            "-b",
            &bits.to_string(),
            "-N",
            "",
            "-C",
            "a comment",
            "-f",
        ])
        .arg(&file);
    let output = run(&mut command, "");
    assert!(output.status.success(), "{output:?}");
    file
}

/// Checks the reply to a sign request, and returns the name of the signature's algorithm.
#[track_caller]
pub(crate) fn verified(public: &[u8], data: &[u8], reply: &[u8]) -> String {
    assert_eq!(reply[0], 14, "a signature is expected, not {reply:?}");
    let mut rest = &reply[1..];
    let mut signature = take_string(&mut rest);
    assert!(rest.is_empty());
    let algorithm = String::from_utf8(take_string(&mut signature).to_vec()).unwrap();
    let bytes = take_string(&mut signature);
    assert!(signature.is_empty());

    let mut fields = public;
    let kind = take_string(&mut fields);
    if kind == b"ssh-rsa" {
        let (e, n) = (take_string(&mut fields), take_string(&mut fields));
        let parameters = match algorithm.as_str() {
            "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
            "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
            other => panic!("an RSA signature named {other}"),
        };
        PublicKeyComponents {
            n: n.strip_prefix(&[0]).unwrap_or(n),
            e,
        }
        .verify(parameters, data, bytes)
        .unwrap();
        return algorithm;
    }
    assert_eq!(algorithm.as_bytes(), kind);
    if kind == b"ssh-ed25519" {
        UnparsedPublicKey::new(&ED25519, take_string(&mut fields))
            .verify(data, bytes)
            .unwrap();
        return algorithm;
    }
    let (verification, length) = match take_string(&mut fields) {
        b"nistp256" => (&ECDSA_P256_SHA256_FIXED, 32),
        b"nistp384" => (&ECDSA_P384_SHA384_FIXED, 48),
        _ => (&ECDSA_P521_SHA512_FIXED, 66),
    };
    let mut numbers = bytes;
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let number = take_string(&mut numbers);
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        assert!(
            digits.len() == number.len() || digits[0] & 0x80 != 0,
            "a needless zero byte"
        );
        fixed.resize(fixed.len() + length - digits.len(), 0);
        fixed.extend(digits);
    }
    UnparsedPublicKey::new(verification, take_string(&mut fields))
        .verify(data, &fixed)
        .unwrap();
    algorithm
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
