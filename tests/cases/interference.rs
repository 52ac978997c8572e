//! The agent keeps signing while everything around it goes wrong.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cloud_sim::Service;
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::home::Home;
use keyferry_tests::openssh::{Sshd, ssh_add};
use keyferry_tests::{trouble, wait};

/// A sandbox hangs, a cloud is down and 500 files arrive: every login succeeds, and in the end the 500 are loaded.
#[test]
fn every_login_succeeds_while_a_sandbox_hangs_a_cloud_is_down_and_500_files_arrive() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    trouble::prepare(&home, &cloud);
    let daemon = Daemon::start(&home);
    let status = daemon.wait_loaded(60);
    let public_key = find(&status, "calm")["public_key"]
        .as_str()
        .expect("a loaded key has one")
        .to_owned();
    let sshd = Sshd::start(&format!("{public_key}\n"));
    // The one key that lets in, by its public half: 500 others would run into MaxAuthTries.
    let identity = home.path("calm.pub");
    std::fs::write(&identity, &public_key).expect("a file can be written");

    let (stop, logins) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let output = Command::new("ssh")
                    .args(sshd.ssh_arguments().iter().map(|argument| {
                        argument.replace(
                            "IdentityFile=none",
                            &format!("IdentityFile={}", identity.display()),
                        )
                    }))
                    .args(["-o", "IdentitiesOnly=yes", "echo in"])
                    .env("SSH_AUTH_SOCK", home.agent_socket())
                    .stdin(Stdio::null())
                    .output()
                    .expect("ssh can be started");
                let _stop = StopOnPanic(&stop);
                assert!(
                    output.status.success(),
                    "a login failed: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                logins.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = StopOnPanic(&stop);
        trouble::begin(&home, 500);
        wait::until("500 keys are loaded", Duration::from_secs(180), || {
            if stop.load(Ordering::Relaxed) {
                return Some(());
            }
            let output = ssh_add(&home.agent_socket(), &["-l"]);
            let listed = String::from_utf8_lossy(&output.stdout).lines().count();
            (listed >= 501).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });
    let logins = logins.into_inner();
    assert!(logins >= 10, "only {logins} logins in all that time");

    // The troubles really were there, and each is named.
    for (key, words) in [("loops-0", "did not answer within"), ("down-0", "refused")] {
        wait::until(&format!("{key} says: {words}"), Duration::from_secs(60), || {
            let key = find(&daemon.status(), key);
            key["error"]["message"].to_string().contains(words).then_some(())
        });
    }
}

/// A log that nobody reads, that cannot be written or that is full costs lines, never the keys.
#[test]
fn the_daemon_outlives_its_standard_error() {
    for broken in [StandardError::Closed, StandardError::Full, StandardError::Unread] {
        let cloud = keyferry_tests::cloud();
        let home = Home::new();
        home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
        let (stream, _reader): (Stdio, Option<std::io::PipeReader>) = match broken {
            StandardError::Closed => (std::io::pipe().expect("a pipe").1.into(), None),
            StandardError::Full => (
                File::options()
                    .write(true)
                    .open("/dev/full")
                    .expect("a device")
                    .into(),
                None,
            ),
            StandardError::Unread => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                (writer.into(), Some(reader))
            }
        };
        let mut child = Command::new(built().keyferry())
            .args(["daemon", "--config"])
            .arg(home.config())
            .arg("--state")
            .arg(home.path("state"))
            .arg("--runtime")
            .arg(home.path("run"))
            // At this level 60 keys are more than a pipe holds.
            .env("KEYFERRY_LOG", "trace")
            .stdin(Stdio::null())
            .stderr(stream)
            .spawn()
            .expect("keyferry can be started");
        for number in 0..60 {
            home.key(
                &format!("key-{number}"),
                "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n",
            );
        }
        let status = Command::new(built().keyferry())
            .args(["status", "--wait=60", "--runtime"])
            .arg(home.path("run"))
            .stdout(Stdio::null())
            .status()
            .expect("keyferry can be started");
        let lives = child.try_wait().expect("a child can be waited for").is_none();
        let listed = ssh_add(&home.agent_socket(), &["-l"]).stdout;
        let _ = child.kill();
        let _ = child.wait();
        assert!(lives, "{broken:?}: the daemon ended");
        assert!(status.success(), "{broken:?}: not all keys are loaded");
        assert_eq!(String::from_utf8_lossy(&listed).lines().count(), 60, "{broken:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum StandardError {
    Closed,
    Full,
    Unread,
}

/// Lets the other thread of a case end when this one panics, so that the panic is seen.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
