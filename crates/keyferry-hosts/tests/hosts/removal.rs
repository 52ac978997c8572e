//! Removals that are not final before the key that stays has logged in once more.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use keyferry_hosts::{HostErrorKind, Identity, Outcome, Proof, Reply, Task, Work};
use keyferry_tests::fleet::{HostOptions, Shell, fingerprint};
use keyferry_tests::wait;

use crate::fixture::{Bench, append, generation, line, public_key, remove};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_lines_go_where_the_user_said_so() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    let old = format!("{} li@old-laptop\n", public_key(7));
    let kept = format!("# {old}no-pty {} bob\n{}\n", public_key(8), line(2));
    append(host, &format!("{old}{kept}from=\"*\" {old}"));
    let work = Work::Remove {
        over: generation(2),
        editors: vec![Identity::SshConfig],
        proof: Proof::Session,
        lines: vec![line(1)],
        foreign: vec![fingerprint(&public_key(7))],
    };
    let reply = bench.run("web-1", work).await;
    assert!(
        matches!(&reply, Ok(Reply::Removed { left, .. }) if left.is_empty()),
        "{reply:?}"
    );
    assert_eq!(bench.file(), bench.admin_and(&kept).as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_stays_is_never_removed() {
    let bench = Bench::of_one();
    append(bench.fleet.host("web-1"), &format!("{}\n", line(2)));
    let before = bench.file();
    for (lines, foreign) in [
        (vec![line(2)], Vec::new()),
        (Vec::new(), vec![fingerprint(&public_key(2))]),
    ] {
        let work = Work::Remove {
            over: generation(2),
            editors: vec![Identity::SshConfig],
            proof: Proof::Session,
            lines,
            foreign,
        };
        assert!(bench.run("web-1", work).await.is_err());
        assert_eq!(bench.file(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_second_login_brings_the_file_back() {
    let bench = Bench::of_one();
    append(bench.fleet.host("web-1"), &format!("{}\n{}", line(1), line(2)));
    let before = bench.file();
    let sockets = Arc::downgrade(&bench.sockets);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (path, noted) = (
        bench.fleet.host("web-1").authorized_keys_path("deploy"),
        Arc::clone(&seen),
    );
    *bench.sockets.instead.lock().expect("no panic") = Some(Box::new(move |count| {
        (count == 2).then(|| {
            *noted.lock().expect("no panic") = fs::read(&path).expect("it is there");
            // A key that is not on the host.
            sockets.upgrade().ok_or("gone")?.socket("web", 3)
        })
    }));
    let error = bench
        .run("web-1", remove(2, 1))
        .await
        .expect_err("it cannot log in");
    assert_eq!(error.outcome, Outcome::Restored, "{error:?}");
    assert!(error.message.contains("put back"), "{error:?}");
    assert_eq!(bench.file(), before);
    assert_eq!(
        *seen.lock().expect("no panic"),
        bench.admin_and(&line(2).to_string()).as_bytes(),
        "it was taken out meanwhile"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_brings_the_file_back() {
    for shell in [Shell::Bash, Shell::Busybox] {
        let bench = Bench::new([HostOptions::new("web-1", shell)]);
        let host = bench.fleet.host("web-1");
        append(host, &format!("{}\n{}\n", line(1), line(2)));
        let before = bench.file();
        // The second login gets a socket on which nobody answers.
        let silent = bench.path("silent.sock");
        let listener = std::os::unix::net::UnixListener::bind(&silent).expect("a socket");
        *bench.sockets.instead.lock().expect("no panic") = Some(Box::new(move |count| {
            (count == 2).then(|| Ok(Box::new(Silent(silent.clone())) as Box<_>))
        }));
        let (ssh, host_of_task) = (Arc::clone(&bench.ssh), bench.host("web-1"));
        let task = tokio::spawn(async move {
            ssh.run(Task {
                host: host_of_task,
                work: remove(2, 1),
            })
            .await
        });
        let (_client, _) = tokio::task::spawn_blocking(move || listener.accept())
            .await
            .expect("no panic")
            .expect("ssh connects");
        assert_ne!(bench.file(), before, "{shell:?}: the line is out");
        task.abort();
        let lock = host.home("deploy").join(".ssh/.keyferry-lock");
        wait::until("the file is back", Duration::from_secs(20), || {
            (bench.file() == before && !lock.exists()).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hears_nothing_brings_the_file_back() {
    let bench = Bench::with([HostOptions::new("web-1", Shell::Dash)], |parts| {
        parts.hold = Duration::from_secs(3);
    });
    let host = bench.fleet.host("web-1");
    append(host, &format!("{}\n{}\n", line(1), line(2)));
    let before = bench.file();
    let silent = bench.path("silent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&silent).expect("a socket");
    *bench.sockets.instead.lock().expect("no panic") = Some(Box::new(move |count| {
        (count == 2).then(|| Ok(Box::new(Silent(silent.clone())) as Box<_>))
    }));
    let error = bench
        .run("web-1", remove(2, 1))
        .await
        .expect_err("no second login");
    drop(listener);
    assert_ne!(error.kind, HostErrorKind::Internal, "{error:?}");
    assert_eq!(error.outcome, Outcome::Restored, "{error:?}");
    assert_eq!(bench.file(), before);
}

struct Silent(std::path::PathBuf);

impl keyferry_hosts::OneKeySocket for Silent {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn logins(&self) -> Vec<keyferry_hosts::Login> {
        Vec::new()
    }
}
