//! Signals, and what a service manager is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use cloud_sim::Service;
use keyferry_tests::daemon::{Daemon, Options, find};
use keyferry_tests::home::Home;
use keyferry_tests::wait;
use rustix::process::Signal;

use crate::program::KEY;

#[test]
fn a_service_manager_hears_ready_and_stopping() {
    let home = Home::new();
    let path = home.path("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket can be bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout can be set");
    let hear = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("the daemon tells within 20 s");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let options = Options {
        environment: vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())],
        ..Options::default()
    };
    let mut daemon = Daemon::start_with(&home, &options);
    assert!(hear().lines().any(|line| line == "READY=1"));
    // Ready means that the sockets answer.
    assert_eq!(daemon.keyferry(&["status"]).status.code(), Some(0));
    assert_eq!(daemon.stop(), Some(0));
    assert!(hear().lines().any(|line| line == "STOPPING=1"));
}

#[test]
fn an_abstract_notify_socket_is_told_too() {
    use std::os::linux::net::SocketAddrExt;

    let home = Home::new();
    let name = format!("keyferry-case-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a short name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket can be bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout can be set");
    let options = Options {
        environment: vec![("NOTIFY_SOCKET".to_owned(), format!("@{name}"))],
        ..Options::default()
    };
    let _daemon = Daemon::start_with(&home, &options);
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("the daemon tells within 20 s");
    assert!(buffer[..length].starts_with(b"READY=1"));
}

/// A link above the config directory's parent that is swapped is not watched: asking finds it.
#[test]
fn sighup_reads_the_config_directory_again() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    let far = |name: &str| home.path(&format!("{name}/a/b"));
    for name in ["one", "two"] {
        std::fs::create_dir_all(far(name).join("keys")).expect("a folder can be made");
        std::fs::create_dir(far(name).join("accounts")).expect("a folder can be made");
        std::fs::copy(
            home.config().join("accounts/ecs.toml"),
            far(name).join("accounts/ecs.toml"),
        )
        .expect("a file can be copied");
    }
    std::fs::write(far("two").join("keys/found.toml"), KEY).expect("a file can be written");
    std::os::unix::fs::symlink("one", home.path("current")).expect("a link can be made");
    std::fs::remove_dir_all(home.config()).expect("a folder can be removed");
    std::os::unix::fs::symlink("current/a/b", home.config()).expect("a link can be made");
    let mut daemon = Daemon::start(&home);
    daemon.wait_loaded(20);
    std::os::unix::fs::symlink("two", home.path("next")).expect("a link can be made");
    std::fs::rename(home.path("next"), home.path("current")).expect("a link can be renamed");
    daemon.signal(Signal::HUP);
    wait::until("the key is loaded", Duration::from_secs(60), || {
        let status = daemon.status();
        let keys = status["keys"].as_array().expect("a list");
        keys.iter()
            .any(|key| key["name"] == "found" && key["state"] == "loaded")
            .then_some(())
    });
    // The agent went on.
    assert!(!daemon.has_ended());
    assert_eq!(find(&daemon.status(), "found")["generation"], 1);
}

#[test]
fn a_sighup_right_after_it_is_ready_is_no_end() {
    let home = Home::new();
    for _ in 0..5 {
        let mut daemon = Daemon::start(&home);
        daemon.signal(Signal::HUP);
        assert_eq!(
            daemon.keyferry(&["status"]).status.code(),
            Some(0),
            "{}",
            daemon.log()
        );
        assert_eq!(daemon.stop(), Some(0), "{}", daemon.log());
    }
}

/// Commands read passwords and private keys: they leave no core.
#[test]
fn a_command_that_waits_forbids_core_dumps() {
    let home = Home::new();
    let listener =
        std::os::unix::net::UnixListener::bind(home.path("run/control.sock")).expect("a socket can be bound");
    let mut child = crate::program::command(home.root())
        .args(["status", "--runtime"])
        .arg(home.path("run"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("keyferry can be started");
    // It has asked, and nobody answers.
    let _connection = listener.accept().expect("it connects");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.expect("there is such a limit").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{words:?}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
