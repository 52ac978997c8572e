//! Keys in other agents.

use crate::harness::*;
use crate::openssh::*;
use crate::session::*;
use keyferry_agent::{Foreign, LendError, Limits, Offer, Options};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// OpenSSH's own.
struct SshAgent {
    child: Child,
    socket: PathBuf,
}

impl SshAgent {
    fn start(folder: &Path, file: &Path) -> Self {
        let socket = folder.join("ssh-agent.sock");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, socket };
        eventually("ssh-agent listens", || UnixStream::connect(&agent.socket).is_ok());
        let mut adding = Command::new("ssh-add");
        let output = run(adding.arg("-q").arg(file).env("SSH_AUTH_SOCK", &agent.socket), "");
        assert!(output.status.success(), "{output:?}");
        agent
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn foreign(key: &TestKey, socket: &Path) -> Foreign {
    Foreign {
        public_blob: key.public.clone(),
        comment: "recovery".to_owned(),
        socket: socket.to_owned(),
    }
}

fn to(host: &TestKey) -> Offer {
    Offer::To(vec![host.public.clone()])
}

#[test]
fn a_key_of_another_agent_logs_in_where_it_is_lent_to() {
    let running = Running::start();
    for kind in ["ed25519", "rsa"] {
        let file = keygen(
            running.folder.path(),
            kind,
            if kind == "rsa" { 2048 } else { 256 },
        );
        let key = TestKey::read(&file);
        let (lost, other) = (Sshd::start(&[&key]), Sshd::start(&[&key]));
        let other_agent = SshAgent::start(running.folder.path(), &file);
        let lent = foreign(&key, &other_agent.socket);
        running
            .agent
            .lend(lent.clone(), Offer::To(vec![lost.host_key.clone()]))
            .unwrap();
        lost.login_ok(&running.path, &[]);
        other.login_fails(&running.path, &[]);
        assert_eq!(running.connect().ask(LIST), EMPTY_LIST);
        running.connect().refuses(&key);

        let socket = {
            let _within = running.runtime().enter();
            let folder = running.folder.path().join("private");
            running.agent.private_socket_of(&folder, lent).unwrap()
        };
        other.login_ok(socket.path(), &[]);
        let logins = socket.logins();
        assert_eq!(logins.len(), 1);
        assert_eq!((&logins[0].host_key, &logins[0].user), (&other.host_key, &user()));

        let lock = |number: u8| running.connect().ask(&[&[number][..], &string(b"x")].concat());
        assert_eq!(lock(22), SUCCESS);
        assert_eq!(Client::connect(socket.path()).unwrap().ask(LIST), EMPTY_LIST);
        let data = login(&[1], &key, None);
        let mut client = Client::connect(socket.path())
            .unwrap()
            .bound(&TestKey::ed25519(101), &[1]);
        assert_eq!(client.ask(&sign(&key.public, &data, 4)), FAILURE);
        assert_eq!(lock(23), SUCCESS);
        drop(other_agent);
        other.login_fails(socket.path(), &[]);
        assert_eq!(socket.logins().len(), 1, "nothing was signed");

        assert!(running.agent.unlend(&key.public));
        assert!(!running.agent.unlend(&key.public));
        lost.login_fails(&running.path, &[]);
    }
}

#[test]
fn an_agent_that_was_started_anew_is_asked_anew() {
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    let (key, host) = (TestKey::read(&file), TestKey::ed25519(101));
    let other_agent = SshAgent::start(running.folder.path(), &file);
    running
        .agent
        .lend(foreign(&key, &other_agent.socket), to(&host))
        .unwrap();
    let mut client = running.connect().bound(&host, &[1]);
    client.signs(&key);
    drop(other_agent);
    client.refuses(&key);
    let other_agent = SshAgent::start(running.folder.path(), &file);
    client.signs(&key);
    drop(other_agent);
    let _other_agent = SshAgent::start(running.folder.path(), &file);
    client.signs(&key);
}

#[test]
fn the_other_agent_is_told_what_the_client_is_bound_to() {
    // ssh-agent signs with a key that is for one host only when it has seen the very bindings.
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    let key = TestKey::read(&file);
    let (host, other) = (Sshd::start(&[&key]), Sshd::start(&[&key]));
    let other_agent = SshAgent::start(running.folder.path(), &file);
    let known_hosts = host.path("known_hosts");
    let port = host.port();
    let constrained = run(
        Command::new("ssh-add")
            .args(["-q", "-H"])
            .arg(&known_hosts)
            .args(["-h", &format!("[127.0.0.1]:{port}")])
            .arg(&file)
            .env("SSH_AUTH_SOCK", &other_agent.socket),
        "",
    );
    assert!(constrained.status.success(), "{constrained:?}");
    running
        .agent
        .lend(foreign(&key, &other_agent.socket), Offer::Everywhere)
        .unwrap();
    host.login_ok(&running.path, &[]);
    other.login_fails(&running.path, &[]);
}

/// Another agent that a test plays: what it is asked, and what it answers.
fn play(path: &Path, answer: impl Fn(&[u8], &mut UnixStream) + Send + 'static) -> JoinHandle<Vec<Vec<u8>>> {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut asked = Vec::new();
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut message).unwrap();
            answer(&message, &mut stream);
            asked.push(message);
        }
        asked
    })
}

