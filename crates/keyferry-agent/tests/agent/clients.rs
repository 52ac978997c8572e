//! Clients that are slow, silent, many, or somebody else's.

use crate::harness::*;
use keyferry_agent::{Limits, Options};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;
use std::time::Duration;

const NOBODY: u32 = 65534;
const SIGPIPE: i32 = 13;

#[test]
fn half_a_message_is_waited_for_only_so_long_and_silence_for_ever() {
    let limits = Limits {
        half_frame: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = Running::with(Options::default(), limits);
    let mut silent = running.connect();
    assert_eq!(silent.ask(LIST), EMPTY_LIST);
    let mut half = running.connect();
    half.send_bytes(&[0, 0, 0, 1]);
    let mut shorter = running.connect();
    shorter.send_bytes(&[0]);
    let mut trickling = running.connect();
    let mut sent = trickling.0.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        // A long message, one byte at a time, fast enough that no single pause is long.
        let message = frame(&[0; 100_000]);
        message
            .iter()
            .take_while(|byte| {
                std::thread::sleep(Duration::from_millis(2));
                sent.write_all(&[**byte]).is_ok()
            })
            .count()
    });
    assert!(half.is_closed() && shorter.is_closed() && trickling.is_closed());
    assert!(writer.join().unwrap() < 100_000);
    assert_eq!(silent.ask(LIST), EMPTY_LIST);
}

#[test]
fn a_client_that_does_not_read_is_closed_and_delays_nobody() {
    let limits = Limits {
        write: Duration::from_millis(200),
        ..Limits::default()
    };
    let running = Running::with(Options::default(), limits);
    let mut other = running.connect();
    for seed in 0..50 {
        assert_eq!(
            other.ask(&add(&TestKey::ed25519(seed).private, &[b'c'; 1000])),
            SUCCESS
        );
    }
    let mut deaf = running.connect();
    let requests = frame(LIST).repeat(1000);
    let error = loop {
        assert_eq!(other.list().len(), 50);
        if let Err(error) = deaf.0.write_all(&requests) {
            break error;
        }
    };
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ),
        "{error}"
    );
    assert_eq!(other.list().len(), 50);
}

#[test]
fn countless_clients_push_out_the_quiet_ones_only() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let running = Running::with(Options::default(), limits);
    let mut steady = running.connect();
    assert_eq!(steady.ask(LIST), EMPTY_LIST);
    let mut quiet = Vec::new();
    for _ in 0..200 {
        let mut client = running.connect();
        assert_eq!(client.ask(LIST), EMPTY_LIST);
        quiet.push(client);
        assert_eq!(steady.ask(LIST), EMPTY_LIST, "after {} clients", quiet.len());
    }
    let mut alive = quiet.split_off(quiet.len() - 7);
    for client in &mut quiet {
        assert!(client.is_closed());
    }
    for client in &mut alive {
        assert_eq!(client.ask(LIST), EMPTY_LIST);
    }
}

#[test]
fn clients_that_have_not_said_a_word_do_not_keep_others_out() {
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let running = Running::with(Options::default(), limits);
    let _silent: Vec<_> = (0..100).map(|_| running.connect()).collect();
    let mut half: Vec<_> = (0..100).map(|_| running.connect()).collect();
    for client in &mut half {
        // It may have been pushed out by now.
        let _ = client.0.write_all(&[0, 0]);
    }
    assert_eq!(running.connect().ask(LIST), EMPTY_LIST);
}

