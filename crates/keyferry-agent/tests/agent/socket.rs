//! The socket's place: whose it is, who may come, what is replaced.

use crate::harness::*;
use keyferry_agent::{Agent, BindError, Limits, Listener, Options, serve};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn it_is_private_whatever_the_umask() {
    let runtime = runtime();
    let _within = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = folder.path().join("agent.sock");
    // Only this process's; the other tests of this binary make no files whose mode they look at.
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let listener = Listener::bind(&path);
    rustix::process::umask(before);
    let listener = listener.unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(listener.path(), path);
    drop(listener);
    assert!(!path.exists());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing else is left behind"
    );
}

#[test]
fn a_live_socket_stays_and_a_stale_one_is_replaced() {
    let running = Running::start();
    let runtime = runtime();
    let _within = runtime.enter();
    let refused = Listener::bind(&running.path).unwrap_err();
    assert!(matches!(refused, BindError::InUse { .. }), "{refused}");
    assert_eq!(running.connect().ask(LIST), EMPTY_LIST);

    // A killed process leaves its socket behind: bound, and nobody listening.
    let path = running.folder.path().join("stale.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(&path).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    drop(listener);
}

#[test]
fn what_is_not_our_socket_is_left_alone() {
    let runtime = runtime();
    let _within = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let stale = at("stale");
    drop(UnixListener::bind(&stale).unwrap());
    std::fs::write(at("file"), "precious").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    symlink(&stale, at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    for name in ["file", "folder", "link", "dangling"] {
        let refused = Listener::bind(&at(name)).unwrap_err();
        assert!(
            matches!(refused, BindError::NotASocket { .. }),
            "{name}: {refused}"
        );
        assert!(at(name).symlink_metadata().is_ok());
    }
    assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "precious");

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&stale, Some(65534), None).unwrap();
        let refused = Listener::bind(&stale).unwrap_err();
        assert!(
            matches!(refused, BindError::NotOurs { owner: 65534, .. }),
            "{refused}"
        );
    }
    let refused = Listener::bind(&at("missing").join("agent.sock")).unwrap_err();
    assert!(
        matches!(&refused, BindError::NoFolder { folder } if *folder == at("missing")),
        "{refused}"
    );
}

#[test]
fn a_path_may_be_107_bytes_long() {
    let runtime = runtime();
    let _within = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let path_of = |length: usize| {
        let used = folder.path().as_os_str().len() + 1;
        folder.path().join("s".repeat(length - used))
    };
    let listener = Listener::bind(&path_of(107)).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(path_of(107)).is_ok());
    drop(listener);
    let refused = Listener::bind(&path_of(108)).unwrap_err();
    assert!(
        matches!(refused, BindError::PathTooLong { length: 108, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("107"), "{refused}");
}

#[test]
fn a_stop_removes_only_its_own_socket() {
    let mut running = Running::start();
    // Somebody takes the name over while we run.
    std::fs::remove_file(&running.path).unwrap();
    let _theirs = UnixListener::bind(&running.path).unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let before = inode(&running.path);
    running.stop();
    assert_eq!(inode(&running.path), before);
}

#[test]
fn of_many_agents_that_start_at_once_on_a_stale_socket_one_gets_it() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    for _ in 0..20 {
        let _ = std::fs::remove_file(&path);
        drop(UnixListener::bind(&path).unwrap());
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let _within = runtime.enter();
                        Listener::bind(&path)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let _within = runtime.enter();
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            1,
            "{outcomes:?}"
        );
        assert!(
            outcomes
                .iter()
                .filter_map(|outcome| outcome.as_ref().err())
                .all(|error| matches!(error, BindError::InUse { .. }))
        );
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }
}

#[test]
fn one_agent_answers_on_several_sockets() {
    let running = Running::start();
    let path = running.folder.path().join("second.sock");
    let listener = {
        let _within = running.runtime().enter();
        Listener::bind(&path).unwrap()
    };
    running.runtime().spawn(serve(
        listener,
        running.agent.clone(),
        Limits::default(),
        std::future::pending(),
    ));
    let mut second = Client::connect(&path).unwrap();
    assert_eq!(second.ask(LIST), EMPTY_LIST);
    assert_eq!(
        running.connect().ask(&add(&TestKey::ed25519(1).private, b"")),
        SUCCESS
    );
    assert_eq!(second.list().len(), 1);
    let apart = Agent::new(Options::default());
    assert!(!apart.is_held("anything"));
}
