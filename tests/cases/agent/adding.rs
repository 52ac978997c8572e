//! Keys added by hand beside managed ones, lifetimes, and the lock.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cloud_sim::Service;
use keyferry_tests::build::built;
use keyferry_tests::openssh::{listed, ssh_add, wait_for_keys};
use keyferry_tests::wait;

use crate::scene::{QUICK, Scene, assert_done, own_key};

#[test]
fn a_hand_added_key_with_a_lifetime_ends_and_the_managed_stay() {
    let scene = Scene::new(&[("web", QUICK)]);
    let (brief, lasting) = (
        own_key(scene.home.root(), "brief"),
        own_key(scene.home.root(), "lasting"),
    );
    assert_done(&scene.ssh_add(&["-q", &lasting.display().to_string()]));
    let added = Instant::now();
    assert_done(&scene.ssh_add(&["-q", "-t", "2", &brief.display().to_string()]));
    assert_eq!(listed(&scene.socket()).len(), 3);
    let left = wait_for_keys(&scene.socket(), 2, Duration::from_secs(20));
    assert!(added.elapsed() >= Duration::from_secs(2), "{:?}", added.elapsed());
    assert!(left.iter().all(|line| !line.ends_with(" brief")), "{left:?}");
    scene.assert_signs("web");
    // The private half is beside it, so only the agent can be meant by the public one.
    assert_done(&scene.ssh_add(&["-T", &format!("{}.pub", lasting.display())]));
    let gone = scene.ssh_add(&["-T", &format!("{}.pub", brief.display())]);
    assert!(!gone.status.success(), "an ended key signs");
}

#[test]
fn a_bare_agent_ends_keys_at_its_own_lifetime() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("agent.sock");
    let mut agent = BareAgent(
        Command::new(built().keyferry())
            .args(["ssh-agent", "-D", "-a"])
            .arg(&socket)
            .args(["-t", "5"])
            .stderr(Stdio::null())
            .spawn()
            .expect("keyferry can be started"),
    );
    wait::until("the agent listens", Duration::from_secs(10), || {
        socket.exists().then_some(())
    });
    let (five, hour) = (own_key(folder.path(), "five"), own_key(folder.path(), "hour"));
    let added = Instant::now();
    assert_done(&ssh_add(&socket, &["-q", &five.display().to_string()]));
    assert_done(&ssh_add(
        &socket,
        &["-q", "-t", "1h", &hour.display().to_string()],
    ));
    assert_eq!(listed(&socket).len(), 2);
    let left = wait_for_keys(&socket, 1, Duration::from_secs(30));
    assert!(added.elapsed() >= Duration::from_secs(5), "{:?}", added.elapsed());
    assert!(left[0].ends_with(" hour"), "its own lifetime counts: {left:?}");
    assert!(agent.0.try_wait().expect("a child can be waited for").is_none());
}

struct BareAgent(std::process::Child);