#[test]
fn slow_signatures_do_not_delay_quick_ones() {
    let running = Running::start();
    let (slow, quick) = (TestKey::generate("rsa", 4096), TestKey::ed25519(1));
    running.load("slow", &slow);
    running.load("quick", &quick);
    // Each holds 50 signatures of several milliseconds.
    let mut busy: Vec<_> = (0..8).map(|_| running.connect()).collect();
    for client in &mut busy {
        client.send_bytes(&frame(&sign(&slow.public, b"", 2)).repeat(50));
    }
    let mut client = running.connect();
    for _ in 0..20 {
        verified(&quick.public, b"", &client.ask(&sign(&quick.public, b"", 0)));
    }
    for client in &mut busy {
        client.0.set_nonblocking(true).unwrap();
    }
    let mut replies = vec![0; 256 * 1024];
    let answered = busy
        .iter_mut()
        .map(|client| io::Read::read(&mut client.0, &mut replies).unwrap_or(0))
        .sum::<usize>();
    assert!(
        answered < 8 * 50 * 512,
        "all slow signatures were made before the quick ones: nothing was shown"
    );
}

#[test]
fn a_stop_answers_what_was_asked_and_closes_the_rest() {
    let mut running = Running::start();
    let slow = TestKey::generate("rsa", 4096);
    running.load("slow", &slow);
    let mut idle = running.connect();
    assert_eq!(idle.list().len(), 1);
    // Three requests in one read; the first reply shows that the others are in progress.
    let mut busy = running.connect();
    busy.send_bytes(&frame(&sign(&slow.public, b"", 2)).repeat(3));
    verified(&slow.public, b"", &busy.read().unwrap());
    running.stop();
    assert!(idle.is_closed());
    for _ in 0..2 {
        verified(&slow.public, b"", &busy.read().unwrap());
    }
    assert!(busy.is_closed());
    assert!(!running.path.exists());
    assert_eq!(
        Client::connect(&running.path).err().map(|error| error.kind()),
        Some(io::ErrorKind::NotFound)
    );
}

/// The mode of the socket keeps other users out already; this is about the check behind it, so the mode is
/// opened.
#[test]
fn a_client_of_another_user_is_turned_away_by_us() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test becomes another user, which only root can"
    );
    let running = Running::start();
    running.load("key", &TestKey::ed25519(1));
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap()
    };
    open(running.folder.path(), 0o755);
    let list_as_nobody = |socket: &std::path::Path| {
        run(
            Command::new("ssh-add")
                .arg("-l")
                .uid(NOBODY)
                .gid(NOBODY)
                .env("SSH_AUTH_SOCK", socket),
            "",
        )
    };

    // The kernel keeps nobody out while the mode says so, and lets it in when the mode is open.
    let plain_path = running.folder.path().join("plain.sock");
    let plain = std::os::unix::net::UnixListener::bind(&plain_path).unwrap();
    open(&plain_path, 0o600);
    let kept_out = String::from_utf8(list_as_nobody(&plain_path).stderr).unwrap();
    assert!(
        kept_out.contains("Error connecting to agent: Permission denied"),
        "{kept_out}"
    );
    open(&plain_path, 0o666);
    let answering = std::thread::spawn(move || {
        let mut client = Client(plain.accept().unwrap().0);
        let uid = rustix::net::sockopt::socket_peercred(&client.0)
            .unwrap()
            .uid
            .as_raw();
        let asked = client.read().unwrap();
        client.send_bytes(&frame(EMPTY_LIST));
        (uid, asked)
    });
    let answered = list_as_nobody(&plain_path);
    assert_eq!(answering.join().unwrap(), (NOBODY, LIST.to_vec()));
    assert_eq!(answered.status.code(), Some(1), "an empty list: {answered:?}");

    open(&running.path, 0o666);
    let refused = list_as_nobody(&running.path);
    let message = String::from_utf8(refused.stderr).unwrap();
    // It connects, and then either its request or its wait for the reply ends at a closed connection.
    let is_closed = message.contains("communication with agent failed");
    assert!(
        is_closed || refused.status.signal() == Some(SIGPIPE),
        "{:?} {message}",
        refused.status
    );
    assert!(refused.stdout.is_empty());
    assert_eq!(running.connect().list().len(), 1, "our own clients are answered");
}
