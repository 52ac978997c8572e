//! Hosts that cannot be reached, refuse, or do not answer.

use std::net::TcpListener;
use std::time::Duration;

use keyferry_hosts::{HostErrorKind, Outcome, Proof, Reply, Work};
use keyferry_tests::fleet::{HostOptions, Shell};

use crate::fixture::{Bench, append, generation, line, put, verify};

async fn assert_fails(bench: &Bench, name: &str, work: Work, kind: HostErrorKind, words: &str) {
    let error = bench.run(name, work).await.expect_err(name);
    assert_eq!(error.kind, kind, "{error:?}");
    assert_eq!(error.outcome, Outcome::Unchanged, "{error:?}");
    assert!(error.message.contains(words), "{error:?}");
    assert!(!error.remedy.is_empty());
    let text = format!("{}{}", error.message, error.remedy);
    assert!(!text.chars().any(char::is_control), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_unreachable() {
    let bench = Bench::with([HostOptions::new("web-1", Shell::Dash)], |parts| {
        parts.deadline = Duration::from_secs(8);
    });
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    bench.set_config(&format!(
        "Host silent\n  HostName 127.0.0.1\n  Port {port}\nHost closing\n  HostName 127.0.0.1\n  ProxyCommand sh -c 'read banner'\nHost *"
    ));
    assert_fails(
        &bench,
        "no-such-host.invalid",
        verify(1),
        HostErrorKind::Unreachable,
        "resolve",
    )
    .await;
    assert_fails(
        &bench,
        "silent",
        verify(1),
        HostErrorKind::Unreachable,
        "no answer came in time",
    )
    .await;
    assert_fails(&bench, "closing", verify(1), HostErrorKind::Unreachable, "closed").await;
    bench.fleet.host("web-1").stop();
    assert_fails(
        &bench,
        "web-1",
        put(1),
        HostErrorKind::Unreachable,
        "Connection refused",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_refused() {
    let bench = Bench::of_one();
    bench.set_config("IdentityFile none");
    assert_fails(
        &bench,
        "web-1",
        verify(1),
        HostErrorKind::Refused,
        "Permission denied",
    )
    .await;
    assert_fails(
        &bench,
        "web-1",
        put(1),
        HostErrorKind::Refused,
        "what ssh_config has",
    )
    .await;
    bench.sockets.agent.unload("web", 3);
    assert_fails(
        &bench,
        "web-1",
        verify(3),
        HostErrorKind::Settings,
        "generation 3 of key web",
    )
    .await;
    let mut host = bench.host("web-1");
    host.ssh = vec!["/nonexistent/ssh".to_owned()];
    let error = bench.run_on(host, verify(1)).await.expect_err("no such program");
    assert_eq!(error.kind, HostErrorKind::Settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_without_commands_does_not_answer() {
    let bench = Bench::new([
        HostOptions::new("cat", Shell::Dash).with_sshd_config("ForceCommand cat\n"),
        HostOptions::new("sftp", Shell::Dash).with_sshd_config("ForceCommand internal-sftp\n"),
        HostOptions::new("sorry", Shell::Dash)
            .with_sshd_config("ForceCommand printf 'no \\033[1mlogins\\033[0m here\\n' >&2; exit 1\n"),
        HostOptions::new("web-1", Shell::Dash),
    ]);
    for name in ["cat", "sftp", "sorry"] {
        append(bench.fleet.host(name), &format!("{}\n", line(1)));
    }
    for name in ["sftp", "sorry"] {
        assert_fails(&bench, name, verify(1), HostErrorKind::NoAnswer, name).await;
        assert_fails(&bench, name, put(2), HostErrorKind::NoAnswer, name).await;
    }
    assert_fails(
        &bench,
        "sorry",
        verify(1),
        HostErrorKind::NoAnswer,
        "logins[0m here",
    )
    .await;
    for name in ["cat", "sorry"] {
        let work = Work::Verify {
            identity: generation(1),
            proof: Proof::PublicKey,
        };
        let reply = bench.run(name, work).await;
        assert!(matches!(reply, Ok(Reply::Verified { .. })), "{reply:?}");
    }
    // A program that gives back what it reads is no shell either.
    let bench = Bench::with(
        [HostOptions::new("cat", Shell::Dash).with_sshd_config("ForceCommand cat\n")],
        |parts| parts.deadline = Duration::from_secs(3),
    );
    append(bench.fleet.host("cat"), &format!("{}\n", line(1)));
    assert_fails(
        &bench,
        "cat",
        verify(1),
        HostErrorKind::NoAnswer,
        "until the time was up",
    )
    .await;
}