impl Drop for BareAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ssh-add -x` or `-X` with this passphrase.
fn with_passphrase(scene: &Scene, flag: &str, passphrase: &str) -> Output {
    let askpass = scene.home.path("askpass");
    fs::write(&askpass, format!("#!/bin/sh\necho '{passphrase}'\n")).expect("a file can be written");
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o755)).expect("modes can be set");
    Command::new("ssh-add")
        .arg(flag)
        .env("SSH_AUTH_SOCK", scene.socket())
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("DISPLAY", ":0")
        .stdin(Stdio::null())
        .output()
        .expect("ssh-add can be started (Debian: openssh-client)")
}

/// A locked agent lists and signs nothing; what arrives meanwhile is there when it is unlocked.
#[test]
fn a_locked_agent_gives_nothing_and_loses_nothing() {
    let scene = Scene::new(&[("web", QUICK)]);
    let own = own_key(scene.home.root(), "own");
    assert_done(&scene.ssh_add(&["-q", &own.display().to_string()]));
    assert_done(&with_passphrase(&scene, "-x", "sesame"));
    assert!(listed(&scene.socket()).is_empty());
    scene.assert_refuses_to_sign("web");
    let public = scene.public("web").display().to_string();
    assert!(
        !scene.ssh_add(&["-d", &public]).status.success(),
        "a locked agent removes nothing"
    );
    assert!(!scene.ssh_add(&["-D"]).status.success(), "nor all of it");
    assert!(
        !scene
            .ssh_add(&["-q", &own.display().to_string()])
            .status
            .success()
    );

    scene.home.key("later", QUICK);
    scene.wait_for_state("later", "loaded");
    assert_eq!(scene.daemon.key("web")["state"], "loaded");
    assert!(listed(&scene.socket()).is_empty());

    assert!(!with_passphrase(&scene, "-X", "wrong").status.success());
    assert!(listed(&scene.socket()).is_empty());
    assert_done(&with_passphrase(&scene, "-X", "sesame"));
    assert_eq!(listed(&scene.socket()).len(), 3);
    scene.assert_signs("web");
    scene.assert_signs("later");
    let log = scene.daemon.log();
    assert!(!log.contains("sesame"), "{log}");
}

/// A copy of a managed key added by hand would sign on while the managed one is held.
#[test]
fn a_copy_of_a_managed_key_cannot_be_added_by_hand() {
    let scene = Scene::new(&[]);
    let witness = Witness::before(scene.cloud.url(Service::AlibabaEcs));
    scene.home.account("ecs", "alibaba-ecs", &witness.url);
    scene
        .home
        .key("web", "account = \"ecs\"\ngenerated_by = \"provider\"\n");
    scene.daemon.wait_loaded(60);
    let copy = scene.home.path("copy");
    fs::write(&copy, witness.private_key()).expect("a file can be written");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("modes can be set");

    let add = || scene.ssh_add(&["-q", "-t", "60", &copy.display().to_string()]);
    assert!(!add().status.success(), "it is there already");
    assert_eq!(listed(&scene.socket()).len(), 1);
    scene.assert_signs("web");

    // By the file of the private half, too, a managed key is held.
    assert_done(&scene.ssh_add(&["-d", &copy_public(&copy)]));
    scene.wait_for_state("web", "held");
    assert!(!add().status.success(), "a held key does not come back like this");
    assert!(listed(&scene.socket()).is_empty());
    scene.assert_refuses_to_sign("web");
    assert_done(&scene.daemon.keyferry(&["resume", "web"]));
    scene.wait_for_state("web", "loaded");
    scene.assert_signs("web");
}

/// Writes the public half beside the private one, as `ssh-add -d` wants it.
fn copy_public(private: &Path) -> String {
    let output = Command::new("ssh-keygen")
        .arg("-y")
        .arg("-f")
        .arg(private)
        .output()
        .expect("ssh-keygen can be started (Debian: openssh-client)");
    assert_done(&output);
    let public = PathBuf::from(format!("{}.pub", private.display()));
    fs::write(public, output.stdout).expect("a file can be written");
    private.display().to_string()
}

/// Stands before the cloud and keeps what it answers, as nothing else in a test can see a private key.
struct Witness {
    url: String,
    replies: Arc<Mutex<Vec<u8>>>,
}

impl Witness {
    fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let url = format!(
            "http://{}",
            listener.local_addr().expect("a bound socket has an address")
        );
        let replies = Arc::new(Mutex::new(Vec::new()));
        let (kept, target) = (
            Arc::clone(&replies),
            target.trim_start_matches("http://").to_owned(),
        );
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else {
                    return;
                };
                let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone())
                else {
                    return;
                };
                thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
                let kept = Arc::clone(&kept);
                thread::spawn(move || keep(server, client, &kept));
            }
        });
        Self { url, replies }
    }

    /// The private key of the one `CreateKeyPair` reply.
    fn private_key(&self) -> String {
        let replies = self.replies.lock().expect("no thread panics with the replies");
        let body = replies
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains("PrivateKeyBody"))
            .expect("a created pair came by");
        let body: serde_json::Value = serde_json::from_str(&body).expect("the reply is JSON");
        body["PrivateKeyBody"].as_str().expect("a text").to_owned()
    }
}

fn keep(server: TcpStream, mut client: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut server = BufReader::new(server);
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = server.read(&mut chunk) {
        kept.lock()
            .expect("no thread panics with the replies")
            .extend_from_slice(&chunk[..count]);
        if client.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}