/// A way to a socket of this process through others, since our own is recognised: ssh forwards it.
struct Relay {
    child: Child,
    path: PathBuf,
    _sshd: Sshd,
}

impl Relay {
    fn to(target: &Path) -> Self {
        let file = keygen(target.parent().unwrap(), "ecdsa", 256);
        let sshd = Sshd::start(&[&TestKey::read(&file)]);
        std::fs::rename(&file, sshd.path("identity")).unwrap();
        let path = sshd.path("relay.sock");
        let forward = format!("{}:{}", path.display(), target.display());
        let identity = sshd.path("identity");
        let words = sshd.ssh(&["-N", "-L", &forward, "-i", identity.to_str().unwrap()]);
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        eventually("ssh forwards", || path.exists());
        Self {
            child,
            path,
            _sshd: sshd,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn our_own_socket_is_recognised_and_agents_that_ask_each_other_come_to_an_end() {
    let key = TestKey::ed25519(1);
    // Were it asked, it would ask itself again, and the first client had to give way.
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let running = Running::with(Options::default(), limits);
    running
        .agent
        .lend(foreign(&key, &running.path), Offer::Everywhere)
        .unwrap();
    running.connect().refuses(&key);

    let running = Running::start();
    let relay = Relay::to(&running.path);
    running
        .agent
        .lend(foreign(&key, &relay.path), Offer::Everywhere)
        .unwrap();
    let mut client = running.connect();
    client.refuses(&key);
    assert_eq!(client.comments(), ["recovery"]);
}

#[test]
fn whatever_the_other_agent_does_is_a_failure_of_that_request() {
    let limits = Limits {
        upstream: Duration::from_millis(300),
        ..Limits::default()
    };
    let impatient = Running::with(Options::default(), limits);
    // Waits longer than this test does.
    let patient = Running::start();
    let (host, key, own) = (TestKey::ed25519(101), TestKey::ed25519(1), TestKey::ed25519(2));
    for running in [&impatient, &patient] {
        running.load("web", &own);
    }
    type Answer = fn(&[u8], &mut UnixStream);
    let cases: &[(&str, Answer)] = &[
        ("nothing", |_, _| {}),
        ("the end", |_, stream| {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }),
        ("a failure", |_, stream| {
            stream.write_all(&[0, 0, 0, 1, 5]).unwrap()
        }),
        ("an empty message", |_, stream| stream.write_all(&[0; 4]).unwrap()),
        ("a success", |_, stream| {
            stream.write_all(&[0, 0, 0, 1, 6]).unwrap()
        }),
        ("a signature cut short", |_, stream| {
            stream.write_all(&frame(&[14, 0, 0, 0, 9, 1])).unwrap();
        }),
        ("too long a message", |_, stream| {
            stream.write_all(&(256 * 1024 + 1_u32).to_be_bytes()).unwrap();
        }),
        ("half a message", |_, stream| {
            stream.write_all(&[0, 0, 1, 0, 14]).unwrap()
        }),
    ];
    for (number, (name, answer)) in cases.iter().enumerate() {
        let running = match *name {
            "nothing" | "half a message" => &impatient,
            _ => &patient,
        };
        let target = running.folder.path().join(format!("{number}.sock"));
        let _played = play(&target, answer);
        let relay = Relay::to(&target);
        running.agent.lend(foreign(&key, &relay.path), to(&host)).unwrap();
        let mut client = running.connect().bound(&host, &[1]);
        client.send_bytes(&frame(&sign(&key.public, b"data", 0)));
        // Nobody else waits meanwhile.
        running.connect().signs(&own);
        assert_eq!(client.read().unwrap(), FAILURE, "{name}");
        client.signs(&own);
        drop(relay);
        client.refuses(&key);
    }
}

#[test]
fn a_client_has_one_connection_and_its_bindings_go_first() {
    let running = Running::start();
    let (host, key) = (TestKey::ed25519(101), TestKey::ed25519(1));
    let target = running.folder.path().join("other.sock");
    let signed = signature(&key, b"data", 0);
    let reply = [&[14][..], &string(&signed)].concat();
    let played = play(&target, move |message, stream| {
        // It does not know bindings.
        let answer: &[u8] = if message[0] == 27 { FAILURE } else { &reply };
        stream.write_all(&frame(answer)).unwrap();
    });
    let relay = Relay::to(&target);
    running.agent.lend(foreign(&key, &relay.path), to(&host)).unwrap();
    let first = bind_to(&TestKey::ed25519(102), &[1], true);
    let second = bind_to(&host, &[2], false);
    let mut client = running.connect();
    assert_eq!(client.ask(&first), SUCCESS);
    client.refuses(&key);
    assert_eq!(client.ask(&second), SUCCESS);
    assert_eq!(client.comments(), ["recovery"]);
    for _ in 0..2 {
        client.signs(&key);
    }
    drop(client);
    let request = sign(&key.public, b"data", 4);
    assert_eq!(played.join().unwrap(), [first, second, request.clone(), request]);
}

#[test]
fn what_we_have_ourselves_we_sign_with() {
    let running = Running::start();
    let key = TestKey::ed25519(1);
    let nowhere = running.folder.path().join("nobody.sock");
    running
        .agent
        .lend(foreign(&key, &nowhere), Offer::Everywhere)
        .unwrap();
    let mut client = running.connect();
    let start = Instant::now();
    client.refuses(&key);
    assert!(start.elapsed() < DEADLINE / 2, "nobody is there to wait for");
    assert_eq!(client.ask(&remove(&key.public)), FAILURE);
    running.load("web", &key);
    assert_eq!(client.comments(), ["comment of web"]);
    client.signs(&key);
    assert!(running.agent.unload("web", 1));
    assert_eq!(client.comments(), ["recovery"]);
    assert_eq!(client.ask(&[&[22][..], &string(b"x")].concat()), SUCCESS);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    client.refuses(&key);
}

#[test]
fn what_would_spoil_the_list_is_not_lent() {
    let running = Running::start();
    let lend = |public_blob: Vec<u8>, comment: &str| {
        let lent = Foreign {
            public_blob,
            comment: comment.to_owned(),
            socket: PathBuf::from("/nowhere"),
        };
        running.agent.lend(lent, Offer::Everywhere)
    };
    let key = TestKey::ed25519(1).public;
    assert_eq!(lend(key.clone(), "a\0b"), Err(LendError::Comment));
    for malformed in [&b""[..], &key[..key.len() - 1], &string(b"ssh-rsa"), &string(b"")] {
        assert_eq!(lend(malformed.to_vec(), ""), Err(LendError::PublicKey));
    }
    assert_eq!(running.connect().ask(LIST), EMPTY_LIST);
    let token = [
        string(b"sk-ssh-ed25519@openssh.com"),
        string(&[1; 32]),
        string(b"ssh:"),
    ]
    .concat();
    assert_eq!(lend(token, "a security key"), Ok(()));
    assert!(running.tool_ok("ssh-add", &["-L"], "").contains("a security key"));
}
